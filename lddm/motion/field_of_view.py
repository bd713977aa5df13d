"""Field of view: the region of a frame that shows tissue. It is static while the tissue moves."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lddm.nn.precision import in_float32

# Grey levels out of 255. A pixel shows tissue if it and its neighbourhood mean exceed BLACK, which lies above the background
# around a fan, even after lossy compression, and below the noise in dark tissue. Background noise up to NOISE raises the
# threshold.
BLACK, NOISE = 2.5, 7.0
BRIGHT = 25.0  # markers, rulers, text and bars are brighter than this; dimmer separate regions are dark tissue
EMPTY = 0.005  # smallest share of the frame that counts as tissue
BAR = 0.25  # share of bright pixels above which a separate region is a bar or a marker
PART = 0.25  # smallest size, relative to the largest region, of bright tissue behind a shadow; below: a marker or a bar
KEPT = 1 << 24  # cached rows of masks: 64 MiB, and as much again for their keys if frames are small

# Cache: training reads the same stills repeatedly, and computing a mask takes as long as several network layers.
# (SHA-256 of the image, its shape) -> first and last column of each row of the mask, int16 (H, 2).
_known: dict[bytes, np.ndarray] = {}


def field_of_view(x0: Tensor) -> Tensor:
    """Mask of the field of view: convex hull of the largest connected region that is not black.

    Rectangles, fans and sectors are convex, so that shadows inside them are included. Markers, rulers, text and grey bars
    are smaller or thin regions and are excluded. If tissue fades to black at depth and has no lower edge, the lateral edges
    are extended to the bottom of the frame.

    The mask is computed on the CPU and cached per image. For an image on a GPU this forces a synchronisation, so training
    computes the masks in advance, together with the motion (`view_spans`).

    Args:
        x0: float (B, 1, H, W) in [-1, 1]; rounded to grey levels.

    Returns:
        bool (B, 1, H, W). For an image with almost no tissue, all pixels are True.
    """
    return torch.ops.lddm.field_of_view(x0)


# Registered as an operator, since OpenCV works on arrays: compiled networks call it without a graph break.
# (`torch.compiler.disable` and `custom_op` would import the compiler, which takes 1.5 s per process.)
torch.library.define("lddm::field_of_view", "(Tensor x0) -> Tensor")


@torch.library.impl("lddm::field_of_view", "CompositeExplicitAutograd")
@torch.no_grad()
def _field_of_view(x0: Tensor) -> Tensor:
    grey = ((x0[:, 0].float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    return view_of_spans(torch.from_numpy(view_spans(grey)).to(x0.device), x0.shape[-1])


def view_spans(images: np.ndarray) -> np.ndarray:
    """Field-of-view masks of stills as row spans, for `view_of_spans`: uint8 (B, H, W) -> int16 (B, H, 2)."""
    return np.stack([_spans(image) for image in images])


def view_of_spans(spans: Tensor, width: int) -> Tensor:
    """Masks from row spans int16 (B, H, 2), on any device without synchronisation: bool (B, 1, H, width)."""
    first, last = spans.unbind(2)  # (B, H) each
    columns = torch.arange(width, device=spans.device)
    return ((columns >= first[:, :, None]) & (columns <= last[:, :, None]))[:, None]


@torch.library.register_fake("lddm::field_of_view")
def _shape_of_field_of_view(x0: Tensor) -> Tensor:
    return torch.empty_like(x0[:, :1], dtype=torch.bool)


@in_float32
def erode(mask: Tensor, pixels: int) -> Tensor:
    """Erode a mask bool (B, 1, H, W) by `pixels`; the border of the frame is not eroded."""
    side = 2 * pixels + 1
    rows = F.max_pool2d((~mask).float(), (side, 1), 1, (pixels, 0))
    return F.max_pool2d(rows, (1, side), 1, (0, pixels)) == 0


def _spans(image: np.ndarray) -> np.ndarray:
    """Row spans of the mask of an image uint8 (H, W): first and last column, int16 (H, 2); W and -1 for an empty row."""
    name = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
    if name not in _known:
        while len(_known) * len(image) >= KEPT:
            _known.pop(next(iter(_known)), None)  # evict the oldest
        _known[name] = ends_of_rows(_hull_of_tissue(image.astype(np.float32))).astype(np.int16)
    return _known[name]


def ends_of_rows(mask: np.ndarray) -> np.ndarray:
    """First and last non-zero column of each row of a mask (H, W): (H, 2); W and -1 for an empty row."""
    width = mask.shape[1]
    ends = np.stack([mask.argmax(axis=1), width - 1 - mask[:, ::-1].argmax(axis=1)], axis=1)
    ends[~np.asarray(mask.any(axis=1))] = width, -1
    return ends


def _hull_of_tissue(grey: np.ndarray) -> np.ndarray:
    """Field of view of one image, float32 (H, W) in grey levels: bool (H, W)."""
    black = _black_level(grey)
    lit = (np.minimum(grey, cv2.blur(grey, (3, 3))) > black).astype(np.uint8)  # suppresses compression artefacts
    if lit.mean() < EMPTY:
        return np.ones(grey.shape, dtype=bool)
    region = _largest_region(lit)
    hull = convex_hull(region)
    if hull.all():
        return hull > 0
    between = between_the_sides(hull)
    count, labels = cv2.connectedComponents(lit)
    touched = np.zeros(count, dtype=bool)
    touched[labels[region > 0]] = True
    attached = touched[labels]
    marks = cv2.dilate(((grey > BRIGHT) & (region == 0)).astype(np.uint8), np.ones((5, 5), np.uint8))
    dim = (lit > 0) & (marks == 0) & ~_bars(labels, grey > BRIGHT, attached)
    tissue = region | dim.astype(np.uint8)
    echoes = (attached & (lit > 0) & (between > 0) & (tissue == 0)).astype(np.uint8)  # thin structures, such as B-lines
    if int(echoes.sum()) >= _gain(tissue, echoes):
        tissue |= echoes
    rows = np.flatnonzero(tissue.any(axis=1))
    lowest = slice(max(0, rows[-1] + 1 - max(1, len(grey) // 32)), rows[-1] + 1)
    if rows[-1] < len(grey) - 1 and grey[lowest][tissue[lowest] > 0].mean() < 2 * black:  # faded: no visible lower edge
        tissue |= between_the_sides(convex_hull(tissue))
    return pixels_of_hull(tissue)


def _bars(labels: np.ndarray, bright: np.ndarray, attached: np.ndarray) -> np.ndarray:
    """Mask of separate regions with a large share of bright pixels, i.e. grey bars including their dark end.

    Args:
        labels: int (H, W), region index of each pixel; 0 is black.
        bright: bool (H, W), pixels above `BRIGHT`.
        attached: bool (H, W), regions connected to tissue.

    Returns:
        bool (H, W).
    """
    size = np.bincount(labels.ravel())
    share = np.bincount(labels.ravel(), weights=bright.ravel()) / np.maximum(size, 1)
    share[0] = 0
    return (share >= BAR)[labels] & ~attached


def _black_level(grey: np.ndarray) -> float:
    """Threshold between background and tissue: above the noise of the darkest quarter of the border, if that is low."""
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    floor = float(np.percentile(cv2.blur(border[None], (5, 1)), 25))
    return 2 * floor + BLACK if floor <= NOISE else BLACK


def _largest_region(lit: np.ndarray) -> np.ndarray:
    """Largest connected region of a mask uint8 (H, W), without thin parts but including parts behind a shadow.

    Returns the non-black pixels only."""
    radius = max(1, round(min(lit.shape) / 20))  # structures thinner than twice this are rulers, text or bars
    filled = np.zeros_like(lit)
    contours, _ = cv2.findContours(cv2.medianBlur(lit, 3), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(filled, contours, -1, 1, cv2.FILLED)  # dark tissue inside does not split the region
    inner = cv2.distanceTransform(cv2.copyMakeBorder(filled, 1, 1, 1, 1, cv2.BORDER_CONSTANT), cv2.DIST_L2, 5) > radius
    opened = _near(inner[1:-1, 1:-1].astype(np.uint8), radius)  # bars at the border of the frame count as thin, too
    if not opened.any():
        opened = filled if filled.any() else lit  # no thick region: a strip of tissue
    _, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    area = stats[:, cv2.CC_STAT_AREA]
    largest, *others = 1 + np.argsort(-area[1:], kind="stable")
    region = (labels == largest).astype(np.uint8)
    for other in (label for label in others if area[label] >= PART * area[largest]):
        part = (labels == other).astype(np.uint8)
        if _gain(region, part) <= 3 * area[other]:  # adds little more black than tissue
            region |= part
    return lit & _near(region, max(1.5, radius / 2))  # restores the corners rounded by the opening


def _near(mask: np.ndarray, distance: float) -> np.ndarray:
    """Dilate a mask uint8 (H, W) by a distance in pixels: uint8 (H, W)."""
    return (cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5) <= distance).astype(np.uint8)


def _gain(mask: np.ndarray, part: np.ndarray) -> int:
    """Number of pixels by which the convex hull of a mask grows when a part is added; both uint8 (H, W)."""
    return int(convex_hull(mask | part).sum()) - int(convex_hull(mask).sum())


def between_the_sides(hull: np.ndarray) -> np.ndarray:
    """Region between the lateral edges of a hull, extended as straight lines to the bottom of the frame: uint8 (H, W)."""
    rows, width = np.flatnonzero(hull.any(axis=1)), hull.shape[1]
    straight = rows[len(rows) // 4 : max(len(rows) // 4 + 2, 3 * len(rows) // 4)]  # excludes the corners
    if len(straight) < 2:
        return hull
    left = np.polynomial.Polynomial.fit(straight, hull[straight].argmax(axis=1), 1)
    right = np.polynomial.Polynomial.fit(straight, width - 1 - hull[straight, ::-1].argmax(axis=1), 1)
    row, column = np.arange(len(hull))[:, None], np.arange(width)
    between = (row >= straight[-1]) & (column >= left(row) - 0.5) & (column <= right(row) + 0.5)
    return between.astype(np.uint8)


def convex_hull(mask: np.ndarray) -> np.ndarray:
    """Convex hull of a mask uint8 (H, W), including its outline: uint8 (H, W)."""
    hull = np.zeros_like(mask)
    if mask.any():
        cv2.fillConvexPoly(hull, _corners_of_hull(mask), 1)
    return hull


def _corners_of_hull(mask: np.ndarray) -> np.ndarray:
    """Vertices of the convex hull of a non-empty mask uint8 (H, W): int32 (n, 1, 2), (column, row)."""
    ends, rows = ends_of_rows(mask), np.flatnonzero(mask.any(axis=1))
    # interior pixels of a row cannot be vertices
    points = np.stack([ends[rows], np.repeat(rows[:, None], 2, axis=1)], axis=2)
    return cv2.convexHull(points.reshape(-1, 1, 2).astype(np.int32))


def pixels_of_hull(mask: np.ndarray) -> np.ndarray:
    """Pixels whose centres lie inside the convex hull of a mask uint8 (H, W): bool (H, W).

    Filled polygons of OpenCV also include pixels touched by the outline, up to one more on slanted sides.
    """
    start = _corners_of_hull(mask)[:, 0].astype(np.float64)  # (n, 2), (column, row)
    step = np.roll(start, -1, axis=0) - start
    rows, columns = np.arange(len(mask))[:, None], np.arange(mask.shape[1])
    # (H, n), intersections of rows with edges
    share = (rows - start[:, 1]) / np.where(step[:, 1] == 0, np.inf, step[:, 1])
    cut = (share >= 0) & (share <= 1) & ((step[:, 1] != 0) | (rows == start[:, 1]))
    column = start[:, 0] + share * step[:, 0]
    left, right = np.where(cut, column, np.inf).min(axis=1), np.where(cut, column, -np.inf).max(axis=1)
    return (columns >= left[:, None] - 1e-6) & (columns <= right[:, None] + 1e-6)
