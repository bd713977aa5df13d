"""The report reads files and says what they say."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lddm.classification.statistics import METRICS
from lddm.data.synthetic import save_synthetic
from lddm.errors import LddmError
from lddm.files import write_json, write_table
from lddm.report.figures import figures
from lddm.report.page import number, page
from lddm.report.summary import summary
from lddm.report.tables import QUALITY, quality_table
from lddm.report.verdicts import ablation_sentences, motion_sentences, verdict
from lddm.settings.evaluation import ReportSettings

SECTION = ReportSettings(strips=2, title="A <title> & more")


def quality_rows(generator, l1, frechet):
    def row(metric, reference, value, source="heldout", **more):
        return {
            "fold": 0, "generator": generator, "source": source, "metric": metric, "features": "f", "reference": reference,
            "value": value, "ci_low": value and value * 0.9, "ci_high": value and value * 1.1, "n_real": 3,
            "n_synthetic": 3, "better": "lower", "floor": None, "sees_motion": metric != "l1", "protocol": "frames 1-8",
        } | more  # fmt: skip

    rows = [row("frechet_video", "heldout", frechet, source="train" if generator == "real" else "heldout")]
    if generator != "real":
        rows += [row("l1", "same x0", l1), row("fvd", "", None, reason="i3d: no <weights>")]
    return rows


def ablation_table():
    rows = []
    for regime, auc, p in (("real", 0.7, None), ("real+static", 0.71, 0.8), ("real+lddm", 0.9, 0.01)):
        for metric in METRICS:
            delta = None if p is None else auc - 0.7
            rows.append(
                {
                    "classifier": "strain", "regime": regime, "metric": metric, "mean": auc, "ci_low": auc - 0.05,
                    "ci_high": auc + 0.05, "n_folds": 1, "n_seeds": 2, "n_test": 3, "delta_vs_real": delta,
                    "delta_ci_low": delta, "delta_ci_high": delta, "p_value": p,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def comparison_table():
    row = {
        "classifier": "strain", "regime": "real+lddm", "against": "real+static", "delta_auc": 0.19, "ci_low": 0.1,
        "ci_high": 0.3, "p_bootstrap": 0.01, "p_delong": 0.02, "p_holm": 0.04, "runs_better": 2, "n_runs": 2, "n_test": 30,
        "n_patients": 20, "verdict": "better",
    }  # fmt: skip
    return pd.DataFrame([row])


def sweep_table():
    amounts = [(videos, share) for videos in (16, 32) for share in (0.5,)]
    tables = [ablation_table().assign(real_videos=videos, synthetic_share=share) for videos, share in amounts]
    return pd.concat(tables, ignore_index=True)


@pytest.fixture
def results(tiny_experiment, tiny_store, tmp_path):
    """A results folder in miniature."""
    store, _ = tiny_store
    root = tmp_path / "exp"
    (root / "data").mkdir(parents=True)
    (root / "data/frames").symlink_to(tiny_experiment / "frames")
    (root / "data/splits.parquet").symlink_to(tiny_experiment / "splits.parquet")
    test = store.clips[store.clips["id"] >= "video-15"]
    for generator in ("lddm", "reconstruction"):
        manifest = pd.DataFrame(
            {
                "sample_id": test["id"], "generator": generator, "source": "heldout", "x0_id": test["id"],
                "clip_id": test["clip_id"], "label": test["label"], "patient_id": test["patient_id"], "cluster": None,
                "sample": 0, "seed": 0,
            }
        )  # fmt: skip
        save_synthetic(root / f"fold-0/synthetic/{generator}/heldout/shard-0.npy", store.clip_frames(test), manifest)
    scores = {"real": (0, 1.0), "lddm": (0.08, 4.0), "static": (0.1, 60.0), "reconstruction": (0.02, 2.0)}
    files = []
    for generator, values in scores.items():
        files.append(root / f"fold-0/quality/{generator}.json")
        write_json(files[-1], quality_rows(generator, *values))
    write_table(quality_table(files), root / "tables/quality.csv")
    write_table(ablation_table(), root / "tables/classification.csv")
    write_table(comparison_table(), root / "tables/comparisons.csv")
    write_table(sweep_table(), root / "tables/sweep.csv")
    write_table(comparison_table().assign(real_videos=32, synthetic_share=0.5), root / "tables/sweep_comparisons.csv")
    record = root / "records/train_generator/fold-0_generator-lddm/20260101T000000-aa"
    write_json(record / "record.json", {"status": "FINISHED", "pipeline": "abc123"})
    lines = [{"step": s, "time": 0, "values": {"lddm/loss": 1 / s, "val/loss": 1.1 / s}} for s in (1, 2, 3)]
    (record / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return root


def test_the_table_has_the_columns_of_the_contract_and_no_absent_metric(results):
    table = pd.read_csv(results / "tables/quality.csv")
    assert list(table.columns) == QUALITY and "fvd" not in set(table["metric"])
    write_json(results / "broken.json", [{"metric": "l1"}])
    with pytest.raises(LddmError, match="no quality rows"):
        quality_table([results / "broken.json"])


def test_figures_are_drawn_and_move(results):
    paths = {path.name: path for path in figures(SECTION, results, results / "figures")}
    stills = {"strips.png", "curves.png", "quality.png", "ablation.png", "sweep.png"}
    assert stills | {"loop-0.webp", "loop-1.webp"} == set(paths)
    for name, path in paths.items():
        with Image.open(path) as image:
            assert image.width > 300, name
            if name.endswith("webp"):
                assert image.n_frames > 4
            else:
                assert np.asarray(image.convert("L")).std() > 5, name
    write_table(sweep_table().iloc[:0], results / "tables/sweep.csv")
    assert "sweep.png" not in {path.name for path in figures(SECTION, results, results / "figures")}
    assert not (results / "figures/sweep.png").exists()  # none is left of an earlier run
    write_table(sweep_table(), results / "tables/sweep.csv")
    again = {path.name: path.read_bytes() for path in figures(SECTION, results, results / "figures")}
    assert again == {name: path.read_bytes() for name, path in paths.items()}


def test_the_page_stands_alone_and_escapes_what_it_shows(results):
    figures(SECTION, results, results / "figures")
    page(SECTION, results, results / "report.html")
    text = (results / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert "A &lt;title&gt; &amp; more" in text and "<title> &" not in text.replace("<title>A", "")
    assert "no &lt;weights&gt;" in text  # why fvd is absent
    assert "not for diagnosis" in text and text.count("data:image/webp") == 2
    assert "not distinguishable" in text and "better" in text
    assert "32 real videos, 0.5 of a batch synthetic" in text and "2 of 2 runs" in text and "30 (20)" in text


def test_the_summary_is_flat_numbers(results):
    summary(SECTION, results, results / "summary.json")
    content = json.loads((results / "summary.json").read_text())
    assert content["headline"]["quality/lddm/frechet_video"] == 4.0
    assert content["headline"]["quality/real/frechet_video"] == 1.0
    assert content["headline"]["classification/strain/real+lddm/delta_auc"] == pytest.approx(0.2)
    assert content["headline"]["classification/strain/motion_delta_auc"] == 0.19
    assert all(isinstance(value, float) for value in content["headline"].values())
    assert content["pipeline"] == "abc123" and content["absent_metrics"] == {"fvd": "i3d: no <weights>"}


def test_verdicts_follow_the_numbers():
    table = ablation_table()
    rows = table.set_index(["regime", "metric"])
    with_metric = lambda r, m: pd.concat([rows.loc[(r, m)], pd.Series({"metric": m})])  # noqa: E731
    assert verdict(with_metric("real+lddm", "auc")) == "better"
    assert verdict(with_metric("real+lddm", "ece")) == "worse"  # a larger calibration error
    assert verdict(with_metric("real+static", "auc")) == "not distinguishable"
    sentences = " ".join(ablation_sentences(table))
    assert "0.900 (better)" in sentences and "0.710 (not distinguishable)" in sentences
    motion = " ".join(motion_sentences(comparison_table()))
    assert "better (AUC +0.190" in motion and "30 test videos of 20 patients" in motion
    assert motion_sentences(comparison_table().iloc[:0]) == []


def test_numbers_are_short():
    assert [number(v) for v in (0.123456, 1234.5, float("nan"), None, 0.0)] == ["0.123", "1234", "–", "–", "0"]
