"""The field of view: the part of a frame that shows tissue. It stays where it is while tissue moves."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lddm.nn.precision import in_float32

# Grey levels of 255. Above BLACK a pixel and the mean of its neighbourhood show tissue: above the black around a fan, even
# after lossy compression, and below the noise of its dark parts. A noisy background of up to NOISE raises that level.
BLACK, NOISE = 2.5, 7.0
BRIGHT = 25.0  # markers, rulers, text and bars are brighter than this; dim pixels apart from the rest are dark tissue
EMPTY = 0.005  # share of the frame below which nothing is tissue
BAR = 0.25  # share of a region apart from the tissue that is bright, if it is a bar or a marker
PART = 0.25  # a bright region of this share of the largest is tissue behind a shadow, a smaller one a marker or a bar
KEPT = 1 << 24  # rows of views that are remembered: 64 MiB, and as much again for their names where frames are small

# A training reads the same stills again and again, and finding a view takes as long as several layers of a network.
# SHA-256 of an image and its shape -> first and last column of each row of its view, int16 (H, 2).
_known: dict[bytes, np.ndarray] = {}


def field_of_view(x0: Tensor) -> Tensor:
    """The convex hull of the largest connected region that is not black.

    Rectangles, fans and sectors are convex, and shadows inside them belong to them. Markers, rulers, text and grey bars are
    smaller regions, or thin, and stay outside. Tissue that fades into black at depth has no lower edge: its sides are then
    extended to the bottom of the frame.

    It is found on the CPU, once per image: the views of recent images are remembered. From a GPU that waits for all work
    before it, so trainings measure the views beforehand, with the motion (`view_spans`).

    Args:
        x0: float (B, 1, H, W) in [-1, 1]; rounded to grey levels.

    Returns:
        bool (B, 1, H, W). An image that is black but for a few pixels counts as seen throughout.
    """
    return torch.ops.lddm.field_of_view(x0)


# A registered operator, since OpenCV works on arrays: a compiled network calls it without a graph break.
# (`torch.compiler.disable` and `custom_op` import the compiler, which takes 1.5 s in each process.)
torch.library.define("lddm::field_of_view", "(Tensor x0) -> Tensor")


@torch.library.impl("lddm::field_of_view", "CompositeExplicitAutograd")
@torch.no_grad()
def _field_of_view(x0: Tensor) -> Tensor:
    grey = ((x0[:, 0].float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    return view_of_spans(torch.from_numpy(view_spans(grey)).to(x0.device), x0.shape[-1])


def view_spans(images: np.ndarray) -> np.ndarray:
    """The views of stills on the host, for `view_of_spans`: uint8 (B, H, W) -> int16 (B, H, 2)."""
    return np.stack([_spans(image) for image in images])


def view_of_spans(spans: Tensor, width: int) -> Tensor:
    """Views from their spans int16 (B, H, 2), on any device without a wait: bool (B, 1, H, width)."""
    first, last = spans.unbind(2)  # (B, H) each
    columns = torch.arange(width, device=spans.device)
    return ((columns >= first[:, :, None]) & (columns <= last[:, :, None]))[:, None]


@torch.library.register_fake("lddm::field_of_view")
def _shape_of_field_of_view(x0: Tensor) -> Tensor:
    return torch.empty_like(x0[:, :1], dtype=torch.bool)


@in_float32
def erode(mask: Tensor, pixels: int) -> Tensor:
    """A mask bool (B, 1, H, W) without its outermost `pixels`; the border of the frame is not an edge of the mask."""
    side = 2 * pixels + 1
    rows = F.max_pool2d((~mask).float(), (side, 1), 1, (pixels, 0))
    return F.max_pool2d(rows, (1, side), 1, (0, pixels)) == 0


def _spans(image: np.ndarray) -> np.ndarray:
    """The view of an image uint8 (H, W), row by row: first and last column, int16 (H, 2); W and -1 for an empty row."""
    name = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
    if name not in _known:
        while len(_known) * len(image) >= KEPT:
            _known.pop(next(iter(_known)), None)  # the oldest
        _known[name] = ends_of_rows(_hull_of_tissue(image.astype(np.float32))).astype(np.int16)
    return _known[name]


def ends_of_rows(mask: np.ndarray) -> np.ndarray:
    """First and last column that is set in each row of a mask (H, W): (H, 2); W and -1 for an empty row."""
    width = mask.shape[1]
    ends = np.stack([mask.argmax(axis=1), width - 1 - mask[:, ::-1].argmax(axis=1)], axis=1)
    ends[~np.asarray(mask.any(axis=1))] = width, -1
    return ends


def _hull_of_tissue(grey: np.ndarray) -> np.ndarray:
    """Field of view of one image, float32 (H, W) in grey levels: bool (H, W)."""
    black = _black_level(grey)
    lit = (np.minimum(grey, cv2.blur(grey, (3, 3))) > black).astype(np.uint8)  # without the specks of compression
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
    echoes = (attached & (lit > 0) & (between > 0) & (tissue == 0)).astype(np.uint8)  # thin ones, such as B-lines
    if int(echoes.sum()) >= _gain(tissue, echoes):
        tissue |= echoes
    rows = np.flatnonzero(tissue.any(axis=1))
    lowest = slice(max(0, rows[-1] + 1 - max(1, len(grey) // 32)), rows[-1] + 1)
    if rows[-1] < len(grey) - 1 and grey[lowest][tissue[lowest] > 0].mean() < 2 * black:  # faded: no edge to be seen
        tissue |= between_the_sides(convex_hull(tissue))
    return pixels_of_hull(tissue)


def _bars(labels: np.ndarray, bright: np.ndarray, attached: np.ndarray) -> np.ndarray:
    """Regions apart from the tissue that are bright in large part: a grey bar fades into black, and is no dark tissue there.

    Args:
        labels: number of the region of each pixel, int (H, W); 0 is black.
        bright: pixels above `BRIGHT`, bool (H, W).
        attached: regions that belong to tissue, bool (H, W).

    Returns:
        bool (H, W).
    """
    size = np.bincount(labels.ravel())
    share = np.bincount(labels.ravel(), weights=bright.ravel()) / np.maximum(size, 1)
    share[0] = 0
    return (share >= BAR)[labels] & ~attached


def _black_level(grey: np.ndarray) -> float:
    """The grey level that tissue exceeds: more than the noise of the darkest quarter of the border, where that is small."""
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    floor = float(np.percentile(cv2.blur(border[None], (5, 1)), 25))
    return 2 * floor + BLACK if floor <= NOISE else BLACK


def _largest_region(lit: np.ndarray) -> np.ndarray:
    """The lit pixels of the largest connected region of a mask uint8 (H, W), without thin parts but with parts behind a
    shadow."""
    radius = max(1, round(min(lit.shape) / 20))  # what is thinner than twice this is a ruler, text or a bar
    filled = np.zeros_like(lit)
    contours, _ = cv2.findContours(cv2.medianBlur(lit, 3), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(filled, contours, -1, 1, cv2.FILLED)  # dark tissue inside is no gap
    inner = cv2.distanceTransform(cv2.copyMakeBorder(filled, 1, 1, 1, 1, cv2.BORDER_CONSTANT), cv2.DIST_L2, 5) > radius
    opened = _near(inner[1:-1, 1:-1].astype(np.uint8), radius)  # a bar at the border of the frame is thin, too
    if not opened.any():
        opened = filled if filled.any() else lit  # nothing is thick: a strip of tissue
    _, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    area = stats[:, cv2.CC_STAT_AREA]
    largest, *others = 1 + np.argsort(-area[1:], kind="stable")
    region = (labels == largest).astype(np.uint8)
    for other in (label for label in others if area[label] >= PART * area[largest]):
        part = (labels == other).astype(np.uint8)
        if _gain(region, part) <= 3 * area[other]:  # not much more black than tissue
            region |= part
    return lit & _near(region, max(1.5, radius / 2))  # with the corners that the opening has rounded


def _near(mask: np.ndarray, distance: float) -> np.ndarray:
    """The pixels within a distance in pixels of a mask uint8 (H, W): uint8 (H, W)."""
    return (cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5) <= distance).astype(np.uint8)


def _gain(mask: np.ndarray, part: np.ndarray) -> int:
    """How many pixels the convex hull of a mask gains with a further part; both uint8 (H, W)."""
    return int(convex_hull(mask | part).sum()) - int(convex_hull(mask).sum())


def between_the_sides(hull: np.ndarray) -> np.ndarray:
    """What lies between the sides of a hull, extended to the bottom of the frame as straight lines: uint8 (H, W)."""
    rows, width = np.flatnonzero(hull.any(axis=1)), hull.shape[1]
    straight = rows[len(rows) // 4 : max(len(rows) // 4 + 2, 3 * len(rows) // 4)]  # not the corners
    if len(straight) < 2:
        return hull
    left = np.polynomial.Polynomial.fit(straight, hull[straight].argmax(axis=1), 1)
    right = np.polynomial.Polynomial.fit(straight, width - 1 - hull[straight, ::-1].argmax(axis=1), 1)
    row, column = np.arange(len(hull))[:, None], np.arange(width)
    between = (row >= straight[-1]) & (column >= left(row) - 0.5) & (column <= right(row) + 0.5)
    return between.astype(np.uint8)


def convex_hull(mask: np.ndarray) -> np.ndarray:
    """Convex hull of a mask uint8 (H, W) with its outline: uint8 (H, W)."""
    hull = np.zeros_like(mask)
    if mask.any():
        cv2.fillConvexPoly(hull, _corners_of_hull(mask), 1)
    return hull


def _corners_of_hull(mask: np.ndarray) -> np.ndarray:
    """Corners of the convex hull of a mask uint8 (H, W) that is not empty: int32 (n, 1, 2), column and row."""
    ends, rows = ends_of_rows(mask), np.flatnonzero(mask.any(axis=1))
    points = np.stack([ends[rows], np.repeat(rows[:, None], 2, axis=1)], axis=2)  # all others lie between these
    return cv2.convexHull(points.reshape(-1, 1, 2).astype(np.int32))


def pixels_of_hull(mask: np.ndarray) -> np.ndarray:
    """The pixels whose centres lie in the convex hull of a mask uint8 (H, W): bool (H, W).

    OpenCV's filled polygons also take the pixels that their outline touches, up to a pixel more on slanted sides.
    """
    start = _corners_of_hull(mask)[:, 0].astype(np.float64)  # (n, 2), column and row
    step = np.roll(start, -1, axis=0) - start
    rows, columns = np.arange(len(mask))[:, None], np.arange(mask.shape[1])
    share = (rows - start[:, 1]) / np.where(step[:, 1] == 0, np.inf, step[:, 1])  # (H, n), where a row cuts a side
    cut = (share >= 0) & (share <= 1) & ((step[:, 1] != 0) | (rows == start[:, 1]))
    column = start[:, 0] + share * step[:, 0]
    left, right = np.where(cut, column, np.inf).min(axis=1), np.where(cut, column, -np.inf).max(axis=1)
    return (columns >= left[:, None] - 1e-6) & (columns <= right[:, None] + 1e-6)
