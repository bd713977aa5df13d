"""The part of a still that may move: its field of view at full size, without dark rims and frames around the tissue."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from lddm.data.ranges import to_float
from lddm.motion.field_of_view import field_of_view

RIM = 1 / 32  # of the shorter side: how deep a dark rim may be that compression or a frame leaves around tissue
CORNER = 1 / 8  # of the shorter side: how deep black may reach into a convex field of view that holds smudges
BLACK = 4.0  # grey level of that black
CAP = 1 / 8  # of the height: how far the face of a curved probe may bulge into the convex field of view
DARK = 0.3  # of the mean brightness nearby: darker pixels beside the edge are rim
BACKGROUND = 64  # a flat background is darker than this


def moving_part(image: np.ndarray) -> np.ndarray:
    """Mask of the pixels that show tissue.

    At full size the edge of a fan is surrounded by ringing of compression, up to 10 pixels wide, which
    `field_of_view` takes for tissue. A window may also have a frame, and the convex field of view holds the
    black between the face of a curved probe and the upper corners of its fan, and the black beside a fan with smudges. Pixels
    near the edge that are much darker than what lies beside them, and thin parts that they separate, are therefore left out.
    Dark tissue beside the edge stands still with them, which does not show.

    Args:
        image: uint8 (H, W).

    Returns:
        bool (H, W).
    """
    grey = np.where(image > flat_background(image), image, 0).astype(np.uint8)
    mask = field_of_view(to_float(torch.from_numpy(grey))[None, None])[0, 0].numpy()
    smooth = cv2.blur(grey.astype(np.float32), (3, 3))
    mask = _without_black_corners(smooth, mask)
    reach = max(2, round(min(image.shape) * RIM))
    inside = np.pad(mask, 1).astype(np.uint8)  # the border of the frame is an edge, too
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1]
    nearby = _mean_within(grey, mask, reach)
    dark = ((smooth < DARK * nearby) & (depth <= reach)) | _above_the_probe(smooth, mask)
    labels = cv2.connectedComponents(np.pad((dark | ~mask).astype(np.uint8), 1, constant_values=1))[1]
    tissue = (labels != labels[0, 0])[1:-1, 1:-1] & mask
    if not tissue.any():
        return mask
    thick = _largest_thick_part(tissue, max(1, reach // 3)).astype(np.uint8)
    return cv2.erode(thick, np.ones((3, 3)), borderValue=1) > 0  # the outermost pixels are half black


def flat_background(image: np.ndarray) -> int:
    """Grey level of a flat background that fills at least a quarter of the border of an image uint8 (H, W), else 0."""
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    counts = np.bincount(border, minlength=256)
    level = int(counts[:BACKGROUND].argmax())
    return level + 1 if level and counts[max(0, level - 1) : level + 2].sum() >= len(border) / 4 else 0


def _without_black_corners(grey: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A mask bool (H, W) without the black that is connected to its outside: its hull may hold smudges beside a fan."""
    if mask.all():
        return mask
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    black = mask & (grey <= BLACK) & (depth <= CORNER * min(mask.shape))
    labels = cv2.connectedComponents((black | ~mask).astype(np.uint8))[1]
    return mask & ~np.isin(labels, np.unique(labels[~mask]))


def _above_the_probe(grey: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The dark pixels at the upper end of each column of a mask: the tissue next to a probe is bright, bool (H, W)."""
    height = round(len(mask) * CAP)
    rows = mask.argmax(axis=0) + np.arange(height)[:, None]  # (height, W)
    values = np.take_along_axis(grey, rows.clip(max=len(mask) - 1), axis=0)
    lit = values >= DARK * values.mean(axis=0)
    first = np.where(lit.any(axis=0), mask.argmax(axis=0) + lit.argmax(axis=0), 0)
    return mask & (np.arange(len(mask))[:, None] < first)


def _mean_within(grey: np.ndarray, mask: np.ndarray, reach: int) -> np.ndarray:
    """Mean of the pixels of a mask in a square of 2 `reach` + 1 about each pixel, float32 (H, W)."""
    side = (2 * reach + 1, 2 * reach + 1)
    share, total = (
        cv2.blur(values.astype(np.float32), side, borderType=cv2.BORDER_REFLECT) for values in (mask, mask * grey)
    )
    return total / np.maximum(share, 1e-3)


def _largest_thick_part(mask: np.ndarray, radius: int) -> np.ndarray:
    """The largest connected part of a mask bool (H, W) after an opening, which takes spurs and thin lines away."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    padded = np.pad(mask, radius, mode="edge").astype(np.uint8)
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, disc)[radius:-radius, radius:-radius]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    return labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax() if count > 1 else mask
