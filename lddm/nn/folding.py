"""Tissue does not fold: what is drawn and would fold is strained less."""

from __future__ import annotations

import torch
from torch import Tensor

from lddm.nn.latent import LatentSpec

LARGEST_STRAIN = 1.0  # from here on tissue passes its neighbour


def unfold(z: Tensor, spec: LatentSpec, size: int) -> Tensor:
    """Draw together the fields of z whose cells pass each other.

    Each map of a drawn z has the spectrum of real ones, but where few clips taught a generator how maps, coefficients and
    sizes go together, some draws strain tissue until it folds. Then the fields are moved towards their mean over the
    frame, a push of all tissue alike, as far as needed. All other z are returned as they are.

    Args:
        z: float (B, D), in the units of stage 1.
        spec: any kind; only a factorised z has fields.
        size: height and width S of a frame in pixels.

    Returns:
        float (B, D).
    """
    if spec.kind != "factorised":
        return z
    maps, rows = spec.balanced(*spec.split(z))
    rank = spec.motion_rank
    fields, motion_rows = maps[:, : 2 * rank], rows[:, :rank]
    strain = largest_strain(fields.unflatten(1, (rank, 2)), motion_rows, size / spec.map_size)
    mean = fields.mean(dim=(2, 3), keepdim=True)
    share = (LARGEST_STRAIN / strain.clamp_min(1e-6)).clamp_max(1)[:, None, None, None]
    maps = torch.cat([mean + share * (fields - mean), maps[:, 2 * rank :]], dim=1)
    rows = rows * spec.map_amplitude(maps)[:, :, None]  # as the encoder leaves them
    return torch.where(strain[:, None] > LARGEST_STRAIN, spec.join(maps, rows), z)


def largest_strain(fields: Tensor, rows: Tensor, spacing: float) -> Tensor:
    """The largest difference of displacement between neighbouring cells in any frame, in units of their distance.

    Args:
        fields: float (B, K, 2, h, w) in pixels.
        rows: float (B, K, T).
        spacing: pixels from cell to cell.

    Returns:
        float (B,), no unit.
    """
    motion = torch.einsum("bkt,bkchw->btchw", rows, fields)
    steps = [motion.diff(dim=dim).square().sum(dim=2).flatten(1).amax(dim=1) for dim in (3, 4)]
    return torch.stack(steps).amax(dim=0).sqrt() / spacing
