"""The config files, the generated schema and the typed settings say the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import jsonschema
import pytest
import yaml

from lddm.errors import LddmError
from lddm.settings import AutoencoderSettings, DiffusionSettings, Settings, SplitSettings, build, former, stages

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "config").rglob("*.yaml"))
ON_TOP_OF = {"phantom_cpu.yaml": "phantom.yaml"}  # configs that are not complete experiments
ON_TOP_OF |= {f"phantom_strict_{name}.yaml": "phantom_strict.yaml" for name in ("32", "soft", "logit", "strain_ratio")}


def merged(path: Path) -> dict:
    """A config as Snakemake sees it: laid over config/config.yaml, lists replaced."""

    def over(base: dict, own: dict) -> dict:
        both = {key: over(base[key], own[key]) for key in own if isinstance(base.get(key), dict) and own[key]}
        return base | own | both

    base = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    if path.name in ON_TOP_OF:
        base = over(base, yaml.safe_load((path.parent / ON_TOP_OF[path.name]).read_text()))
    return over(base, yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("path", build.generated(), ids=str)
def test_generated_files_are_in_step(path: Path):
    assert (ROOT / path).read_text() == build.generated()[path], "run `lddm settings --write`"


def test_default_yaml_is_the_default_and_explains_every_key():
    text = build.default_yaml()
    assert build.load(yaml.safe_load(text)) == Settings()
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.endswith(":") or not line or line.lstrip().startswith(("#", "- kind:")):
            continue
        explained = lines[number - 1].lstrip().startswith("#")
        # a class that comes again (training) is explained at its first place only
        repeated = any(
            other.split(":")[0].strip() == line.split(":")[0].strip() and lines[earlier - 1].lstrip().startswith("#")
            for earlier, other in enumerate(lines[:number])
        )
        assert explained or repeated, line


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_config_loads_and_fits_the_schema(path: Path):
    settings = build.load(merged(path))
    schema = yaml.safe_load((ROOT / build.SCHEMA_PATH).read_text())
    jsonschema.validate(merged(path), schema)
    assert path.name == "config.yaml" or settings.experiment in (path.stem, f"{path.parent.name}_{path.stem}")


def test_a_config_given_to_python_means_what_it_means_to_snakemake():
    own = {
        "diffusion": {"training": {"steps": 7}},
        "cinn": {"training": {"batch_size": 4}},
        "autoencoder": {"width": 8},
    }
    whole = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    for section, keys in own.items():
        for key, value in keys.items():
            whole[section][key] = whole[section][key] | value if isinstance(value, dict) else value
    assert build.load(own) == build.load(whole)


def test_schema_is_closed_and_described():
    schema = yaml.safe_load(build.json_schema())
    for part in [schema, *schema["$defs"].values()]:
        assert part["additionalProperties"] is False and part["description"]
        for name, field in part["properties"].items():
            assert "description" in field or "$ref" in field or "const" in field, (part["title"], name)


def test_no_setting_is_dead():
    """Each key of the schema is read as an attribute somewhere in the package or the workflow."""
    code = [*(ROOT / "lddm").rglob("*.py"), *(ROOT / "workflow").rglob("*.smk")]
    text = "\n".join(path.read_text() for path in code)
    schema = yaml.safe_load(build.json_schema())
    keys = {key for part in [schema, *schema["$defs"].values()] for key in part["properties"]}
    assert {key for key in keys if not re.search(rf"\.{key}\b", text)} == set()


def test_stage_json_goes_there_and_back():
    settings = build.load({"seed": 7, "autoencoder": {"width": 8, "kl_weight": 1}})
    text = build.stage_json(settings, "autoencoder", "diffusion")
    assert set(json.loads(text)) == {"seed", "autoencoder", "diffusion"}
    seed, autoencoder, diffusion = build.parse_stage(text, AutoencoderSettings, DiffusionSettings)
    assert (seed, autoencoder, diffusion) == (7, settings.autoencoder, settings.diffusion)
    assert build.parse_stage(build.stage_json(settings)) == (7,)


@pytest.mark.parametrize("text", ["{", "[]", '{"seed": 0}', '{"seed": 0, "autoencoder": {}, "report": {}}'])
def test_stage_json_of_another_stage_is_refused(text: str):
    with pytest.raises(LddmError, match="--settings"):
        build.parse_stage(text, AutoencoderSettings)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"preprocess": {"fps": float("inf")}}, "finite number"),
        ({"index": {"sources": [{"kind": "phantom", "vidoes": 3}]}}, r"index\.sources\.0\.vidoes: .*'videos'"),
        ({"index": {"sources": [{"kind": "bsi"}]}}, r"index\.sources\.0\.kind: .*did you mean 'busi'"),
        ({"index": None}, r"index: expected a section"),
        ({"autoencoder": {"decoder": "wrap"}}, r"autoencoder\.decoder: .*did you mean 'warp'"),
        ({"autoencoder": {"decoder": "spade"}}, r"autoencoder: latent 'low_rank' requires decoder 'warp'"),
        ({"cinn": {"training": {"learning_rate": "1e-3"}}}, r"(?s)learning_rate.*write 1\.0e-3"),
        ({"synthesis": {"samples": {"helout": 1}}}, r"synthesis\.samples\.helout: .*'heldout'"),
        ({"synthesis": {"samples": {"stills": 1}}}, r"synthesis\.samples\.heldout"),
        ({"split": {"folds_to_run": 9}}, r"split: folds_to_run must not exceed folds"),
        ({"experiment": "../elsewhere"}, r"experiment: expected text that matches"),
        # keys and values of earlier versions: what replaced them, not what is spelt alike
        (
            {"preprocess": {"cut_threshold": 0.2}},
            r"preprocess\.cut_threshold: replaced by preprocess\.scene_cut_correlation",
        ),
        ({"autoencoder": {"energy_weight": 0.1}}, r"autoencoder\.energy_weight: removed"),
        ({"synthesis": {"sampler": "dpmsolver++"}}, r"synthesis\.sampler: 'dpmsolver\+\+' was replaced by 'unipc'"),
        ({"preprocess": {"size": "32"}}, r"(?s)preprocess\.size.*nested --config.*--configfile"),
        ({"autoencoder": {"training": {"compile": "true"}}}, r"(?s)compile.*nested --config"),
        ({"index": {"classes": [False, True]}}, r"(?s)index\.classes\.0.*quote"),
        ({"index": {"classes": ["a", 2026]}}, r"(?s)index\.classes\.1.*quote"),
        ({"index": {"classes": ["a", "b", "c"]}}, r"index: task binary: expected two classes, got 3"),
        ({"index": {"classes": ["a"]}}, r"index: task binary: expected two classes, got 1"),
        ({"classification": {"classifiers": []}}, r"classifiers: expected at least 1 entry, got 0"),
        (
            {"classification": {"training_overrides": {"strain": {"stpes": 9}}}},
            r"training_overrides\.strain\.stpes: .*'steps'",
        ),
    ],
)
def test_mistakes_are_named_with_a_way_out(raw: dict, message: str):
    with pytest.raises(LddmError, match=message) as caught:
        build.load(raw)
    assert caught.value.hint


def test_no_key_is_suggested_that_only_looks_like_another():
    with pytest.raises(LddmError) as caught:
        build.load({"autoencoder": {"entropy_weight": 0.1}})  # temporal_weight and others mean something else
    assert "did you mean" not in str(caught.value) and "kl_weight" in str(caught.value)


@pytest.mark.parametrize("path", former.KEYS)
def test_former_keys_are_not_in_use_and_name_keys_that_are(path: str):
    def known(key: str) -> bool:
        if "." not in key:
            return key in Settings.model_fields
        section, *within, name = key.split(".")
        fields = build.section_type(section).model_fields
        for part in within:  # a section, or null
            fields = next(kind for kind in get_args(fields[part].annotation) if kind is not type(None)).model_fields
        return name in fields

    assert not known(path)
    assert all(known(key) for key in re.findall(r"\b[a-z]+(?:\.[a-z0-9_]+)+", former.KEYS[path]))


def test_a_partial_training_of_overlays_the_usual_training():
    usual = {"steps": 300, "batch_size": 4}
    raw = {"classifiers": ["still", "strain"], "training": usual, "training_overrides": {"still": {"steps": 40}}}
    section = build.load({"classification": raw}).classification
    assert section.training_for("strain") == section.training
    assert section.training_for("still") == section.training.model_copy(update={"steps": 40})
    assert section.training.ema_decay == 0 and section.training.batch_size == 4  # not those of the class Training
    again = build.load({"classification": section.model_dump(mode="json")}).classification
    assert again == section
    # a network of its own training is one training to the workflow, however it was written
    alone = build.at_classifier(section, "still")
    assert alone.training_for("still").steps == 40 and build.at_classifier(alone, "still") == alone
    other = build.load({"classification": raw | {"training_overrides": {}, "regimes": ["real"], "bootstrap": 10}})
    assert build.at_classifier(section, "strain") == build.at_classifier(other.classification, "strain")


def test_folders_of_the_config_may_begin_with_home_or_a_variable(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("SCRATCH", "/scratch")
    settings = build.load({"data_root": "~/data", "weights_dir": "$SCRATCH/w"})
    assert (settings.data_root, settings.weights_dir) == ("/home/ann/data", "/scratch/w")
    assert build.load({"data_root": "/d{1}/$(x)"}).data_root == "/d{1}/$(x)"


def test_settings_files_go_there_and_back(tmp_path):
    settings = build.load({"seed": 7, "index": {"classes": ["bösartig", "良性"]}, "autoencoder": {"kl_weight": 1e-7}})
    for name, sections in stages.STAGES.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(stages.stage_text(settings, name), encoding="ascii")
        classes = [build.section_type(section) for section in sections]
        _, *found = stages.parse_stage(str(path), *classes)
        for section, values in zip(sections, found, strict=True):
            expected, counted = getattr(settings, section), stages.KEYS.get(name, type(values).model_fields)
            assert all(getattr(values, key) == getattr(expected, key) for key in counted)
    path.write_text(stages.stage_text(settings, stages.WHOLE))
    assert stages.parse(str(path)) == settings
    assert stages.parse_stage(str(path), AutoencoderSettings) == (7, settings.autoencoder)
    path.write_text("experiment: mine\nautoencoder: {width: 8}\n")  # a config of one's own, by hand
    assert stages.parse_stage(str(path), AutoencoderSettings)[1].width == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 0\nreport: {strips: 2}\n", "expected the keys seed, autoencoder; got seed, report"),
        ("experiment: a\nautoencoder: {widht: 2}\n", "did you mean 'width'"),
        ("- 1\n", "expected keys with values"),
        ("a: [\n", "is not valid YAML"),
        (None, "No such file"),
    ],
)
def test_a_settings_file_that_cannot_work_is_refused(tmp_path, text: str | None, message: str):
    path = tmp_path / "settings.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(LddmError, match=message) as caught:
        stages.parse_stage(str(path), AutoencoderSettings)
    assert caught.value.hint


def test_a_settings_file_that_the_run_did_not_plan_is_refused(tmp_path, monkeypatch):
    path, text = tmp_path / "split.yaml", stages.stage_text(Settings(), "split")
    path.write_text(text)
    monkeypatch.setenv("LDDM_SETTINGS", stages.digest(text))
    assert stages.parse_stage(str(path), SplitSettings)[1] == Settings().split
    path.write_text(text.replace("folds: 3", "folds: 4"))
    with pytest.raises(LddmError, match="edited"):
        stages.parse_stage(str(path), SplitSettings)


def test_default_settings_are_shown_without_docstrings():
    command = [sys.executable, "-OO", "-c", "from lddm.cli import app; app(['settings'])"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and yaml.safe_load(done.stdout) == Settings().model_dump(mode="json"), done.stderr


def test_identity_ignores_only_where_things_lie():
    plain = build.identity(build.load({}))
    assert plain == build.identity(build.load({"data_root": "x", "weights_dir": "y", "tracking": {"enabled": False}}))
    assert plain != build.identity(build.load({"seed": 1})) and len(plain) == 12


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"domain_network": {"width": 6}}, "domain_network.width: expected a multiple of 4"),
        ({"diffusion": {"min_snr_gamma": -1.0}}, "diffusion.min_snr_gamma"),
        ({"synthesis": {"samples": {"heldout": 2, "stills": -1}}}, "synthesis.samples.stills"),
        ({"synthesis": {"generators": ["lddm", "static", "lddm"]}}, "lddm is listed twice"),
        (
            {"synthesis": {"num_inference_steps": 1001}},
            "num_inference_steps 1001 exceeds diffusion.num_train_timesteps",
        ),
        ({"pseudo_labels": {"training": {"processes": 2}}}, "trained in one process"),
        ({"sweep": {"synthetic_share": [0.1234567]}}, "at most four digits"),
        ({"classification": {"regimes": ["real", "real+guessed"]}}, "renamed 'real\\+pseudo'"),
    ],
)
def test_settings_that_would_fail_late_are_refused(raw, message):
    with pytest.raises(LddmError, match=message):
        build.load(raw)
