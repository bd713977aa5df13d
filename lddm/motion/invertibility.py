"""Invertibility of displacement fields: detect folding, and scale gradients down until none remains."""

from __future__ import annotations

import torch
from torch import Tensor

# Smallest det(I + grad u) of a field that counts as invertible: tissue may be compressed to a twentieth of its area.
SMALLEST_DETERMINANT = 0.05
# A field with less strain than this between neighbouring cells cannot reach that determinant after bicubic upsampling.
# Upsampling multiplies differences by at most 1.5 along their direction and 1.375 across it (sums of absolute weights,
# a = -0.75). For strain s the spectral norm of grad u is thus at most sqrt(2) 1.5 1.375 s, and det(I + grad u) >= (1 - norm)^2.
LARGEST_STRAIN = (1 - SMALLEST_DETERMINANT**0.5) / (2**0.5 * 1.5 * 1.375)


def invertible_share(motion: Tensor) -> Tensor:
    """Largest factor s <= 1 on the displacement gradients for which no frame folds; without device synchronisation.

    In each cell of four pixels, det(I + s grad u) = 1 + s tr + s^2 det is evaluated at the four corners from differences
    along the sides; the bilinear map of the cell is invertible if all four are positive. If no cell folds, s is 1;
    otherwise s is the smallest positive root of det(I + s grad u) = SMALLEST_DETERMINANT.

    Args:
        motion: float (B, T, 2, S, S) in pixels, (axial, lateral).

    Returns:
        float (B,).
    """
    down, right = motion.diff(dim=3), motion.diff(dim=4)  # along rows (B, T, 2, S - 1, S), columns (B, T, 2, S, S - 1)
    rest = 1 - SMALLEST_DETERMINANT
    smallest, steepest = [], []  # per corner, (B,)
    for a in (down[..., :-1], down[..., 1:]):
        for b in (right[..., :-1, :], right[..., 1:, :]):
            trace = a[:, :, 0] + b[:, :, 1]
            determinant = a[:, :, 0] * b[:, :, 1] - a[:, :, 1] * b[:, :, 0]
            smallest.append((1 + trace + determinant).flatten(1).amin(dim=1))
            discriminant = trace.square() - 4 * determinant * rest
            below = torch.where(discriminant >= 0, discriminant.sqrt() - trace, 0.0)  # the root is 2 rest / below
            steepest.append(below.flatten(1).amax(dim=1))
    folds = torch.stack(smallest).amin(dim=0) < SMALLEST_DETERMINANT
    root = 2 * rest / torch.stack(steepest).amax(dim=0).clamp_min(1e-12)  # without a root: larger than 1
    return torch.where(folds, root.clamp_max(1), 1.0)


def largest_strain(fields: Tensor, rows: Tensor, spacing: float) -> Tensor:
    """Largest strain between neighbouring cells in any frame: displacement difference divided by cell spacing.

    Args:
        fields: float (B, K, 2, h, w) in pixels.
        rows: float (B, K, T), temporal coefficients.
        spacing: distance of neighbouring cells, in pixels.

    Returns:
        float (B,), dimensionless.
    """
    motion = torch.einsum("bkt,bkchw->btchw", rows, fields)
    steps = [motion.diff(dim=dim).square().sum(dim=2).flatten(1).amax(dim=1) for dim in (3, 4)]
    return torch.stack(steps).amax(dim=0).sqrt() / spacing
