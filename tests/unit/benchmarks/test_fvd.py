"""The FVD study compares different patients, and its numbers follow from the features."""

import numpy as np
import pytest

from benchmarks.fvd import REAL, compare, damaged, sides, slowed
from lddm.errors import LddmError
from lddm.metrics.distances import frechet

RNG = np.random.default_rng(0)


def test_the_two_sides_share_no_patient_and_take_one_clip_of_each_first():
    patients = np.repeat([f"p{i}" for i in range(30)], 3)
    mine, theirs = sides(patients, 12, 0)
    assert len(set(patients[mine])) == len(set(patients[theirs])) == len(mine) == 12
    assert not set(patients[mine]) & set(patients[theirs])
    assert not np.array_equal(mine, sides(patients, 12, 1)[0])
    mine, theirs = sides(patients, 20, 0)  # 15 patients a side, five of them twice
    assert len(mine) == len(theirs) == 20 and len(set(patients[mine])) == 15
    assert len(sides(patients, 60, 0)[0]) == 45
    uneven = np.array(["a"] * 9 + [f"p{i}" for i in range(7)])
    assert [len(side) for side in sides(uneven, 60, 0)] == [4, 4]
    with pytest.raises(LddmError, match="at least 8 patients, got 7"):
        sides(patients[:21], 60, 0)


def test_half_speed_shows_each_frame_twice():
    clip = RNG.integers(0, 255, (17, 4, 4), dtype=np.uint8)
    assert np.array_equal(slowed(clip, RNG), clip[[0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8]])
    assert {name for name, _ in damaged(clip[None], 0)} == {"frozen", "shuffled", "doubled speed", "half speed"}


def test_a_shift_is_found_beside_the_floor_with_a_paired_difference():
    real, others = RNG.normal(size=(60, 5)), RNG.normal(size=(60, 5))
    features = {REAL: real, "shifted": real + 2.0, "almost real": real + 1e-4}
    groups = np.arange(60) % 20, np.arange(60) % 20
    table = compare(features, others, groups).set_index("version")
    assert table.loc[REAL, "fvd"] == pytest.approx(frechet(real, others)) and table.loc[REAL, "times_real"] == 1
    assert table.loc["shifted", "minus_real_low"] > 10
    near = table.loc["almost real"]
    assert near["minus_real_high"] - near["minus_real_low"] < 0.01 * (near["ci_high"] - near["ci_low"])
    assert table["minus_real"].isna().tolist() == [True, False, False]
