"""Whether a displacement field folds tissue, and how far its gradients must shrink so that it does not."""

from __future__ import annotations

import torch
from torch import Tensor

# Smallest det(I + grad u) of a field that counts as invertible: tissue may shrink to a twentieth of its area, not further.
SMALLEST_DETERMINANT = 0.05
# No bicubic enlargement of a field with less strain between neighbouring cells can reach that determinant. Enlarging
# multiplies differences by at most 1.5 along them and 1.375 across (sums of absolute weights, a = -0.75), so with strain s
# the spectral norm of grad u is at most sqrt(2) 1.5 1.375 s, and det(I + grad u) >= (1 - norm)^2.
LARGEST_STRAIN = (1 - SMALLEST_DETERMINANT**0.5) / (2**0.5 * 1.5 * 1.375)


def invertible_share(motion: Tensor) -> Tensor:
    """The largest share s of the displacement gradients at which no frame folds, at most 1; nothing is read from the device.

    Of a displacement in a cell of four pixels, det(I + s grad u) = 1 + s tr + s^2 det is taken at the four corners from the
    differences along its sides: the bilinear map of the cell is invertible if all four are positive. Where the whole
    gradient folds nowhere s is 1; otherwise s is the smallest positive root of det(I + s grad u) = SMALLEST_DETERMINANT.

    Args:
        motion: float (B, T, 2, S, S) in pixels, (axial, lateral).

    Returns:
        float (B,).
    """
    down, right = motion.diff(dim=3), motion.diff(dim=4)  # along rows (B, T, 2, S - 1, S), columns (B, T, 2, S, S - 1)
    rest = 1 - SMALLEST_DETERMINANT
    smallest, steepest = [], []  # of each corner, (B,)
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
