"""Structure of z: split and join are inverses."""

import torch

from lddm.latent.spec import LatentSpec

SPEC = LatentSpec("low_rank", frames=5, motion_rank=3, gain_rank=2, map_size=4)


def test_split_and_join_are_inverses():
    z = torch.randn(2, SPEC.size)
    maps, coefficients = SPEC.split(z)
    assert maps.shape == (2, 8, 4, 4) and coefficients.shape == (2, 5, 5)
    assert torch.equal(SPEC.join(maps, coefficients), z)
    assert LatentSpec(**SPEC.to_dict()) == SPEC
