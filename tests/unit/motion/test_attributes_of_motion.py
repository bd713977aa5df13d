"""Attributes of motion on known motion."""

import numpy as np
import pytest
import torch

from lddm.motion.divergence import area_change
from lddm.motion.low_rank import MotionCode
from lddm.motion.strain import strain_ratio


def maps(centre, beside, size=60):
    """Strain maps with one value in the middle third of both axes and another one elsewhere."""
    found = np.full((1, 2, size, size), beside, np.float32)
    found[:, :, size // 3 : size - size // 3, size // 3 : size - size // 3] = centre
    return found


def test_a_stiff_centre_has_a_positive_log_ratio_for_both_probe_directions():
    assert strain_ratio(maps(0.5, 1.0)) == pytest.approx([np.log(2)])
    assert strain_ratio(maps(1.0, 0.5)) == pytest.approx([-np.log(2)])
    assert strain_ratio(-maps(0.5, 1.0)) == strain_ratio(maps(0.5, 1.0))


def test_the_reference_is_at_the_depth_of_the_centre():
    deep = maps(0.5, 1.0)
    deep[:, 0, :20], deep[:, 0, 40:] = 9.0, -9.0
    assert strain_ratio(deep) == strain_ratio(maps(0.5, 1.0))


def test_tiny_strain_gives_no_extreme_ratio():
    assert strain_ratio(maps(0.0, 1.0)) == pytest.approx([np.log(10)])
    assert strain_ratio(maps(0.0, 0.0)) == [0.0]


def expansion(rate, rows):
    """A motion that enlarges the tissue by `rate` along both axes, times rows over time."""
    place = (torch.arange(8) + 0.5) * 8  # cells of a frame of 64 pixels
    down, right = torch.meshgrid(rate * place, rate * place, indexing="ij")
    return MotionCode(torch.stack([down, right])[None, None], torch.as_tensor(rows, dtype=torch.float32)[None, None])


def test_an_expansion_changes_the_area_by_twice_its_rate():
    rows = np.linspace(0, 1, 17)[1:]
    assert area_change(expansion(0.01, rows), 64) == pytest.approx([2 * np.linspace(0, 1, 17).std()])
    shift = MotionCode(torch.full((1, 1, 2, 8, 8), 3.0), torch.ones(1, 1, 16))
    assert area_change(shift, 64) == pytest.approx([0.0])


def test_area_change_is_invariant_to_time_reversal_and_mirroring():
    rows = np.sin(np.arange(17) / 3)
    forward = expansion(0.01, rows[1:])
    backward = expansion(0.01, (rows[::-1] - rows[-1])[1:])  # displacements are counted from the first frame
    assert area_change(backward, 64) == pytest.approx(area_change(forward, 64), rel=1e-5)
    assert area_change(forward.flip(torch.tensor([True])), 64) == pytest.approx(area_change(forward, 64), rel=1e-5)
