"""Latent structure, warping and blocks: inverses and closed forms."""

import pytest
import torch

from lddm.nn.blocks import AdaIN, ImagePyramid, ResBlock2d
from lddm.nn.condition import ImageCondition
from lddm.nn.latent import LatentSpec
from lddm.nn.warping import compose_motion, warp, warp_sequence

SPEC = LatentSpec("factorised", frames=5, motion_rank=3, residual_rank=2, map_size=4)


def test_split_and_join_are_inverses():
    z = torch.randn(2, SPEC.size)
    maps, coefficients = SPEC.split(z)
    assert maps.shape == (2, 8, 4, 4) and coefficients.shape == (2, 5, 5)
    assert torch.equal(SPEC.join(maps, coefficients), z)
    assert LatentSpec(**SPEC.to_dict()) == SPEC


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


def test_pyramid_has_features_at_every_scale():
    shapes = [tuple(f.shape) for f in ImagePyramid(32, 8, 3)(torch.rand(2, 1, 32, 32))]
    assert shapes == [(2, 8, 32, 32), (2, 16, 16, 16), (2, 32, 8, 8), (2, 32, 4, 4)]
    with pytest.raises(ValueError, match="multiple of 32"):
        ImagePyramid(48, 8, 5)


def test_adain_normalises_then_takes_the_code():
    layer = AdaIN(3, 2)
    out = layer(torch.randn(2, 3, 4, 8, 8) * 5 + 1, torch.zeros(2, 2))
    assert out.mean(dim=(2, 3, 4)).abs().max() < 1e-5
    assert torch.allclose(out.var(dim=(2, 3, 4)), torch.ones(2, 3), atol=0.02)
    codes = torch.randn(2, 2)
    assert not torch.allclose(
        layer(torch.ones(2, 3, 2, 2).cumsum(-1), codes), layer(torch.ones(2, 3, 2, 2).cumsum(-1), -codes)
    )
    assert ResBlock2d(3, 5, code=2, stride=2)(torch.rand(2, 3, 8, 8), codes).shape == (2, 5, 4, 4)


def test_dropped_conditions_are_not_seen():
    torch.manual_seed(0)
    condition = ImageCondition(32, 4, 8, 16, classes=2)
    x0, label = torch.rand(2, 1, 32, 32), torch.tensor([0, 1])
    nothing = torch.zeros(2, dtype=torch.bool)
    features, vector = condition(x0, label, nothing, nothing)
    assert torch.equal(features[0], features[1]) and torch.equal(vector[0], vector[1])
    unknown = condition(x0, torch.tensor([-1, -1]))[1]
    assert torch.equal(unknown, condition(x0, label, None, nothing)[1])
    assert not torch.equal(unknown, condition(x0, label)[1])
