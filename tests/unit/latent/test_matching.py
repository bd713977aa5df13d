"""Matching: the right mean and variance along the axes, nothing else."""

import pytest
import torch

from lddm.latent.matching import Matching
from lddm.latent.spec import LatentSpec
from lddm.latent.whitening import Whitening

VECTOR = LatentSpec("vector", frames=8, dim=6)
LOW_RANK = LatentSpec("low_rank", frames=8, motion_rank=1, residual_rank=1, map_size=4)
GRID = LatentSpec("grid", frames=8, channels=2, grid_frames=2, map_size=4)


def fitted(spec, damage):
    """A matching fitted to white z of 3000 clips whose maps move as a whole, and damaged white z."""
    torch.manual_seed(0)
    z = torch.randn(3000, spec.size)
    if spec.kind != "vector":
        maps, rows = spec.split(z)
        z = spec.join(0.3 * maps + torch.randn(3000, spec.map_channels, 1, 1), torch.cumsum(rows, dim=2))
    whitening = Whitening.fit(spec, z, torch.zeros_like(z))
    white = whitening(z)
    drawn = damage(white[torch.randperm(3000)])
    matching = Matching(spec)
    assert torch.allclose(matching(drawn), drawn, atol=1e-4)  # before it is fitted
    matching.fit(whitening, drawn, white)
    return matching, drawn, white


@pytest.mark.parametrize("spec", [VECTOR, LOW_RANK, GRID], ids=["vector", "low_rank", "grid"])
def test_mean_and_variance_are_set_right(spec):
    matching, drawn, white = fitted(spec, lambda z: 0.8 * z - 0.2)
    made = matching(drawn)
    assert torch.allclose(made.mean(dim=0), white.mean(dim=0), atol=1e-3)
    assert torch.allclose(made.std(dim=0), white.std(dim=0), atol=0.05)
    assert matching.ratio.tolist() == pytest.approx([1.25] * spec.size, rel=1e-3)


def test_it_sees_the_axis_along_which_variance_is_lost():
    """Whole maps that move half as much: one of sixteen axes, which no single cell shows."""

    def damage(white):
        maps, rows = LOW_RANK.split(white)
        return LOW_RANK.join(maps - 0.5 * maps.mean(dim=(2, 3), keepdim=True), rows)

    matching, drawn, white = fitted(LOW_RANK, damage)
    whole = [LOW_RANK.split(z)[0].mean(dim=(2, 3)).std(dim=0) for z in (drawn, matching(drawn), white)]
    assert (whole[0] < 0.55 * whole[2]).all() and torch.allclose(whole[1], whole[2], rtol=0.02)
    assert (matching.ratio > 1.2).sum().item() == LOW_RANK.map_channels


def test_what_never_changes_is_only_shifted():
    matching, drawn, white = fitted(VECTOR, lambda z: torch.cat([torch.ones_like(z[:, :1]), z[:, 1:]], dim=1))
    assert matching.ratio[0] == 1 and torch.isfinite(matching(drawn)).all()
    assert matching(drawn)[:, 0].mean().item() == pytest.approx(white[:, 0].mean().item(), abs=1e-5)


def test_spreads_that_are_far_off_are_not_blown_up():
    matching, _, _ = fitted(VECTOR, lambda z: z * torch.tensor([0.002, 0.1, 0.4, 1.0, 3.0, 50.0]))
    assert matching.ratio.tolist() == pytest.approx([2.0, 2.0, 2.0, 1.0, 0.5, 0.5], rel=1e-3)
