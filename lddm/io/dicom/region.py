"""The ultrasound region of a DICOM image and its pixel size (PS3.3 C.8.5.5)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydicom.dataset import Dataset

from lddm.io.recording import MAX_ASPECT

TWO_D = 1  # RegionSpatialFormat
TRACES = {2, 3, 4}  # RegionSpatialFormat: M-mode, spectral, waveform
TISSUE, COLOUR_FLOW = 1, 2  # RegionDataType
BARS = {13, 14}  # RegionDataType: scales of grey levels and colours
CENTIMETRES = 3  # PhysicalUnitsXDirection
SMALLEST = 8  # shorter side of a region in pixels


@dataclass(frozen=True)
class Region:
    """A part of the stored frame.

    Attributes:
        box: (top, bottom, left, right) in pixels, bottom and right excluded.
        kind: RegionDataType; 1 = tissue, 2 = colour flow, 0 = not stated.
        spacing: (row, column) in mm, or None.
    """

    box: tuple[int, int, int, int]
    kind: int
    spacing: tuple[float, float] | None


def ultrasound_region(header: Dataset, height: int, width: int) -> tuple[Region | None, tuple[str, ...], bool]:
    """The largest 2-D tissue region, or else the largest other 2-D region.

    Returns:
        the region, or None if none is stated; notes; and whether the file shows M-mode or spectra only. Graphics and
        regions without a stated format, such as an ECG, do not count as images.
    """
    found: list[Region] = []
    formats: set[int] = set()
    unnamed_image = False  # without format, but with the data type of an image
    for item in header.get("SequenceOfUltrasoundRegions", None) or []:
        try:
            spatial = int(item.get("RegionSpatialFormat", 0) or 0)
            left, top = int(item.RegionLocationMinX0), int(item.RegionLocationMinY0)
            right, bottom = int(item.RegionLocationMaxX1) + 1, int(item.RegionLocationMaxY1) + 1
            kind = int(item.get("RegionDataType", 0) or 0)
        except (AttributeError, TypeError, ValueError):
            continue
        if kind in BARS:
            continue
        formats.add(spatial)
        unnamed_image |= spatial == 0 and kind in (TISSUE, COLOUR_FLOW)
        left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        if spatial == TWO_D and min(right - left, bottom - top) >= SMALLEST:
            found.append(Region((top, bottom, left, right), kind, _physical(item)))
    tissue = [region for region in found if region.kind in (TISSUE, 0)]
    best = max(tissue or found, key=_area, default=None)
    if best is None:
        only_traces = bool(formats & TRACES) and TWO_D not in formats and not unnamed_image
        return None, ("no 2-D ultrasound region stated: text beside the image, if any, is kept",), only_traces
    notes = [] if tissue else ["no tissue region stated: the colour flow or other 2-D region is used"]
    beside = {region.box for region in found if 2 * _common(region, best) < min(_area(region), _area(best))}
    if beside:
        notes.append(f"{len(beside)} more 2-D regions outside the selected one are cropped away")
    return best, tuple(notes), False


def has_colour_flow(header: Dataset) -> bool:
    """Whether the header states colour Doppler."""
    try:
        kinds = {int(item.get("RegionDataType", 0) or 0) for item in header.get("SequenceOfUltrasoundRegions") or []}
        return COLOUR_FLOW in kinds or int(header.get("UltrasoundColorDataPresent", 0) or 0) == 1
    except (TypeError, ValueError, AttributeError):
        return False


def pixel_size(header: Dataset, region: Region | None) -> tuple[tuple[float, float] | None, float]:
    """Spacing (row, column) in mm or None, and the height / width of a pixel (1.0 if unknown).

    The region's physical deltas take precedence over PixelSpacing; PixelAspectRatio states the ratio without a size.
    """
    spacing = region.spacing if region is not None else None
    spacing = spacing or _pair(header, "PixelSpacing")
    ratio = _pair(header, "PixelAspectRatio") or spacing
    aspect = ratio[0] / ratio[1] if ratio else 1.0
    return spacing, aspect if 1 / MAX_ASPECT <= aspect <= MAX_ASPECT else 1.0


def _area(region: Region) -> int:
    top, bottom, left, right = region.box
    return (bottom - top) * (right - left)


def _common(one: Region, other: Region) -> int:
    """Pixels that two regions share."""
    (top, bottom, left, right), (top2, bottom2, left2, right2) = one.box, other.box
    return max(0, min(bottom, bottom2) - max(top, top2)) * max(0, min(right, right2) - max(left, left2))


def _physical(item: Dataset) -> tuple[float, float] | None:
    try:
        units = {int(item.PhysicalUnitsXDirection), int(item.PhysicalUnitsYDirection)}
        row, column = 10 * abs(float(item.PhysicalDeltaY)), 10 * abs(float(item.PhysicalDeltaX))
    except (AttributeError, TypeError, ValueError):
        return None
    return (row, column) if units == {CENTIMETRES} and _sane(row) and _sane(column) else None


def _pair(header: Dataset, keyword: str) -> tuple[float, float] | None:
    try:
        first, second = (float(value) for value in header.get(keyword))
    except (TypeError, ValueError):
        return None
    return (first, second) if _sane(first) and _sane(second) else None


def _sane(value: float) -> bool:
    return math.isfinite(value) and value > 0
