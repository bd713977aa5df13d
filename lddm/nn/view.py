"""The field of view: which part of a frame shows tissue. It stays where it is while tissue moves."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

# Grey level, share of the range, from which a pixel and the mean of its neighbourhood show tissue: above the black around
# a fan, even after lossy compression, and below the noise of its dark parts.
DARK = 2.5 / 255
DIRECTIONS = 180  # of half-planes: the side of a fan is right to a pixel in sixty


def field_of_view(x0: Tensor) -> Tensor:
    """The convex hull of all that is not black.

    Rectangles, fans and sectors are convex, and shadows inside them belong to them.

    Args:
        x0: float (B, 1, S, S) in [-1, 1].

    Returns:
        bool (B, 1, S, S). An image that is black throughout counts as seen throughout.
    """
    size = x0.shape[-1]
    around = F.avg_pool2d(x0, 3, 1, 1, count_include_pad=False)  # specks of compression in the black are no tissue
    lit = torch.minimum(x0, around)[:, 0] > 2 * DARK - 1  # (B, S, S)
    lit = lit | ~lit.any(dim=2).any(dim=1)[:, None, None]
    place = torch.arange(size, device=x0.device, dtype=x0.dtype)
    angle = torch.arange(DIRECTIONS, device=x0.device, dtype=x0.dtype) * (2 * math.pi / DIRECTIONS)
    down, right = angle.sin()[:, None], angle.cos()[:, None]  # (D, 1), normals of half-planes
    right = torch.where(right.abs() < 1e-5, 1e-5, right)  # level edges bound whole rows, by thousands of columns

    # How far the hull reaches in each direction; the first and the last lit pixel of a row are enough to know.
    first = torch.where(lit, place, torch.inf).amin(dim=2)[:, None]  # (B, 1, S rows)
    last = torch.where(lit, place, -torch.inf).amax(dim=2)[:, None]
    farthest = torch.where(right > 0, last, first)  # (B, D, S)
    reach = torch.where(farthest.isfinite(), down * place + right * farthest, -torch.inf).amax(dim=2)  # (B, D)

    # From half-planes down * row + right * column <= reach to the columns of each row.
    bound = (reach[:, :, None] + 0.1 - down * place) / right  # (B, D, S)
    ends = torch.where(right > 0, bound, torch.inf).amin(dim=1), torch.where(right < 0, bound, -torch.inf).amax(dim=1)
    return ((place <= ends[0][:, :, None]) & (place >= ends[1][:, :, None]))[:, None]


def shrink(view: Tensor, pixels: int) -> Tensor:
    """A view bool (B, 1, S, S) without its outermost `pixels`; the border of the frame is no edge of the view."""
    return F.max_pool2d((~view).float(), 2 * pixels + 1, 1, pixels) == 0
