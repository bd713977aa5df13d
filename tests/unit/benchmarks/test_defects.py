"""Distortions of the defect study, and its verdicts on motion sensitivity."""

import cv2
import numpy as np
import pandas as pd
import pytest

from benchmarks.defects import DAMAGES, sees_motion, summary

RNG = np.random.default_rng(0)
CLIP = np.stack([cv2.resize(RNG.integers(0, 255, (5, 5), dtype=np.uint8), (24, 24)) for _ in range(17)])


@pytest.mark.parametrize("name", DAMAGES)
def test_a_distortion_preserves_shape_and_everything_else(name):
    damaged = DAMAGES[name](CLIP, np.random.default_rng(1))
    assert damaged.shape == CLIP.shape and damaged.dtype == np.uint8 and not np.array_equal(damaged, CLIP)
    if name in ("frozen", "shuffled", "doubled speed"):  # motion is broken, every frame is one of the clip
        originals = {frame.tobytes() for frame in CLIP}
        assert {frame.tobytes() for frame in damaged} <= originals
        assert np.array_equal(damaged[0], CLIP[0])
    else:  # frames are broken, each stays nearest to itself
        distance = np.abs(damaged[:, None].astype(float) - CLIP[None]).mean(axis=(2, 3))
        assert (distance.argmin(axis=1) == np.arange(17)).all()


def test_doubled_speed_turns_round_at_the_end():
    assert np.array_equal(
        DAMAGES["doubled speed"](CLIP, RNG), CLIP[[0, 2, 4, 6, 8, 10, 12, 14, 16, 14, 12, 10, 8, 6, 4, 2, 0]]
    )


def row(metric, **values):
    return pd.Series({name.replace("_", " "): value for name, value in values.items()}, name=(metric, "f"))


def test_a_distance_is_motion_sensitive_if_every_distorted_motion_exceeds_the_undistorted_interval():
    sharp = row("frechet_video", as_they_are=1.0, frozen=9.0, shuffled=8.0, doubled_speed=3.0)
    assert sees_motion(sharp, 2.0, False) is True and sees_motion(sharp, 5.0, False) is False


def test_a_paired_measure_is_insensitive_if_it_prefers_a_frozen_clip_to_another_motion():
    values = {"as they are": 0.0, "frozen": 0.1, "another patient's motion": 0.2}
    assert sees_motion(pd.Series(values, name=("l1", "f")), 0.0, True) is False
    assert sees_motion(pd.Series(values | {"frozen": 0.3}, name=("l1", "f")), 0.0, True) is True
    similar = {"as they are": 1.0, "frozen": 0.6, "another patient's motion": 0.5}
    assert sees_motion(pd.Series(similar, name=("ssim", "f")), 1.0, True) is False  # higher is better
    assert sees_motion(pd.Series({"as they are": 0.0, "frozen": 0.1}, name=("l1", "f")), 0.0, True) is None


def test_the_summary_shows_measured_and_stated_sensitivity():
    rows = [
        {
            "version": version,
            "metric": "frechet_video",
            "features": "f",
            "value": value,
            "ci_low": 0,
            "ci_high": 2.0,
            "reference": "heldout",
        }
        for version, value in {"as they are": 1, "frozen": 9, "shuffled": 8, "doubled speed": 3, "blur": 2}.items()
    ]
    table = summary(pd.DataFrame(rows))
    assert table["sees motion"].tolist() == [True] and table["catalogue"].tolist() == [True] and table["blur"][0] == 2
    assert table["better"].tolist() == ["lower"]
