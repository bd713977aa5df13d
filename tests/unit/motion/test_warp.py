"""Warping and low-rank motion: closed forms."""

import pytest
import torch

from lddm.motion.warp import compose_motion, warp, warp_sequence


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_warp_moves_by_whole_pixels_exactly(mode):
    image = torch.rand(1, 1, 12, 10)
    motion = torch.zeros(1, 2, 12, 10)
    assert torch.allclose(warp(image, motion, mode), image, atol=1e-5)
    motion[:, 0], motion[:, 1] = 2, -1  # out(p) = image(p + (2, -1))
    moved = warp(image, motion, mode)
    assert torch.allclose(moved[..., 3:-4, 3:-3], image[..., 5:-2, 2:-4], atol=1e-5)


def test_motion_is_a_sum_of_maps_times_coefficients():
    maps = torch.ones(1, 2, 2, 4, 4) * torch.tensor([1.0, 10.0])[None, :, None, None, None]
    coefficients = torch.tensor([[[1.0, 2.0], [0.5, 0.0]]])
    motion = compose_motion(maps, coefficients, 16)
    assert motion.shape == (1, 2, 2, 16, 16)
    assert torch.allclose(motion[0, 0], torch.full((2, 16, 16), 6.0), atol=1e-4)
    assert torch.allclose(motion[0, 1], torch.full((2, 16, 16), 2.0), atol=1e-4)
    assert warp_sequence(torch.rand(1, 1, 16, 16), motion).shape == (1, 1, 2, 16, 16)
