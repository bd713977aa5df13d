"""What would run: dry runs of every shipped config, and what a change of one stage's settings reruns."""

from __future__ import annotations

import re
from typing import get_args

import pytest
import yaml
from sandbox import ROOT, Pipeline

from lddm.settings import Settings
from lddm.settings.evaluation import ClassifierName

SMALL = {"experiment": "tiny", "index": {"sources": [{"kind": "phantom", "videos": 40, "stills": 20}]}}
AFTER_GENERATOR = {"synthesize", "score", "classify", "tabulate", "figures", "page", "summarize", "default"}
AFTER_TABLES = {"settings", "figures", "page", "summarize", "default"}  # the report has all settings
AFTER_GENERATOR |= AFTER_TABLES
AFTER_AUTOENCODER = {"encode", "train_generator"} | AFTER_GENERATOR


ON_TOP_OF = {  # configs that are not complete experiments
    "paper/phantom_cpu.yaml": "paper/phantom.yaml",
    "phantom_strict_soft.yaml": "phantom_strict.yaml",
}


@pytest.mark.parametrize(
    "config", sorted(path.relative_to(ROOT / "config").as_posix() for path in (ROOT / "config").rglob("*.yaml"))
)
def test_every_shipped_config_plans_a_whole_pipeline(pipeline: Pipeline, config: str):
    above = yaml.safe_load((ROOT / "config" / config).read_text()) if config in ON_TOP_OF else None
    plan = pipeline.planned(configfile=ON_TOP_OF.get(config, config), config=above)
    assert {"index", "train_autoencoder", "train_generator", "synthesize", "score", "classify", "page"} <= set(plan)


def test_plan_spans_folds_generators_shards_and_cells(pipeline: Pipeline):
    config = SMALL | {
        "split": {"folds": 3, "folds_to_run": 2},
        "synthesis": {"generators": ["lddm", "motion_transfer"], "shards": 3},
        "classification": {"classifiers": ["tiny3d", "strain"], "regimes": ["real", "real+aug", "real+lddm"]},
    }
    plan = pipeline.planned(config=config)
    folds = 2
    assert plan["train_autoencoder"] == plan["train_domain_network"] == folds
    assert plan["measure_motion"] == 1  # for all folds
    # static is bundled although it does not animate: `reconstruction` takes its autoencoder
    assert plan["train_generator"] == folds * 3
    # two generators on two sources, reconstruction on the held-out videos only, three shards each
    assert plan["synthesize"] == folds * 3 * (2 * 2 + 1)
    assert plan["score"] == folds * 4
    assert plan["classify"] == folds * 2 * 3
    assert plan["tabulate"] == 1


def test_plan_of_a_sweep_and_of_copies_that_are_left_out(pipeline: Pipeline):
    config = SMALL | {
        "classification": {"classifiers": ["strain"], "exclude_copies": True},
        "sweep": {"real_videos": [16, 32], "synthetic_share": [0.5, 0.8], "regimes": ["real", "real+lddm"]},
    }
    assert pipeline.planned(config=config)["classify_sweep"] == 3 * 2  # 16 at 0.5 is in both lists
    commands = [line for line in pipeline.commands(config=config) if "lddm classify " in line]
    swept = [line for line in commands if "/sweep/" in line]
    assert len(swept) == 6 and all("settings/classification-strain-videos-" in line for line in swept)
    with_copies = [line for line in commands if "--copies" in line]
    assert with_copies and all("--regime real+" in line or "lddm_only" in line for line in with_copies)
    assert not any("--copies" in line for line in commands if "--regime real " in line)


@pytest.mark.parametrize(
    ("attribute", "option"),
    [
        ("strain_ratio", None),
        ("divergence", "--motion results/tiny/data/motion.safetensors"),
        ("features", "--domain-network results/tiny/fold-0/domain_network/model.safetensors"),
        ("soft_label", "--pseudo-labels results/tiny/fold-0/pseudo_labels.parquet"),
    ],
)
def test_a_measured_attribute_stands_for_the_labels_of_all_generators(pipeline: Pipeline, attribute, option):
    config = SMALL | {
        "split": {"max_labelled_videos": 16},
        "pseudo_labels": {"classifier": "strain"},
        "condition": {"attribute": attribute},
        "synthesis": {"generators": ["lddm", "motion_transfer"]},
        "classification": {"classifiers": ["strain"], "regimes": ["real", "real+lddm"]},
    }
    commands = pipeline.commands(config=config)
    (measure,) = [line for line in commands if " lddm measure-attribute " in line]
    others = {"--motion", "--domain-network", "--pseudo-labels"} - {(option or "").split(" ")[0]}
    assert (option is None or option in measure) and not any(f"{name} " in measure for name in others)
    training = [line for line in commands if " lddm train-generator " in line]
    assert len(training) == 3 and all("--attribute results/tiny/fold-0/attribute.json" in line for line in training)
    assert not any("--pseudo-labels" in line for line in training)
    # guesses are made for soft labels only: no regime asks for them
    assert any(" lddm pseudo-label " in line for line in commands) == (attribute == "soft_label")


def test_a_network_may_be_tried_under_fewer_regimes(pipeline: Pipeline):
    cells = {"classifiers": ["strain", "r3d_18"], "regimes": ["real", "real+static", "real+lddm"]}
    config = SMALL | {"classification": cells | {"regimes_by_classifier": {"r3d_18": ["real", "real+lddm"]}}}
    assert pipeline.planned(config=config)["classify"] == 3 + 2
    wrong = pipeline.run("--dry-run", config=SMALL | {"classification": {"regimes_by_classifier": {"c3d": ["real"]}}})
    assert wrong.returncode != 0 and "c3d is not among the classifiers" in wrong.stderr + wrong.stdout


def test_a_corrected_table_of_patients_reruns_the_index(pipeline: Pipeline):
    table = pipeline.folder / "data/mine/patients.csv"
    table.parent.mkdir(parents=True)
    table.write_text("file,patient_id\nbenign/a.avi,1\n")
    config = SMALL | {"index": {"sources": [{"kind": "folder", "folder": "mine", "patients": "patients.csv"}]}}
    first = pipeline.run("--until=index", config=config)
    assert first.returncode == 0, first.stderr
    assert pipeline.planned("--until=index", config=config) == {}
    table.write_text("file,patient_id\nbenign/a.avi,2\n")
    assert "index" in pipeline.planned("--until=index", config=config)


def test_rerun_only_what_a_change_touches(pipeline: Pipeline):
    first = pipeline.run(config=SMALL)
    assert first.returncode == 0, first.stderr
    assert pipeline.planned(config=SMALL) == {}, "a second run has nothing to do"

    def reruns(**sections) -> set[str]:
        return set(pipeline.planned(config=SMALL | sections))

    assert reruns(report={"strips": 2}) == AFTER_TABLES
    assert reruns(quality={"bootstrap": 7}) == {"score", "tabulate"} | AFTER_TABLES
    assert reruns(classification={"bootstrap": 77}) == {"tabulate"} | AFTER_TABLES
    assert reruns(classification={"synthetic_share": 0.4}) == {"classify", "tabulate"} | AFTER_TABLES
    # a network that is added to a finished study does not train the others again, nor another one's steps
    regimes = Settings().classification.regimes
    added = {
        "classifiers": [*Settings().classification.classifiers, "still"],
        "training_overrides": {"still": {"steps": 9}},
    }
    assert pipeline.planned(config=SMALL | {"classification": added})["classify"] == len(regimes)
    assert reruns(synthesis={"num_inference_steps": 3}) == AFTER_GENERATOR
    assert reruns(domain_network={"width": 4}) == {"train_domain_network", "score", "tabulate"} | AFTER_TABLES
    # one generator's settings retrain that generator alone, not the flow beside it
    plan = pipeline.planned(config=SMALL | {"diffusion": {"width": 48}})
    assert set(plan) == {"train_generator"} | AFTER_GENERATOR and plan["train_generator"] == 1
    assert plan["synthesize"] == 2
    plan = pipeline.planned(config=SMALL | {"autoencoder": {"width": 8}})
    assert set(plan) == {"train_autoencoder"} | AFTER_AUTOENCODER  # motion is measured as before
    plan = pipeline.planned(config=SMALL | {"autoencoder": {"motion_rank": 3}})
    assert set(plan) == {"measure_motion", "train_autoencoder"} | AFTER_AUTOENCODER
    after_split = reruns(split={"val_fraction": 0.2})
    assert "train_domain_network" in after_split and "preprocess" not in after_split
    after_preprocess = reruns(preprocess={"fps": 5.0})
    assert "preprocess" in after_preprocess and "index" not in after_preprocess
    assert reruns(sweep={"real_videos": [16]}) == {"classify_sweep", "tabulate"} | AFTER_TABLES
    # neither where runs are shown nor where files lie is a reason to run again
    assert reruns(tracking={"enabled": False}) == set()
    assert reruns(data_root="elsewhere", weights_dir="weights/") == set()
    assert reruns(seed=1) >= {"index", "train_autoencoder", "classify"}
    (pipeline.folder / "weights").mkdir()
    (pipeline.folder / "weights/i3d_torchscript.pt").write_bytes(b"put there by hand")
    assert reruns() == {"fetch_weights", "score", "tabulate"} | AFTER_TABLES - {"settings"}


def test_jobs_get_only_the_settings_of_their_stage(pipeline: Pipeline):
    assert pipeline.run(config=SMALL).returncode == 0
    sections = {
        "index": {"index"},
        "preprocess": {"index", "preprocess"},
        "split": {"split"},
        "measure-motion": {"autoencoder"},
        "train-autoencoder": {"autoencoder"},
        "encode": set(),
        "synthesize": {"synthesis"},
        "train-domain-network": {"domain_network"},
        "score": {"quality"},
        "classify": {"classification"},
        "tabulate": {"split", "synthesis", "classification", "sweep"},
    }
    whole = set(Settings.model_fields) - {"seed", "data_root", "weights_dir", "tracking"}
    sections |= dict.fromkeys(("figures", "page", "summarize"), whole)
    seen = set()
    for line in pipeline.verbs():
        verb = line.split()[0]
        if verb in sections:
            path = pipeline.folder / re.search(r"--settings (\S+)", line)[1]
            assert set(yaml.safe_load(path.read_text())) - {"seed"} == sections[verb], line
            seen.add(verb)
    assert seen == set(sections)


def test_settings_are_compared_by_content(pipeline: Pipeline):
    assert pipeline.run(config=SMALL).returncode == 0
    for path in (pipeline.folder / "results/tiny/settings").iterdir():
        path.touch()
    assert pipeline.planned(config=SMALL) == {}
    path = pipeline.folder / "results/tiny/settings/domain_network.yaml"
    path.write_text(path.read_text().replace("width: 8", "width: 16"))
    assert "train_domain_network" in pipeline.planned(config=SMALL)


def test_no_command_of_a_large_study_is_long(pipeline: Pipeline):
    config = SMALL | {
        "split": {"folds": 10, "folds_to_run": 10},
        "synthesis": {"generators": ["lddm"], "shards": 2},
        "classification": {
            "classifiers": list(get_args(ClassifierName)),  # ten
            "regimes": ["real", "real+lddm"],
            "seeds": 10,
        },
        "sweep": {"real_videos": [8], "regimes": ["real", "real+lddm"]},
    }
    commands = pipeline.commands(config=config)
    assert len([line for line in commands if "lddm classify " in line]) == 10 * (10 * 2 + 2)
    assert {line.split("lddm ")[1].split()[0] for line in commands} >= {"tabulate", "figures", "page", "score"}
    assert max(map(len, commands)) < 4096
    # the length of no command depends on the number of shards
    assert not any("/shard-" in line for line in commands if "lddm synthesize " not in line)


def test_motion_is_measured_on_all_cores_up_to_sixteen(pipeline: Pipeline):
    for cores, workers in (("2", "2"), ("12", "12"), ("64", "16")):
        commands = pipeline.commands("--cores", cores, "--until", "measure_motion", config=SMALL)
        (command,) = [line for line in commands if "measure-motion" in line]
        assert f"--workers {workers} " in command


def test_processes_that_train_together_are_started_by_torchrun(pipeline: Pipeline):
    config = SMALL | {"autoencoder": {"training": {"processes": 2}}, "diffusion": {"training": {"processes": 3}}}
    done = pipeline.run("--dry-run", "--printshellcmds", config=config)
    text = done.stdout + done.stderr
    assert "lddm with-gpus 2 torchrun --standalone --nproc-per-node 2 --no-python lddm train-autoencoder" in text
    assert "lddm with-gpus 3 torchrun --standalone --nproc-per-node 3 --no-python lddm train-generator lddm" in text
    assert text.count("torchrun") == 2  # the baselines of this config train alone


def test_a_failed_job_keeps_its_log_and_is_named(pipeline: Pipeline):
    done = pipeline.run(config=SMALL, FAIL_VERB="encode")
    assert done.returncode == 1
    assert "encode" in done.stderr and "pretended failure" in done.stderr, "show-failed-logs of the default profile"
    assert "pretended failure" in (pipeline.folder / "results/tiny/logs/encode/fold-0.log").read_text()
    assert not any(line.startswith("synthesize") for line in pipeline.verbs())


def test_memory_and_time_grow_with_each_attempt(pipeline: Pipeline):
    done = pipeline.run("--retries", "2", config=SMALL, FAIL_VERB="split")
    assert done.returncode == 1
    found = re.findall(r"^localrule split:\n(?: {4}.*\n)*? {4}resources: (.+)", done.stderr + done.stdout, re.MULTILINE)
    asked = [dict(pair.split("=", 1) for pair in line.split(", ")) for line in found]
    assert [int(one["mem_mb"]) for one in asked] == [2000, 4000, 6000]
    assert [int(one["runtime"]) for one in asked] == [10, 20, 30]
