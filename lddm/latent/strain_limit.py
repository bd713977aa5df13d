"""Limit the strain of sampled displacement fields so that they stay invertible."""

from __future__ import annotations

import torch
from torch import Tensor

from lddm.latent.spec import LatentSpec
from lddm.motion.invertibility import LARGEST_STRAIN, invertible_share, largest_strain
from lddm.motion.warp import compose_motion
from lddm.nn.precision import in_float32

# Elements of displacement fields processed at a time: many clips on a GPU; one clip on a CPU, so that it fits the cache.
NUMBERS = {"cuda": 1 << 24, "cpu": 1 << 17}


@in_float32
def limit_strain(z: Tensor, spec: LatentSpec, size: int) -> Tensor:
    """Shrink displacement fields that fold towards their spatial mean, by the smallest sufficient factor.

    The map p -> p + u(p) folds where det(I + grad u) <= 0. The determinant is evaluated at frame size, after the upsampling
    of the decoder. Shear, rotation and stretch without folding are unchanged, and so is the mean displacement of a field.
    z whose fields do not fold are returned bit-identical.

    Args:
        z: float (B, D), in physical units.
        spec: structure of z; z other than low-rank is returned unchanged.
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
    """`invertible_share` of fields (B, K, 2, h, w) with rows (B, K, T): float (B,). Never synchronises with a GPU."""
    strained = largest_strain(fields, rows, size / spec.map_size) > LARGEST_STRAIN
    which = torch.arange(len(fields), device=fields.device)
    if _reads_are_free(fields.device):  # upsample only fields that may fold
        which = which[strained]
    at_a_time = max(1, NUMBERS.get(fields.device.type, 1 << 24) // (2 * spec.frames * size**2))
    share = torch.ones_like(fields[:, 0, 0, 0, 0])
    for part in which.split(at_a_time):
        share[part] = invertible_share(compose_motion(fields[part], rows[part], size))
    return torch.where(strained, share, 1.0)


def _reads_are_free(device: torch.device) -> bool:
    """Whether the host can read values without waiting for queued GPU work."""
    return device.type == "cpu"
