"""Sharpness and haze with known answers."""

import numpy as np
import pytest

from benchmarks.texture import LIGHT, compared, controls, haze, sharpness

VIEW = np.ones((2, 16, 16), bool)


def test_fog_counts_drawn_frames_and_dark_pixels_only():
    real = np.full((2, 5, 16, 16), 10, np.uint8)
    real[:, :, :8] = 100
    drawn = real.copy()
    drawn[:, 1:] += 6
    assert haze(drawn, real, VIEW) == pytest.approx([6, 6])
    drawn[:, 1:, 8:, :8], drawn[:, 1:, 8:, 8:] = 14, 6  # half brighter, half darker
    assert haze(drawn, real, VIEW) == pytest.approx([0, 0])
    assert haze(drawn, real, VIEW, brighter_only=True) == pytest.approx([2, 2])
    assert np.isnan(haze(drawn, np.full_like(real, 90), VIEW)).all()


def test_sharpness_is_that_of_each_frame_within_the_view():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (2, 3, 16, 16)).astype(np.uint8)
    frames[:, 2] = 128
    found = sharpness(frames, VIEW)
    assert found.shape == (2, 3) and (found[:, :2] > 30).all() and (found[:, 2] == 0).all()
    left = VIEW & (np.arange(16) < 8)
    changed = frames.copy()
    changed[..., 10:] = 0  # 1 px of smoothing does not reach across
    assert sharpness(changed, left & (np.arange(16) < 5)) == pytest.approx(
        sharpness(frames, left & (np.arange(16) < 5))
    )


def test_an_interval_needs_two_patients_and_an_undefined_measure_is_left_empty():
    values = {"sharpness": np.array([1.0, 2.0]), "haze": np.array([np.nan, np.nan])}
    rows = {row["measure"]: row for row in compared("lddm", values, values, np.array(["a", "a"]))}
    assert rows["sharpness"]["value"] == 1 and np.isnan(rows["sharpness"]["low"])
    assert np.isnan(rows["haze"]["value"]) and rows["haze"]["videos"] == 0
    two = compared("lddm", values, {"sharpness": np.array([1.0, 1.0]), "haze": values["haze"]}, np.array(["a", "b"]))
    assert two[0]["value"] == 1.5 and two[0]["low"] == 1 and two[0]["high"] == 2


def test_controls_are_found_and_real_clips_pass():
    real = np.random.default_rng(0).integers(0, 15, (2, 4, 16, 16)).astype(np.uint8)
    as_it_is, soft, lit = controls(real).values()
    assert haze(as_it_is, real, VIEW) == pytest.approx([0, 0]) and haze(lit, real, VIEW) == pytest.approx(
        [LIGHT, LIGHT]
    )
    assert (sharpness(soft, VIEW) < 0.5 * sharpness(real, VIEW)).all()
    assert np.array_equal(lit[:, 0], real[:, 0])
