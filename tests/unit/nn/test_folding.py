"""Drawn tissue does not fold; all else stays as it was drawn."""

import pytest
import torch

from lddm.nn.folding import LARGEST_STRAIN, largest_strain, unfold
from lddm.nn.latent import LatentSpec
from lddm.nn.warping import compose_motion

SPEC = LatentSpec("factorised", 6, motion_rank=2, residual_rank=1, map_size=8)
SIZE = 32


def draw(strain: float, seed: int = 0) -> torch.Tensor:
    """z (1, D) whose second field shifts the rows of the frame against each other, and whose first pushes them alike."""
    rng = torch.Generator().manual_seed(seed)
    maps, rows = torch.zeros(1, 5, 8, 8), torch.randn(1, 3, 6, generator=rng)
    maps[:, 0] = 2.0
    maps[:, 2] = strain * SIZE / 8 * torch.arange(8.0)[:, None]
    maps[:, 4] = torch.randn(1, 8, 8, generator=rng)
    rows = rows / rows.square().mean(dim=2, keepdim=True).sqrt()
    rows[:, 0] = 1.0
    return SPEC.join(maps, rows * SPEC.map_amplitude(maps)[:, :, None])


def motion(z: torch.Tensor) -> torch.Tensor:
    maps, rows = SPEC.balanced(*SPEC.split(z))
    return compose_motion(maps[:, :4].unflatten(1, (2, 2)), rows[:, :2], SIZE)[0]  # (T, 2, S, S)


def test_the_strain_of_a_field_is_its_slope():
    maps, rows = SPEC.balanced(*SPEC.split(draw(0.2)))
    strain = largest_strain(maps[:, :4].unflatten(1, (2, 2)), rows[:, :2], SIZE / 8)
    assert strain.item() == pytest.approx(0.2 * rows[0, 1].abs().max().item(), rel=1e-3)


def test_what_does_not_fold_stays_bit_for_bit_and_what_folds_keeps_its_push():
    calm, wild = draw(0.1), draw(3.0)
    both = unfold(torch.cat([calm, wild]), SPEC, SIZE)
    assert torch.equal(both[:1], calm) and not torch.equal(both[1:], wild)
    maps, rows = SPEC.balanced(*SPEC.split(both[1:]))
    strain = largest_strain(maps[:, :4].unflatten(1, (2, 2)), rows[:, :2], SIZE / 8)
    assert strain.item() == pytest.approx(LARGEST_STRAIN, rel=1e-3)
    before, after = motion(wild), motion(both[1:])
    assert (before.diff(dim=2) < -1).any()  # rows pass each other, and then no more
    assert not (after.diff(dim=2)[:, 0] < -1.05).any()
    assert torch.allclose(before.mean(dim=(2, 3)), after.mean(dim=(2, 3)), atol=0.05)
    assert torch.equal(SPEC.split(both[1:])[0][:, 4:], SPEC.split(wild)[0][:, 4:])  # the residual is no motion


def test_other_latents_have_no_fields():
    spec = LatentSpec("vector", 6, dim=5)
    z = 100 * torch.randn(3, 5)
    assert unfold(z, spec, SIZE) is z
