"""Limit the strain of sampled displacement fields so that they stay invertible."""

from __future__ import annotations

import torch
from torch import Tensor

from lddm.latent.spec import LatentSpec
from lddm.motion.invertibility import LARGEST_STRAIN, invertible_share, largest_strain
from lddm.motion.warp import compose_motion
from lddm.nn.precision import in_float32

# Numbers of a displacement field that are in memory at a time: a GPU has room for many clips, a core's cache for one.
NUMBERS = {"cuda": 1 << 24, "cpu": 1 << 17}


@in_float32
def limit_strain(z: Tensor, spec: LatentSpec, size: int) -> Tensor:
    """Shrink displacement fields that fold towards their mean over the frame, as far as needed.

    The map p -> p + u(p) of a frame folds where det(I + grad u) <= 0; the determinant is taken of the field at frame size,
    as the decoder enlarges it. Shear, rotation and stretching without folding are left alone. The mean of a field, which
    pushes all tissue alike, stays. z whose fields do not fold are returned bit for bit.

    Args:
        z: float (B, D), in physical units.
        spec: any kind; only a low-rank z has fields.
        size: height and width S of a frame in pixels.

    Returns:
        float (B, D).
    """
    if spec.kind != "low_rank":
        return z
    maps, rows = spec.split(z)
    rank = spec.motion_rank
    fields = maps[:, : 2 * rank].unflatten(1, (rank, 2))
    share = _shares(fields, rows[:, :rank], spec, size)[:, None, None, None, None]  # (B, 1, 1, 1, 1)
    mean = fields.mean(dim=(3, 4), keepdim=True)
    shrunk = torch.where(share < 1, mean + share * (fields - mean), fields)
    return spec.join(torch.cat([shrunk.flatten(1, 2), maps[:, 2 * rank :]], dim=1), rows)


def _shares(fields: Tensor, rows: Tensor, spec: LatentSpec, size: int) -> Tensor:
    """`invertible_share` of fields (B, K, 2, h, w) with rows (B, K, T): (B,). Nothing is read from a GPU."""
    strained = largest_strain(fields, rows, size / spec.map_size) > LARGEST_STRAIN
    which = torch.arange(len(fields), device=fields.device)
    if _reads_are_free(fields.device):  # only those that may fold are enlarged
        which = which[strained]
    at_a_time = max(1, NUMBERS.get(fields.device.type, 1 << 24) // (2 * spec.frames * size**2))
    share = torch.ones_like(fields[:, 0, 0, 0, 0])
    for part in which.split(at_a_time):
        share[part] = invertible_share(compose_motion(fields[part], rows[part], size))
    return torch.where(strained, share, 1.0)


def _reads_are_free(device: torch.device) -> bool:
    """Whether the host may look at values: it would wait for all work that a GPU has been given."""
    return device.type == "cpu"
