"""The tables of the paper's comparison: means over trainings, intervals, differences, absent metrics."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from benchmarks.paper import check_same_data, merged, our_config
from benchmarks.paper_table import Estimate, Sources, differences, quality, write_tables
from lddm.errors import LddmError
from lddm.settings import build

RAW = {
    "experiment": "tiny",
    "autoencoder": {"decoder": "spade", "latent": "vector"},
    "synthesis": {"generators": ["lddm", "cinn", "static"], "samples": {"heldout": 1, "stills": 1}},
    "classification": {"regimes": ["real", "real+cinn", "real+lddm"]},
}


def row(generator, value, rng, metric="fvd", reference="heldout", **more):
    replicates = None if value is None else (value + rng.normal(0, 0.2, 20)).tolist()
    return {
        "fold": 0, "generator": generator, "source": "heldout", "metric": metric, "features": "i3d", "value": value,
        "reference": reference, "better": "lower", "n_real": 20, "n_synthetic": 20, "floor": 5.0, "replicates": replicates,
    } | more  # fmt: skip


@pytest.fixture
def sources(tmp_path):
    """LDDM at 100, 102, 104; cINN at 120, 121, 122; x0 repeated at 200; DT-FVD absent."""
    rng, both = np.random.default_rng(0), {}
    paper = build.load(RAW)
    for kind, settings in (("paper", paper), ("ours", build.load(our_config(RAW)))):
        folder = tmp_path / settings.experiment
        place = folder / "fold-0/quality"
        place.mkdir(parents=True)
        for name in ("real", "reconstruction", *settings.synthesis.generators):
            value = {"lddm": 100.0, "cinn": 120.0, "static": 200.0}.get(name, 50.0)
            reason = {"reference": "", "value": None, "replicates": None, "reason": "no weights"}
            rows = [row(name, value, rng), row(name, value / 1000, rng, "lpips", "same x0")]
            rows.append(row(name, None, rng, "dt_fvd") | reason)
            (place / f"{name}.json").write_text(json.dumps(rows))
        again = folder / "study/trainings/fold-0"
        again.mkdir(parents=True)
        for name, start, step in (("lddm", 100.0, 2.0), *([("cinn", 120.0, 1.0)] if kind == "paper" else [])):
            for number in (1, 2):
                rows = [row(name, start + step * number, rng)]
                (again / f"{name}-{number}.json").write_text(json.dumps({"identity": {}, "rows": rows}))
        (folder / "tables").mkdir()
        auc = {"classifier": "strain", "metric": "auc", "mean": 0.8, "ci_low": 0.7, "ci_high": 0.9}
        auc |= {"delta_vs_real": 0.1, "delta_ci_low": 0.0, "delta_ci_high": 0.2}
        pd.DataFrame([auc | {"regime": name} for name in ("real", "real+lddm")]).to_csv(
            folder / "tables/classification.csv", index=False
        )
        both[kind] = Sources(folder, settings)
    return both


def test_values_are_means_over_trainings_and_absent_metrics_have_reasons(sources):
    table = quality(sources).set_index(["method", "metric"])
    lddm = table.loc[("LDDM (paper variant)", "fvd")]
    assert lddm["value"] == pytest.approx(102) and lddm["trainings"] == 3 and lddm["each"] == "100 102 104"
    assert lddm["ci_low"] < 100 and lddm["ci_high"] > 104  # three trainings say little of their mean
    assert table.loc[("x0 repeated", "fvd"), "trainings"] == 1
    assert table.loc[("cINN (published)", "dt_fvd"), "reason"] == "no weights"


def test_differences_are_of_the_same_patients_and_corrected(sources):
    table = differences(sources).set_index(["metric", "against"])
    cinn = table.loc[("fvd", "cINN (published)")]
    assert cinn["delta"] == pytest.approx(102 - 121) and cinn["ci_high"] < 0 and cinn["p_holm"] >= cinn["p_value"]
    assert table.loc[("fvd", "x0 repeated"), "delta"] == pytest.approx(-98)
    assert ("fvd", "LDDM (ours)") in table.index and ("dt_fvd", "cINN (published)") not in table.index


def test_what_folds_share_does_not_widen_a_difference():
    """Five folds that differ a lot, in which one method is five lower throughout: its trainings vary by one."""
    rng = np.random.default_rng(3)
    first, second = [], []
    for fold, level in enumerate((100, 140, 120, 160, 130)):
        shared = rng.normal(0, 0.2, 20)
        for method, shift in ((first, -5.0), (second, 0.0)):
            for _ in range(3):
                value = level + shift + rng.normal()
                method.append(row("lddm", value, rng) | {"fold": fold, "replicates": (value + shared).tolist()})
    difference, low, high, p = Estimate.of(pd.DataFrame(first)).interval(Estimate.of(pd.DataFrame(second)))
    assert low < -5 < high and high - low < 3 and p < 1e-4
    single = Estimate.of(pd.DataFrame(first[::3]))  # one training per fold says nothing of trainings
    assert single.trainings() == (0.0, 0) and not math.isnan(single.interval()[1])


def test_more_trainings_and_patients_make_intervals_narrower():
    rng = np.random.default_rng(1)

    def width(trainings, spread):
        rows = [row("lddm", 100 + spread * (-1) ** k, rng) for k in range(trainings)]
        _, low, high, _ = Estimate.of(pd.DataFrame(rows)).interval()
        return high - low

    assert width(20, 3.0) < width(4, 3.0) and width(4, 0.0) < width(4, 3.0)
    alone = Estimate.of(pd.DataFrame([row("lddm", 1.0, rng) | {"replicates": []}]))
    assert math.isnan(alone.interval()[1])  # no replicates: no interval is made up


def test_the_written_table_names_all_methods(sources, tmp_path):
    text = write_tables(sources, tmp_path / "study")
    assert "| LDDM (paper variant) | 3 | 102 (" in text and "dt_fvd is absent: no weights" in text
    assert "| fvd | cINN (published) | -19 (" in text and "| strain | real+lddm | ours |" in text
    assert {path.name for path in (tmp_path / "study").iterdir()} == {
        "quality.csv", "differences.csv", "classification.csv", "table.md"
    }  # fmt: skip


def test_both_experiments_must_use_the_same_data(tmp_path):
    paper, ours = build.load(RAW), our_config(RAW)
    check_same_data(paper, build.load(ours))
    with pytest.raises(LddmError, match="differ in preprocess"):
        check_same_data(paper, build.load(ours | {"preprocess": {"size": 32}}))
    for name, text in (("a", "seed: 1\nautoencoder: {width: 4, map_size: 4}\n"), ("b", "autoencoder: {width: 8}\n")):
        (tmp_path / name).write_text(text)
    assert merged([tmp_path / "a", tmp_path / "b"]) == {"seed": 1, "autoencoder": {"width": 8, "map_size": 4}}
