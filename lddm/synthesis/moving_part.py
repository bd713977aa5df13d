"""Region of a still that may move: the field of view at full size, without dark rims and frames around the tissue."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from lddm.data.ranges import to_float
from lddm.motion.field_of_view import between_the_sides, ends_of_rows, field_of_view, pixels_of_hull

RIM = 1 / 32  # relative to the shorter side: largest depth of a dark rim around tissue, due to compression or a frame
CORNER = 1 / 8  # relative to the shorter side: largest depth of black inside a convex field of view with smudges
BLACK = 4.0  # largest grey level of that black
CAP = 1 / 8  # relative to the height: largest bulge of the face of a curved probe into the convex field of view
DARK = 0.3  # relative to the local mean brightness: darker pixels near the edge belong to the rim
STRAIGHT = 0.004  # relative to the width: largest distance of row ends from a straight side
ON_A_SIDE = 0.2  # smallest share of rows that end on a straight side
TRIED = 400  # sampled pairs of rows, each of which defines a candidate line
BACKGROUND = 64  # largest grey level of a flat background


def moving_part(image: np.ndarray) -> np.ndarray:
    """Mask of the pixels that show tissue.

    At full size the edge of a fan is surrounded by compression ringing, up to 10 pixels wide, which `field_of_view` includes.
    The image may also have a frame. Moreover, the convex field of view includes the black between the face of a curved probe
    and the upper corners of its fan, and the black beside a fan with smudges. Pixels near the edge that are much darker than
    their neighbourhood, and thin parts that they separate, are therefore removed first. The result is then made convex
    between straight sides: fluid and shadows at the edge are dark, too, and motion that stopped at their ragged outline
    would tear the tissue.

    Args:
        image: uint8 (H, W).

    Returns:
        bool (H, W).
    """
    grey = np.where(image > flat_background(image), image, 0).astype(np.uint8)
    mask = field_of_view(to_float(torch.from_numpy(grey))[None, None])[0, 0].numpy()
    smooth = cv2.blur(grey.astype(np.float32), (3, 3))
    bright = _bright_part(grey, smooth, mask)
    sides = _between_straight_sides(bright)
    hull = pixels_of_hull((bright & sides).astype(np.uint8))
    # Faded tissue reaches the bottom of the field of view; a thin part below the hull is a rim.
    below = (mask & ~hull).astype(np.uint8) & between_the_sides(hull.astype(np.uint8))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _reach(image) + 1,) * 2)
    part = mask & sides & (hull | (cv2.morphologyEx(below, cv2.MORPH_OPEN, disc) > 0))
    part &= ~_above_the_probe(smooth, part)
    return cv2.erode(part.astype(np.uint8), np.ones((3, 3)), borderValue=1) > 0  # the outermost pixels are partly black


def _reach(image: np.ndarray) -> int:
    """Largest depth of a dark rim, in pixels."""
    return max(2, round(min(image.shape) * RIM))


def _bright_part(grey: np.ndarray, smooth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Largest thick part of a mask bool (H, W) without black or dark pixels near its edge; its outline is ragged."""
    bright = _without_black_corners(smooth, mask)
    reach = _reach(grey)
    inside = np.pad(bright, 1).astype(np.uint8)  # the border of the frame counts as an edge
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1]
    darkest = np.minimum(smooth, grey)  # a black line at the border of the frame may be one pixel wide
    dark = ((darkest < DARK * _mean_within(grey, bright, reach)) & (depth <= reach)) | _above_the_probe(smooth, bright)
    labels = cv2.connectedComponents(np.pad((dark | ~bright).astype(np.uint8), 1, constant_values=1))[1]
    tissue = (labels != labels[0, 0])[1:-1, 1:-1] & bright
    return _largest_thick_part(tissue, max(1, reach // 3)) if tissue.any() else mask


def _between_straight_sides(part: np.ndarray) -> np.ndarray:
    """Region between the straight sides of a fan or a rectangle: bool (H, W).

    A side is a line on which many rows of the part bool (H, W) end. Rows that end inside it are dark tissue; the few that end
    outside it are smudges or markers. A fan cropped by the frame has two such lines per side. Without such a line, nothing is
    removed.
    """
    rows = np.flatnonzero(part.any(axis=1))
    between = np.ones(part.shape, dtype=bool)
    row, column = np.arange(len(part))[:, None], np.arange(part.shape[1])
    tolerance = max(1.5, STRAIGHT * part.shape[1])
    for mirrored in (False, True):
        ends = ends_of_rows(part[:, ::-1] if mirrored else part)[rows, 0].astype(float)
        across = part.shape[1] - 1 - column if mirrored else column
        left = np.ones(len(rows), dtype=bool)
        for _ in range(2):
            line = _side(rows, ends, left, tolerance)
            if line is None:
                break
            between &= across >= line[0] + line[1] * row - 0.5
            left &= np.abs(ends - line[0] - line[1] * rows) > tolerance
            ends = np.maximum(ends, line[0] + line[1] * rows)
    return between


def _side(rows: np.ndarray, ends: np.ndarray, left: np.ndarray, tolerance: float) -> tuple[float, float] | None:
    """Offset and slope of the line on which most of the remaining rows end; None if too few do.

    The score of a line is the number of rows that end on it minus the number of rows that end outside it.
    """
    candidates = np.flatnonzero(left)
    if len(candidates) < max(4, ON_A_SIDE * len(rows)):
        return None
    chosen = candidates[np.random.default_rng(0).integers(0, len(candidates), (TRIED, 2))]
    first, second = chosen[np.abs(chosen[:, 0] - chosen[:, 1]) >= ON_A_SIDE * len(rows)].T
    if not len(first):
        return None
    slope = (ends[second] - ends[first]) / (rows[second] - rows[first])  # (m,)
    offset = ends[first] - slope * rows[first]
    inside = ends - (offset[:, None] + slope[:, None] * rows)  # (m, n)
    score = (np.abs(inside[:, left]) <= tolerance).sum(axis=1) - (inside < -tolerance).sum(axis=1)
    best = int(score.argmax())
    return (float(offset[best]), float(slope[best])) if score[best] >= ON_A_SIDE * len(rows) else None


def flat_background(image: np.ndarray) -> int:
    """Grey level of a flat background that fills at least a quarter of the border of an image uint8 (H, W), else 0."""
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    counts = np.bincount(border, minlength=256)
    level = int(counts[:BACKGROUND].argmax())
    return level + 1 if level and counts[max(0, level - 1) : level + 2].sum() >= len(border) / 4 else 0


def _without_black_corners(grey: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Remove black connected to the outside of a mask bool (H, W), whose hull may include smudges beside a fan."""
    if mask.all():
        return mask
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    black = mask & (grey <= BLACK) & (depth <= CORNER * min(mask.shape))
    labels = cv2.connectedComponents((black | ~mask).astype(np.uint8))[1]
    return mask & ~np.isin(labels, np.unique(labels[~mask]))


def _above_the_probe(grey: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Dark pixels at the upper end of the columns of a mask, above the bright tissue next to the probe: bool (H, W).

    The face of a probe is smooth, so their depth is the upper quartile over neighbouring columns.
    """
    height = round(len(mask) * CAP)
    top = mask.argmax(axis=0)
    rows = top + np.arange(height)[:, None]  # (height, W)
    values = np.take_along_axis(grey, rows.clip(max=len(mask) - 1), axis=0)
    lit = values >= DARK * values.mean(axis=0)
    depth = np.where(lit.any(axis=0), lit.argmax(axis=0), 0)
    side = max(1, round(mask.shape[1] * RIM / 2))
    near = sliding_window_view(np.pad(depth, side, mode="edge"), 2 * side + 1)  # (W, columns)
    depth = np.quantile(near, 0.75, axis=1, method="higher")
    return mask & (np.arange(len(mask))[:, None] < np.where(depth > 0, top + depth, 0))


def _mean_within(grey: np.ndarray, mask: np.ndarray, reach: int) -> np.ndarray:
    """Mean over the masked pixels in a square of side 2 `reach` + 1 around each pixel: float32 (H, W)."""
    side = (2 * reach + 1, 2 * reach + 1)
    share, total = (
        cv2.blur(values.astype(np.float32), side, borderType=cv2.BORDER_REFLECT) for values in (mask, mask * grey)
    )
    return total / np.maximum(share, 1e-3)


def _largest_thick_part(mask: np.ndarray, radius: int) -> np.ndarray:
    """Largest connected part of a mask bool (H, W) after an opening, which removes spurs and thin lines."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    padded = np.pad(mask, radius, mode="edge").astype(np.uint8)
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, disc)[radius:-radius, radius:-radius]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    return labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax() if count > 1 else mask
