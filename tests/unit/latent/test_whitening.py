"""Whitened latents: invertible, unit covariance, equal weight of local and common directions."""

import torch

from lddm.latent.spec import LatentSpec
from lddm.latent.whitening import Whitening

LOW_RANK = LatentSpec("low_rank", frames=8, motion_rank=1, gain_rank=1, map_size=4)


def latents(n=4000):
    """Maps that move as a whole by 1, with local differences of 0.2; smooth coefficients."""
    torch.manual_seed(0)
    maps = torch.randn(n, 3, 1, 1) + 0.2 * torch.randn(n, 3, 4, 4)
    rows = torch.cumsum(torch.randn(n, 2, 8), dim=2)
    return LOW_RANK.join(maps, rows) + 3


def test_it_inverts_and_gives_unit_covariance():
    z = latents()
    whitening = Whitening.fit(LOW_RANK, z)
    white = whitening(z)
    assert torch.allclose(whitening.invert(white), z, atol=1e-3)
    assert white.mean(dim=0).abs().max() < 1e-4
    maps, rows = LOW_RANK.split(white)
    for block in (maps[:, 0].flatten(1), rows[:, 1]):
        covariance = block.T @ block / len(block)
        assert torch.allclose(covariance, torch.eye(len(covariance)), atol=0.15)


def test_local_and_common_directions_have_equal_variance():
    z = latents()
    white = Whitening.fit(LOW_RANK, z)(z)

    def local_share(values):
        maps = LOW_RANK.split(values)[0][:, 0].flatten(1)
        maps = maps - maps.mean(dim=0)
        local = maps - maps.mean(dim=1, keepdim=True)
        return (local.square().sum() / maps.square().sum()).item()

    assert local_share(z) < 0.05 and local_share(white) > 0.8


def test_white_maps_stay_aligned_with_x0():
    z = latents()
    whitening = Whitening.fit(LOW_RANK, z)
    poked = z[:1].clone()
    LOW_RANK.split(poked)[0][0, 0, 2, 1] += 1
    change = LOW_RANK.split(whitening(poked) - whitening(z[:1]))[0][0]
    assert change[0].abs().argmax().item() == 2 * 4 + 1 and change[1:].abs().max() < 1e-5


def test_constant_dimensions_stay_finite():
    z = torch.ones(10, LOW_RANK.size)
    whitening = Whitening.fit(LOW_RANK, z)
    assert torch.isfinite(whitening(z)).all() and torch.isfinite(whitening.invert(torch.randn(2, LOW_RANK.size))).all()
