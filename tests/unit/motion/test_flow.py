"""Optical flow on known motion."""

import cv2
import numpy as np
import pytest
import torch

from lddm.motion.flow import optical_flow
from lddm.motion.low_rank import MotionCode, svd_motion
from lddm.motion.strain import strain_maps
from lddm.motion.warp import upsample_maps


def textured(seed, size=64):
    rng = np.random.default_rng(seed)
    return cv2.GaussianBlur(rng.normal(128, 60, (size, size)).astype(np.float32), (0, 0), 1.2)


def moved(image, axial):
    """Tissue displaced by `axial` (H, W) pixels downwards."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    return cv2.remap(image, columns, rows - axial.astype(np.float32), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def film(profile, seed=0, frames=9):
    """Frame t is displaced by t / (T) of an axial profile over depth."""
    image = textured(seed)
    axial = np.repeat(profile[:, None], image.shape[1], axis=1)
    clip = [moved(image, axial * t / (frames - 1)) for t in range(frames)]
    return np.clip(np.stack(clip), 0, 255).astype(np.uint8)[None]


def test_flow_finds_a_shift_in_both_directions():
    clip = film(np.full(64, 2.0))
    inner = (slice(None), slice(None), slice(None), slice(12, 52), slice(12, 52))
    back = optical_flow(clip, "backward", [8])[inner]
    forth = optical_flow(clip, "forward", [8])[inner]
    assert back[:, :, 0].mean() == pytest.approx(-2, abs=0.2) and forth[:, :, 0].mean() == pytest.approx(2, abs=0.2)
    assert abs(back[:, :, 1]).mean() < 0.2


def test_strain_maps_separate_soft_from_stiff_independently_of_pressure():
    depth = np.arange(64)
    strain = np.where((depth > 24) & (depth < 40), 0.08, 0.02)  # a soft layer gives way more
    profile = np.cumsum(strain)
    full, half = strain_maps(film(1.5 * profile)), strain_maps(film(0.75 * profile))
    layer, rest = full[0, 0, 28:36, 16:48].mean(), full[0, 0, 8:18, 16:48].mean()
    assert layer > 2 * rest > 0
    assert half[0, 0, 28:36, 16:48].mean() == pytest.approx(layer, rel=0.3)  # the ridge takes some


def test_svd_of_low_rank_motion_is_exact_and_its_signs_are_fixed():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, 2, 2, 8, 8)) + np.array([3, 0.5])[None, :, None, None, None]
    times = rng.normal(size=(2, 2, 12))
    flow = np.einsum("nkt,nkchw->ntchw", times, maps).astype(np.float32)
    found, coefficients = svd_motion(flow, 3, 8)
    assert np.allclose(np.einsum("nkt,nkchw->ntchw", coefficients, found), flow, atol=1e-3)
    assert np.abs(found[:, 2]).max() < 1e-2  # rank 2
    again, _ = svd_motion(-flow, 3, 8)
    assert np.allclose(found[:, 0], again[:, 0], atol=1e-3)  # the sign is in the coefficients, not in the maps
    assert np.allclose((coefficients[:, :2] ** 2).mean(axis=2), 1, atol=1e-3)
    with pytest.raises(ValueError, match="rank 13"):
        svd_motion(flow, 13, 8)


def test_maps_are_fitted_to_their_bicubic_upsampling():
    rng = np.random.default_rng(1)
    maps = torch.from_numpy(rng.normal(size=(1, 2, 8, 8)).astype(np.float32))
    flow = upsample_maps(maps, 64)[None].numpy()  # (1, 1, 2, 64, 64)
    found, coefficients = svd_motion(flow, 1, 8)
    assert np.allclose(found[0, 0] * coefficients[0, 0, 0], maps[0], atol=1e-4)


def test_a_clip_of_two_frames_has_its_displacement_as_its_map():
    """Contraction and expansion have no mean displacement that could settle a sign: it has to stay in the map."""
    rows, columns = np.indices((64, 64), dtype=np.float32) - 31.5
    contraction = 0.05 * np.stack([rows, columns])[None, None] + 0.01
    maps, coefficients = (
        torch.from_numpy(part) for part in svd_motion(np.concatenate([contraction, -contraction]), 1, 8)
    )
    assert (coefficients - 1).abs().max() < 1e-5
    slope = (maps[:, 0, 0, -1] - maps[:, 0, 0, 0]).mean(dim=1)
    assert slope[0] > 1 and slope[1] < -1
    mirrored = MotionCode(maps, coefficients).flip(torch.ones(2, dtype=torch.bool))
    assert torch.equal(mirrored.coefficients, coefficients) and torch.allclose(
        mirrored.maps[:, 0, 0], maps[:, 0, 0].flip(-1)
    )


def test_a_second_pass_recovers_strain_lost_to_smoothing():
    depth = np.arange(64)
    profile = np.cumsum(np.where((depth > 28) & (depth < 38), 0.1, 0.0))  # a narrow soft layer
    clip = film(1.5 * profile)
    strains = [
        -np.gradient(optical_flow(clip, "backward", [8], passes=passes)[0, 0, 0, :, 16:48].mean(axis=1))
        for passes in (1, 2)
    ]
    true = 0.15 / 1.15  # of the moved frame
    once, twice = (strain[30:38].mean() for strain in strains)
    assert abs(twice - true) < 0.6 * abs(once - true)
