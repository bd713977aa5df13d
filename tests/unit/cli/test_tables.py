"""`lddm tabulate`, and options that take many files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from lddm.cli import app
from lddm.cli.options import shard_files
from lddm.errors import LddmError
from lddm.files import write_json
from lddm.settings import build, planned, stages

CONFIG = {
    "split": {"folds_to_run": 1},
    "synthesis": {"generators": ["lddm", "static"]},
    "classification": {"classifiers": ["strain"], "regimes": ["real", "real+lddm"], "seeds": 2, "bootstrap": 10},
}
# What an earlier config had more of.
EARLIER = {
    "split": {"folds_to_run": 2},
    "synthesis": {"generators": ["lddm", "static", "cinn"]},
    "classification": {"classifiers": ["strain", "still"], "regimes": ["real", "real+lddm"], "seeds": 3},
}


def quality(path: Path) -> list[dict]:
    row = {"features": "", "reference": "", "ci_low": None, "ci_high": None, "n_real": 3, "n_synthetic": 3}
    row |= {"better": "lower", "floor": None, "sees_motion": True, "protocol": "", "metric": "l1", "value": 1.0}
    return [row | {"fold": int(path.parts[0][5:]), "generator": path.stem, "source": "heldout"}]


def predictions(path: Path) -> dict:
    fold, _, classifier, regime, seed = path.with_suffix("").parts
    rng = np.random.default_rng(len(str(path)))
    rows = [
        {"id": f"v{n}", "patient_id": f"p{n}", "label": n % 2, "probability": float(rng.random())} for n in range(12)
    ]
    about = {"classifier": classifier, "regime": regime, "fold": int(fold[5:]), "seed": int(seed[5:])}
    return about | {"threshold": 0.5, "n_real_videos": 16, "predictions": rows}


def test_tables_hold_what_the_present_config_plans(tmp_path):
    for config in (EARLIER, CONFIG):
        settings = build.load(config)
        for path in planned.quality_files(settings):
            write_json(tmp_path / path, quality(path))
        for path in planned.classification_files(settings):
            write_json(tmp_path / path, predictions(path))
    file = tmp_path / "settings/tables.yaml"
    file.parent.mkdir()
    file.write_text(stages.stage_text(settings, "tables"))
    command = ["tabulate", "--settings", str(file), "--results", str(tmp_path), "--out-dir", str(tmp_path / "tables")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output + str(done.exception)
    scores = pd.read_csv(tmp_path / "tables/quality.csv")
    assert set(scores["fold"]) == {0} and set(scores["generator"]) == {"real", "reconstruction", "lddm", "static"}
    ablation = pd.read_csv(tmp_path / "tables/classification.csv")
    assert set(ablation["classifier"]) == {"strain"} and set(ablation["n_seeds"]) == {2} == set(ablation["n_folds"] + 1)


def test_a_folder_of_shards_means_those_of_the_present_config(tmp_path):
    for number in range(4):
        (tmp_path / f"shard-{number}.parquet").touch()
    assert shard_files([tmp_path], 2) == [tmp_path / "shard-0.parquet", tmp_path / "shard-1.parquet"]
    assert shard_files([tmp_path / "shard-3.parquet"], None) == [tmp_path / "shard-3.parquet"]
    with pytest.raises(LddmError, match="--shards"):
        shard_files([tmp_path], None)
