"""Outputs of an earlier configuration stay on disk and out of the report."""

import shutil

import pandas as pd
import pytest

from lddm.errors import LddmError
from lddm.files import read_json, write_json
from lddm.report.failures import flagged
from lddm.report.page import page
from lddm.report.plan import Plan
from lddm.report.provenance import verify, write_provenance
from lddm.report.reader_study import reader_study
from lddm.report.results import Results
from lddm.report.strips import choose
from lddm.report.summary import summary
from lddm.settings.build import load
from lddm.settings.models import AutoencoderSettings


def sections(settings, **changes):
    """The settings with some keys of some sections changed."""
    return settings.model_copy(
        update={name: getattr(settings, name).model_copy(update=keys) for name, keys in changes.items()}
    )


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("data/index.parquet", True), ("report.html", True), ("fold-0", True), ("fold-1", False), ("fold-10/latents.npy", False),
        ("fold-0/autoencoder/autoencoder.safetensors", True), ("fold-0/generators/cinn/bundle/bundle.json", False),
        ("fold-0/generators/static/bundle/bundle.json", True), ("fold-0/quality/motion_transfer.json", False),
        ("fold-0/quality/cinn_copies.csv", False), ("fold-0/quality/lddm_copies.csv", True), ("fold-0/quality/real.json", True),
        ("fold-0/synthetic/lddm/stills/shard-0.npy", True), ("fold-0/synthetic/lddm/heldout/shard-1.parquet", False),
        ("fold-0/synthetic/reconstruction/stills/shard-0.npy", False), ("fold-0/synthetic/cinn", False),
        ("fold-0/classification/strain/real/seed-1.json", True), ("fold-0/classification/strain/real/seed-2.json", False),
        ("fold-0/classification/strain/real+aug", False), ("fold-0/classification/tiny3d", False),
        ("fold-0/sweep/strain/real/videos-16_share-0.5/seed-0.json", False), ("fold-0/pseudo_labels.parquet", False),
    ],
)  # fmt: skip
def test_what_the_settings_make(settings, name, made):
    assert Plan(settings).makes(name) is made


def test_the_points_of_a_sweep_are_made_and_are_jobs_of_their_own(results, settings):
    swept = sections(settings, sweep={"real_videos": [4, 8]})
    assert Plan(swept).makes("fold-0/sweep/strain/real/videos-4_share-0.5/seed-0.json")
    assert not Plan(swept).makes("fold-0/sweep/strain/real/videos-16_share-0.5/seed-0.json")
    template = read_json(next(results.glob("records/*/*/*/record.json")))
    for attempt, point in enumerate(("videos-4_share-0.5", "videos-8_share-0.5", "videos-4_share-0.5"), start=1):
        output = {"path": "x", "name": f"fold-0/sweep/strain/real/{point}/seed-0.json", "sha256": "0", "size": 1}
        about = template | {"rule": "classify", "attempt": attempt, "outputs": [output]}
        write_json(results / f"records/classify/fold-0_classifier-strain_regime-real/{attempt}/record.json", about)
    jobs = [job for job in Results(results, swept).jobs() if job["rule"] == "classify"]
    assert sorted(job["attempt"] for job in jobs) == [2, 3]


def test_nothing_of_earlier_settings_enters_the_report(results, settings, tmp_path):
    """A second fold, a dropped generator, more shards, more seeds: all still there, none of it read."""
    copies = pd.DataFrame(
        {
            "sample_id": ["video-15"],
            "source": "heldout",
            "features": "f",
            "nearest": "video-00@0",
            "distance": 1.0,
            "threshold": 2.0,
            "copied": True,
        }
    )
    copies.to_csv(results / "fold-0/quality/lddm_copies.csv", index=False)
    page(settings, results, results / "report.html")
    summary(settings, results, results / "summary.json")
    before = (results / "report.html").read_text()
    numbers = read_json(results / "summary.json")

    shutil.copytree(results / "fold-0", results / "fold-1")
    for kind in ("synthetic", "quality", "generators"):
        (results / f"fold-0/{kind}/cinn").mkdir(parents=True)
    shutil.copytree(results / "fold-0/synthetic/lddm", results / "fold-0/synthetic/cinn", dirs_exist_ok=True)
    write_json(results / "fold-0/quality/cinn.json", [{"metric": "x", "value": None, "reason": "cinn has none"}])
    for suffix in ("npy", "parquet"):
        shard = results / f"fold-0/synthetic/lddm/heldout/shard-0.{suffix}"
        shutil.copy(shard, shard.with_name(f"shard-1.{suffix}"))
    write_json(results / "fold-0/classification/strain/real/seed-2.json", {"regime": "real", "n_real_videos": 999})
    record = next(results.glob("records/*/*/*/record.json"))
    about = read_json(record)
    output = {"path": "x", "name": "fold-0/generators/cinn/bundle/bundle.json", "sha256": "0", "size": 1}
    dropped = results / "records/train_generator/fold-0_generator-cinn/20260101T000000-cc/record.json"
    write_json(dropped, about | {"wildcards": {"fold": "0", "generator": "cinn"}, "outputs": [output]})
    shutil.copy(record.with_name("metrics.jsonl"), dropped.with_name("metrics.jsonl"))

    found = Results(results, settings)
    assert {name for _, versions in choose(found, 2) for name in versions} == {
        "real",
        "reconstruction",
        "lddm",
        "static",
    }
    assert flagged(found)[1] == 1 and len(found.jobs()) == 1 and list(found.training_logs()) == [
        "train_generator fold-0_generator-lddm"
    ]  # fmt: skip
    assert len(found.classification_runs()) == 6
    page(settings, results, results / "report.html")
    now = (results / "report.html").read_text()
    line = "Leftovers of earlier settings in the folder, not part of this report: fold-1, fold-0/generators/cinn, "
    assert line in now and line not in before
    assert [text for text in now.splitlines() if "Leftovers" not in text] == [
        text for text in before.splitlines() if "Jobs: records/." not in text
    ]
    summary(settings, results, results / "summary.json")
    assert read_json(results / "summary.json") == numbers and numbers["data"]["folds"] == [0]
    write_provenance(results, settings, results / "provenance.json")
    assert verify(results) == {}  # the bundle of the dropped generator is not missed
    reader_study(results, tmp_path / "a/study.html", tmp_path / "b/key.csv", 3, ["lddm"], 0)
    assert set(pd.read_csv(tmp_path / "b/key.csv")["fold"]) == {0}


def test_videos_that_the_settings_plan_are_missed(results, settings):
    more = sections(settings, split={"folds_to_run": 2})
    with pytest.raises(LddmError, match="fold-1/synthetic/reconstruction/heldout/shard-0.parquet does not exist"):
        Results(results, more).synthetic(1, "heldout")
    sharded = sections(settings, synthesis={"shards": 2})
    with pytest.raises(LddmError, match="shard-1.parquet does not exist"):
        Results(results, sharded).synthetic(0, "heldout")


def test_the_settings_of_the_present_run_go_before_those_of_the_last_report(results, settings):
    write_provenance(results, sections(settings, split={"folds_to_run": 2}), results / "provenance.json")
    assert Results.saved(results).settings.split.folds_to_run == 1 and Results(results).folds() == [0]
    (results / "settings/whole.yaml").write_text("experiment: exp\nautoencoder: {kl_weight: 1.0e-05}\n")
    assert Results.saved(results).settings == load({"experiment": "exp"})
    (results / "settings/whole.yaml").write_text("preprocess: {no_such_key: 1}\n")
    with pytest.raises(LddmError, match="not valid in this version of lddm"):
        Results.saved(results)
    shutil.rmtree(results / "settings")
    assert Results.saved(results).settings.split.folds_to_run == 2
    (results / "provenance.json").unlink()
    with pytest.raises(LddmError, match=r"neither settings/whole\.yaml nor provenance\.json"):
        Results(results).jobs()


def test_files_of_a_former_rule_and_motion_that_no_decoder_needs_are_left_over(results, settings):
    (results / "fold-0/guessed_labels.parquet").write_bytes(b"of version 0.2.0")
    assert Results(results, settings).leftovers() == ["fold-0/guessed_labels.parquet"]
    spade = settings.model_copy(update={"autoencoder": AutoencoderSettings(decoder="spade", latent="vector")})
    assert Plan(settings).makes("data/motion.safetensors") and not Plan(spade).makes("data/motion.safetensors")
