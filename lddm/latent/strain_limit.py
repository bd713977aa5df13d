"""Limit the strain of sampled displacement fields so that they stay invertible."""

from __future__ import annotations

import torch
from torch import Tensor

from lddm.latent.spec import LatentSpec
from lddm.motion.invertibility import LARGEST_STRAIN, invertible_share, largest_strain
from lddm.motion.warp import compose_motion
from lddm.nn.precision import in_float32


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
    strain = largest_strain(fields, rows[:, :rank], size / spec.map_size)
    limited = z.clone()
    for i in torch.nonzero(strain > LARGEST_STRAIN).flatten().tolist():
        share = invertible_share(compose_motion(fields[i : i + 1], rows[i : i + 1, :rank], size)[0])
        if share < 1:
            mean = fields[i].mean(dim=(2, 3), keepdim=True)
            shrunk = torch.cat([(mean + share * (fields[i] - mean)).flatten(0, 1), maps[i, 2 * rank :]])
            limited[i] = spec.join(shrunk[None], rows[i : i + 1])[0]
    return limited
