"""Sampled displacement fields stay invertible; fields without folding are unchanged."""

import pytest
import torch

from lddm.latent import strain_limit
from lddm.latent.spec import LatentSpec
from lddm.latent.strain_limit import limit_strain
from lddm.motion.invertibility import LARGEST_STRAIN, SMALLEST_DETERMINANT, largest_strain
from lddm.motion.warp import compose_motion
from tests.no_reads import NoReads

SPEC = LatentSpec("low_rank", 6, motion_rank=2, gain_rank=1, map_size=8)
SIZE = 64
NOISE = 30 * torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(0))


def z_of(field, push=0.0):
    """z (1, D) whose second displacement field (2, 8, 8) in pixels acts in every frame, beside a uniform axial push."""
    maps, rows = torch.zeros(1, 5, 8, 8), torch.ones(1, 3, 6)
    maps[:, 0], maps[:, 2:4] = push, field
    maps[:, 4] = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(0))
    return SPEC.join(maps, rows)


def affine(gradient):
    """Displacement of a constant gradient [[u_z/z, u_z/x], [u_x/z, u_x/x]] on the cells of the maps."""
    cells = SIZE / 8 * (torch.arange(8.0) - 3.5)
    return torch.einsum("ij,jhw->ihw", torch.tensor(gradient), torch.stack(torch.meshgrid(cells, cells, indexing="ij")))


def motion(z):
    maps, rows = SPEC.split(z)
    return compose_motion(maps[:, :4].unflatten(1, (2, 2)), rows[:, :2], SIZE)[0]  # (T, 2, S, S)


def determinants(u):
    """det(I + grad u) at the four corners of each cell of pixels, from forward differences."""
    down, right = u.diff(dim=2), u.diff(dim=3)
    return torch.stack(
        [
            (1 + a[:, 0]) * (1 + b[:, 1]) - a[:, 1] * b[:, 0]
            for a in (down[..., :-1], down[..., 1:])
            for b in (right[:, :, :-1], right[:, :, 1:])
        ]
    )


def wrinkled():
    """Neighbouring cells differ by less than their distance; the bicubic enlargement between them folds."""
    field = torch.zeros(2, 8, 8)
    field[0, 3], field[0, 4] = 3.7, -3.7
    return field


@pytest.mark.parametrize(
    "field",
    [affine([[-0.65, 0.7], [0.7, -0.65]]), affine([[-1.4, 0.0], [0.0, 0.0]]), wrinkled(), NOISE],
    ids=["shear and compression", "compression", "bicubic overshoot", "noise"],
)
def test_folding_fields_are_shrunk_and_keep_their_mean_displacement(field):
    z = z_of(field, push=5.0)
    assert determinants(motion(z)).min() < 0
    limited = limit_strain(z, SPEC, SIZE)
    assert determinants(motion(limited)).min().item() == pytest.approx(SMALLEST_DETERMINANT, abs=2e-3)  # no further
    pushes = [SPEC.split(each)[0][:, :4].mean(dim=(2, 3)) for each in (z, limited)]
    assert torch.allclose(*pushes, atol=1e-3)
    assert torch.equal(SPEC.split(limited)[0][:, 4:], SPEC.split(z)[0][:, 4:])  # the residual is not motion
    again = limit_strain(limited, SPEC, SIZE)
    assert torch.allclose(again, limited, atol=1e-3)


@pytest.mark.parametrize(
    "field",
    [affine([[1.6, 0.0], [0.0, 0.0]]), affine([[-0.5, -0.866], [0.866, -0.5]]), affine([[0.0, 1.5], [0.0, 0.0]])],
    ids=["stretch", "rotation by 60 degrees", "shear"],
)
def test_large_strain_without_folding_is_unchanged(field):
    z = z_of(field)
    assert largest_strain(field[None, None], torch.ones(1, 1, 1), SIZE / 8) >= 1 - 1e-3
    assert torch.equal(limit_strain(z, SPEC, SIZE), z)


def test_only_the_samples_of_a_batch_that_fold_are_changed():
    z = torch.cat([z_of(affine([[0.1, 0.0], [0.0, 0.1]])), z_of(wrinkled()), z_of(affine([[1.6, 0.0], [0.0, 0.0]]))])
    changed = (limit_strain(z, SPEC, SIZE) != z).any(dim=1)
    assert changed.tolist() == [False, True, False]


@pytest.mark.parametrize("numbers", [1, 3 * 6 * 2 * SIZE**2])
def test_a_batch_is_limited_like_its_samples_without_synchronisation(monkeypatch, numbers):
    gentle = affine([[0.1, 0.0], [0.0, 0.1]])
    z = torch.cat(
        [z_of(field, push=2.0) for field in (NOISE, gentle, wrinkled(), 0.5 * NOISE, affine([[1.6, 0], [0, 0]]))]
    )
    one_by_one = torch.cat([limit_strain(one, SPEC, SIZE) for one in z.split(1)])
    monkeypatch.setattr(strain_limit, "_reads_are_free", lambda device: False)
    monkeypatch.setitem(strain_limit.NUMBERS, "cpu", numbers)
    with NoReads():
        together = limit_strain(z, SPEC, SIZE)
    assert torch.allclose(together, one_by_one, rtol=1e-6, atol=1e-5)
    assert (together != z).any(dim=1).tolist() == [True, False, True, True, False]


def test_fields_below_the_strain_bound_cannot_fold():
    """The bound that spares the enlargement: fields that alternate from cell to cell are the worst."""
    signs = torch.randint(0, 2, (200, 1, 2, 8, 8), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    strain = largest_strain(signs, torch.ones(200, 1, 1), SIZE / 8)
    fields = signs * (LARGEST_STRAIN / strain)[:, None, None, None, None]
    u = compose_motion(fields, torch.ones(200, 1, 1), SIZE)[:, 0]
    assert determinants(u).min() > SMALLEST_DETERMINANT


def test_other_latents_have_no_fields():
    z = 100 * torch.randn(3, 5)
    assert torch.equal(limit_strain(z, LatentSpec("vector", 6, dim=5), SIZE), z)
