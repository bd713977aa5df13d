"""Frame times of DICOM cine loops (PS3.3 C.7.6.5), and detection of multi-frame images that are not videos."""

from __future__ import annotations

import math

import numpy as np
from pydicom.dataset import Dataset

from lddm.io.frame_times import frame_times, plausible_rate

FRAME_TIME, FRAME_TIME_VECTOR = 0x00181063, 0x00181065
SLICES = {
    0x00540080,
    0x00182005,
    0x3004000C,
    0x00200032,
    0x00201041,
}  # spatial increments: slice vector, grid offsets, positions
PLANES = {
    "PlanePositionSequence": "ImagePositionPatient",
    "PlanePositionVolumeSequence": "ImagePositionVolume",
}
SCANNERS = {
    "CT",
    "MR",
    "PT",
    "NM",
}  # modalities whose frames are slices if no time is stated, also in secondary captures
TIMED = ("FrameTime", "FrameTimeVector", "ActualFrameDuration", "CineRate", "RecommendedDisplayFrameRate")
VOLUMES = {  # multi-frame storage whose frames are slices, projections or maps
    "1.2.840.10008.5.1.4.1.1.6.2",  # Enhanced US Volume
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
    "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT
    "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR
    "1.2.840.10008.5.1.4.1.1.4.3",  # Enhanced MR Color
    "1.2.840.10008.5.1.4.1.1.4.4",  # Legacy Converted Enhanced MR
    "1.2.840.10008.5.1.4.1.1.20",  # Nuclear Medicine
    "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
    "1.2.840.10008.5.1.4.1.1.128.1",  # Legacy Converted Enhanced PET
    "1.2.840.10008.5.1.4.1.1.130",  # Enhanced PET
    "1.2.840.10008.5.1.4.1.1.481.2",  # RT Dose
    "1.2.840.10008.5.1.4.1.1.13.1.3",  # Breast Tomosynthesis
    "1.2.840.10008.5.1.4.1.1.77.1.5.4",  # Ophthalmic Tomography
}


def is_volume(header: Dataset) -> bool:
    """Whether the frames are slices of a volume instead of time points."""
    if str(header.get("SOPClassUID", "")) in VOLUMES:
        return True
    if str(header.get("DimensionOrganizationType", "")).upper() in ("3D", "3D_TEMPORAL"):
        return True
    pointers = _pointers(header)
    if pointers & {FRAME_TIME, FRAME_TIME_VECTOR}:
        return False
    if pointers & SLICES:
        return True
    if any(keyword in header for keyword in TIMED):
        return False
    return _places(header) > 1 or str(header.get("Modality", "")) in SCANNERS


def _places(header: Dataset) -> int:
    """Number of spatial positions stated in the functional groups of the frames."""
    found = set()
    try:
        for item in header.get("PerFrameFunctionalGroupsSequence") or []:
            for keyword, position in PLANES.items():
                found |= {tuple(map(float, plane[position].value)) for plane in item.get(keyword) or []}
    except (AttributeError, TypeError, ValueError, KeyError):
        return 0
    return len(found)


def cine_times(header: Dataset, count: int) -> tuple[np.ndarray, float, tuple[str, ...]]:
    """Times of `count` frames.

    FrameIncrementPointer selects FrameTime or FrameTimeVector; without it, or if the tag that it names is missing or
    invalid, the order is FrameTime, FrameTimeVector, ActualFrameDuration, CineRate, RecommendedDisplayFrameRate. The last
    two are display rates, so their use is noted.

    Returns:
        float64 (T,) in s from 0 (NaN if unknown), the nominal rate in Hz (NaN if unknown), and notes.
    """
    if count < 2:
        return np.zeros(count), float("nan"), ()
    measured = ["FrameTime", "FrameTimeVector"]
    ignored: tuple[str, ...] = ()
    pointers = _pointers(header)
    if FRAME_TIME_VECTOR in pointers and FRAME_TIME not in pointers:
        measured.reverse()
    for keyword in measured:
        found = _vector(header, count) if keyword == "FrameTimeVector" else _steady(header, keyword, count, 1000)
        if found is not None:
            return found[0], found[1], (*ignored, *found[2])
        if header.get(keyword) not in (None, ""):
            ignored = (*ignored, f"invalid {keyword} ignored")
    for keyword, unit in (("ActualFrameDuration", 1000), ("CineRate", 0), ("RecommendedDisplayFrameRate", 0)):
        found = _steady(header, keyword, count, unit)
        if found is not None:
            note = () if unit else (f"frame rate taken from {keyword}, a display rate",)
            return found[0], found[1], (*ignored, *note)
    return np.full(count, math.nan), float("nan"), ignored


def _pointers(header: Dataset) -> set[int]:
    try:
        value = header.get("FrameIncrementPointer")
        values = [] if value is None else value if isinstance(value, list) or hasattr(value, "append") else [value]
        return {int(tag) for tag in values}
    except (TypeError, ValueError):
        return set()


def _numbers(header: Dataset, keyword: str) -> np.ndarray:
    """The values of an element as float64 (n,); empty if it is missing or not numeric."""
    try:
        value = header[keyword].value
        values = [value] if isinstance(value, (str, int, float)) else list(value)
        return np.array([float(v) for v in values], dtype=np.float64)
    except (KeyError, TypeError, ValueError, NotImplementedError, OverflowError):
        return np.zeros(0)


def _steady(header: Dataset, keyword: str, count: int, unit: float) -> tuple[np.ndarray, float, tuple[str, ...]] | None:
    """Constant rate from an interval in ms (unit 1000) or a rate in Hz (unit 0)."""
    values = _numbers(header, keyword)
    if len(values) == 0 or not values[0] > 0:
        return None
    rate = plausible_rate(unit / values[0] if unit else values[0])
    return None if math.isnan(rate) else (np.arange(count) / rate, rate, ())


def _vector(header: Dataset, count: int) -> tuple[np.ndarray, float, tuple[str, ...]] | None:
    """Times from the increments between frames in ms; the first increment belongs to the first frame and is 0.

    # ASSUME: a few increments of 0 are errors, because two frames cannot have the same time; the median replaces them.
    """
    steps = _numbers(header, "FrameTimeVector")
    if len(steps) == count - 1 and steps[0] > 0:
        steps = np.append(0.0, steps)
    if len(steps) == 1 and count > 2:  # one interval for all frames
        found = _steady(header, "FrameTimeVector", count, 1000)
        return found and (*found[:2], ("FrameTimeVector has one value: used for all frames",))
    if len(steps) < 2 or not np.isfinite(steps).all():
        return None
    notes: tuple[str, ...] = ()
    faults = np.flatnonzero(steps[1:] <= 0) + 1
    if len(faults) > (len(steps) - 1) // 4:
        return None
    if len(faults):
        notes = (f"{len(faults)} increments of FrameTimeVector are not positive: replaced by the median",)
        steps[faults] = np.median(np.delete(steps, faults)[1:])
    if len(steps) < count:
        notes = (
            *notes,
            f"FrameTimeVector has {len(steps)} values for {count} frames: continued at even intervals",
        )
        steps = np.append(steps, np.full(count - len(steps), np.median(steps[1:])))
    steps = steps[:count] / 1000
    steps[0] = 0
    kept, times, rate, said = frame_times(np.cumsum(steps).tolist())
    return None if math.isnan(rate) or len(kept) < count else (times, rate, (*notes, *said))
