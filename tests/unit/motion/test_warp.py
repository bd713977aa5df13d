"""Warping and low-rank motion: closed forms."""

import numpy as np
import pytest
import torch

from lddm.motion.warp import compose_motion, low_pass, low_pass_weights, refine, warp, warp_sequence


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_warp_moves_by_whole_pixels_exactly(mode):
    image = torch.rand(1, 1, 12, 10)
    motion = torch.zeros(1, 2, 12, 10)
    assert torch.allclose(warp(image, motion, mode), image, atol=1e-5)
    motion[:, 0], motion[:, 1] = 2, -1  # out(p) = image(p + (2, -1))
    moved = warp(image, motion, mode)
    assert torch.allclose(moved[..., 3:-4, 3:-3], image[..., 5:-2, 2:-4], atol=1e-5)


def test_refining_keeps_the_samples_and_finds_those_of_a_smooth_image_between_them():
    place = torch.arange(0, 31.5, 0.5, dtype=torch.float64)
    fine = (torch.sin(0.9 * place)[:, None] * torch.cos(0.7 * place + 1))[None, None].float()
    refined = refine(fine[..., ::2, ::2])
    assert refined.shape == fine.shape
    assert torch.equal(refined[..., ::2, ::2], fine[..., ::2, ::2])
    inner = (..., slice(8, -8), slice(8, -8))
    assert (refined - fine)[inner].abs().max() < 0.02


def test_a_refined_image_keeps_more_of_its_detail():
    torch.manual_seed(0)
    image = torch.randn(1, 1, 64, 64)
    image = (image + image.roll(1, 2) + image.roll(1, 3)) / 3  # speckle of about two pixels
    motion = torch.full((1, 2, 64, 64), 0.5)
    plain, sharp = (warp(source, motion)[..., 8:-8, 8:-8].std() for source in (image, refine(image)))
    assert plain < sharp <= image.std() * 1.02
    assert sharp / plain > 1.03


def test_an_image_on_another_grid_is_rejected():
    with pytest.raises(ValueError, match="not on the grid"):
        warp(torch.zeros(1, 1, 32, 32), torch.zeros(1, 2, 16, 16))


def test_motion_is_a_sum_of_maps_times_coefficients():
    maps = torch.ones(1, 2, 2, 4, 4) * torch.tensor([1.0, 10.0])[None, :, None, None, None]
    coefficients = torch.tensor([[[1.0, 2.0], [0.5, 0.0]]])
    motion = compose_motion(maps, coefficients, 16)
    assert motion.shape == (1, 2, 2, 16, 16)
    assert torch.allclose(motion[0, 0], torch.full((2, 16, 16), 6.0), atol=1e-4)
    assert torch.allclose(motion[0, 1], torch.full((2, 16, 16), 2.0), atol=1e-4)
    assert warp_sequence(torch.rand(1, 1, 16, 16), motion).shape == (1, 1, 2, 16, 16)


@pytest.mark.parametrize(("count", "scale"), [(32, 1.0), (200, 6.25), (20, 0.625)])
def test_the_low_pass_preserves_brightness_and_removes_texture(count, scale):
    """For images larger and smaller than the square of the model."""
    positions = (np.arange(count) + 0.5) / scale - 0.5
    weights = low_pass_weights(positions, 32)
    ramp = torch.from_numpy(positions.astype(np.float32)).expand(1, count, count) / 32
    inner = slice(round(6 * max(scale, 0.7)), -round(6 * max(scale, 0.7)))
    assert (low_pass(ramp, weights, weights) - ramp)[:, inner, inner].abs().max() < 0.03
    noise = torch.randn(1, count, count, generator=torch.Generator().manual_seed(0))
    assert low_pass(noise, weights, weights).std() < 0.6
    assert torch.allclose(low_pass(torch.ones_like(noise), weights, weights), torch.ones_like(noise), atol=1e-5)


def test_the_low_pass_extrapolates_beyond_the_image():
    """A wide still is padded to a square: no cell above or below it has samples."""
    rows, columns = low_pass_weights(np.arange(10.0) + 11, 32), low_pass_weights(np.arange(32.0), 32)
    flat = torch.full((1, 10, 32), 0.7)
    assert torch.allclose(low_pass(flat, rows, columns), flat, atol=1e-5)


def test_the_low_pass_averages_inside_the_square_only():
    """A wide still is cropped to a square: what lies beside it must not change the brightness at its sides."""
    columns = low_pass_weights(np.arange(-40.0, 72.0), 32)
    bright_beside = torch.where(torch.arange(112.0) % 112 < 40, 1.0, 0.2)[None].expand(32, 112)
    smooth = low_pass(bright_beside, low_pass_weights(np.arange(32.0), 32), columns)
    assert torch.allclose(smooth[:, 40:44], torch.full((32, 4), 0.2), atol=1e-5)
