"""Blocks of the networks: shapes and closed forms."""

import pytest
import torch
from torch.nn import functional as F

from lddm.nn.blocks import AdaIN, ImagePyramid, ResBlock2d, normalise
from lddm.nn.condition import ImageCondition, LabelSpec


def test_pyramid_has_features_at_every_scale():
    shapes = [tuple(f.shape) for f in ImagePyramid(32, 8, 3)(torch.rand(2, 1, 32, 32))]
    assert shapes == [(2, 8, 32, 32), (2, 16, 16, 16), (2, 32, 8, 8), (2, 32, 4, 4)]
    with pytest.raises(ValueError, match="multiple of 32"):
        ImagePyramid(48, 8, 5)


def test_adain_normalises_and_then_applies_the_code():
    layer = AdaIN(3, 2)
    out = layer(torch.randn(2, 3, 4, 8, 8) * 5 + 1, torch.zeros(2, 2))
    assert out.mean(dim=(2, 3, 4)).abs().max() < 1e-5
    assert torch.allclose(out.var(dim=(2, 3, 4)), torch.ones(2, 3), atol=0.02)
    codes = torch.randn(2, 2)
    assert not torch.allclose(
        layer(torch.ones(2, 3, 2, 2).cumsum(-1), codes), layer(torch.ones(2, 3, 2, 2).cumsum(-1), -codes)
    )
    assert ResBlock2d(3, 5, code=2, stride=2)(torch.rand(2, 3, 8, 8), codes).shape == (2, 5, 4, 4)


def test_dropped_conditions_have_no_effect():
    torch.manual_seed(0)
    condition = ImageCondition(32, 4, 8, 16, LabelSpec(2))
    x0, label = torch.rand(2, 1, 32, 32), torch.tensor([0, 1])
    nothing = torch.zeros(2, dtype=torch.bool)
    features, vector = condition(x0, label, nothing, nothing)
    assert torch.equal(features[0], features[1]) and torch.equal(vector[0], vector[1])
    unknown = condition(x0, torch.tensor([-1, -1]))[1]
    assert torch.equal(unknown, condition(x0, label, None, nothing)[1])
    assert not torch.equal(unknown, condition(x0, label)[1])


@pytest.mark.parametrize("groups", [1, 4])
def test_norms_keep_the_precision_of_their_input(groups):
    x = torch.randn(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 3 + 1
    assert torch.equal(normalise(x, groups), F.group_norm(x, groups))
    with torch.autocast("cpu", torch.bfloat16):
        low = normalise(x.bfloat16(), groups)
    assert low.dtype == torch.bfloat16
    assert torch.allclose(low.float(), F.group_norm(x, groups), atol=0.05)
