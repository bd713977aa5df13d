"""Training on real and testing on synthetic videos: identical videos score equally, videos of the wrong class do not."""

import numpy as np
import pandas as pd
import pytest

from lddm.classification.classify import classify
from lddm.classification.regimes import real_clips
from lddm.classification.transfer import COLUMNS, animated_test_clips, transfer_table
from lddm.data.synthetic import save_synthetic
from lddm.errors import LddmError
from lddm.files import read_json, write_json
from lddm.settings.evaluation import ClassificationSettings
from lddm.settings.models import Training
from tests.unit.classification.test_planted import LABELS, SECTION, cell


def animated(tmp_path, tiny_store, generator, change=lambda frames: frames, samples=2, missing=0):
    """Synthetic videos of all test clips but the last `missing`; the second sample of each is black."""
    test = real_clips(*tiny_store, 0, "test")
    table, frames = test.table.iloc[: len(test) - missing], test.frames[: len(test) - missing]
    table = pd.concat([table.assign(sample=sample) for sample in range(samples)])
    frames = np.concatenate([change(frames), *[np.zeros_like(frames)] * (samples - 1)])
    order = np.random.default_rng(0).permutation(len(table))  # shards need not be in the order of the clips
    columns = dict.fromkeys(("class_name", "cluster"), "") | {"generator": generator, "source": "heldout", "seed": 0}
    manifest = table.assign(sample_id=range(len(table)), x0_id=table["id"], **columns).iloc[order]
    path = tmp_path / f"{generator}.npy"
    save_synthetic(path, frames[order], manifest)
    return path


def test_the_classifier_of_real_videos_predicts_animated_test_clips(tiny_store, tmp_path):
    section = ClassificationSettings(seeds=1, real_videos=8, training=Training(steps=4, batch_size=8, val_every=2))
    made = [
        animated(tmp_path, tiny_store, "reconstruction"),
        animated(tmp_path, tiny_store, "lddm", lambda frames: 255 - frames),
    ]
    where = tmp_path / "state", tmp_path / "out", 0, lambda *_: None
    (path,) = classify(section, "tiny3d", "real", *tiny_store, 0, [], [], None, *where, tested_on=made)
    result = read_json(path)
    found = {name: pd.DataFrame(rows) for name, rows in result["synthetic_predictions"].items()}
    real = pd.DataFrame(result["predictions"])
    assert set(found) == {"lddm", "reconstruction"}
    assert found["reconstruction"].equals(real)  # the same frames, in any order, the first sample of each
    assert found["lddm"]["id"].tolist() == real["id"].tolist()
    assert (found["lddm"]["probability"] != real["probability"]).all()


def test_a_generator_that_lacks_a_test_clip_is_named(tiny_store, tmp_path):
    path = animated(tmp_path, tiny_store, "lddm", missing=1)
    with pytest.raises(LddmError, match="lddm: no synthetic video of test clip"):
        animated_test_clips([path], real_clips(*tiny_store, 0, "test").table)


def test_videos_that_show_their_class_score_like_real_ones_and_others_lower(tmp_path):
    rng = np.random.default_rng(0)
    known = np.clip(0.5 + 0.3 * (LABELS - 0.5) + rng.normal(0, 0.15, 60), 0, 1)
    files = []
    for seed in range(3):
        path = cell(tmp_path, "real", np.clip(known + rng.normal(0, 0.02, 60), 0, 1), seed=seed)
        result = read_json(path)
        rows = result["predictions"]
        blind = [row | {"probability": 0.5} for row in rows]
        write_json(path, result | {"synthetic_predictions": {"lddm": rows, "static": blind}})
        files += [path, cell(tmp_path, "lddm_only", rng.permutation(known), seed=seed)]
    table = transfer_table(files, SECTION, 0)
    assert list(table.columns) == COLUMNS and table["scheme"].tolist() == ["TRTR", "TRTS", "TRTS", "TSTR"]
    rows = table.set_index(["scheme", "tested_on"])
    assert rows.loc[("TRTS", "lddm"), "delta_vs_real"] == rows.loc[("TRTS", "lddm"), "delta_ci_low"] == 0
    assert rows.loc[("TRTS", "static"), "mean"] == 0.5 and rows.loc[("TRTS", "static"), "delta_ci_high"] < 0
    assert rows.loc[("TSTR", "real"), "delta_ci_high"] < 0 and rows.loc[("TRTR", "real"), "mean"] > 0.8
    assert (table["ci_high"] <= 1).all() and pd.isna(rows.loc[("TRTR", "real"), "delta_vs_real"])
    assert transfer_table(files[1::2], SECTION, 0).empty  # without real videos there is nothing to compare with
