"""Preparation of rescaling, window and lookup tables of a DICOM file for pydicom (PS3.3 C.11.1, C.11.2)."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import apply_voi_lut

WINDOW = ("WindowCenter", "WindowWidth")
RESCALE = ("RescaleSlope", "RescaleIntercept")
FAR = 1e9  # beyond all windows


def prepare_window(header: Dataset) -> tuple[tuple[float, float] | None, list[str]]:
    """Convert the window or VOI LUT to a form that pydicom can apply, and delete invalid ones.

    Returns:
        pydicom's output for the darkest and the brightest input (the first is the larger one if rescaling inverts), or None
        without a usable window; and notes.
    """
    if not str(header.get("PhotometricInterpretation", "MONOCHROME2")).startswith("MONOCHROME"):
        return None, []
    notes = []
    if header.get("VOILUTSequence"):
        try:
            depth = prepare_table(header.VOILUTSequence[0], is_little(header))
            apply_voi_lut(np.zeros(1, np.uint16), header)
            return (0.0, float(2**depth - 1)), []
        except Exception:  # a damaged table raises whatever its element raises
            notes.append("invalid VOI LUT ignored")
            del header.VOILUTSequence
    ends, said = _ends(header)
    return ends, [*notes, *said]


def prepare_rescale(header: Dataset) -> list[str]:
    """Complete RescaleSlope and RescaleIntercept, or delete them if they map all values to one; returns notes."""
    if not any(keyword in header for keyword in RESCALE):
        return []
    try:
        slope, intercept = (
            usual if header.get(keyword) in (None, "") else float(header[keyword].value)
            for keyword, usual in zip(RESCALE, (1.0, 0.0), strict=True)
        )
    except (TypeError, ValueError):
        slope = intercept = 0.0
    if slope and np.isfinite([slope, intercept]).all():
        for keyword, usual in zip(RESCALE, (1, 0), strict=True):
            if header.get(keyword) in (None, ""):
                setattr(header, keyword, usual)
        return []
    for keyword in RESCALE:
        if keyword in header:
            del header[keyword]
    return ["invalid rescaling ignored"]


def prepare_table(item: Dataset, little: bool) -> int:
    """Unpack the entries of a lookup table to 16 bits: 8-bit entries may be stored two per word, but pydicom 3 expects words.

    If 8 bits are stated, pydicom also counts the entries with 8 bits, so that values above 255 wrap around.

    Returns:
        bits per entry.

    Raises:
        ValueError: fewer entries than stated.
    """
    count, first, depth = (int(value) for value in item.LUTDescriptor)
    count = count or 65536
    entries = item.LUTData
    if isinstance(entries, bytes):
        packed = depth <= 8 and len(entries) < 2 * count
        words = np.frombuffer(entries[: len(entries) // 2 * 2], "<u2" if little else ">u2")
        entries = words.astype("<u2").view(np.uint8) if packed else words
    values = [int(value) for value in np.atleast_1d(np.asarray(entries))]
    if len(values) < count:
        raise ValueError("fewer entries than stated in LUTDescriptor")
    item.LUTDescriptor = [count % 65536, first, 16]
    item.LUTData = values[:count]
    item["LUTData"].VR = "US"
    return depth


def _ends(header: Dataset) -> tuple[tuple[float, float] | None, list[str]]:
    empty = [header.get(keyword) is None or header.get(keyword) == "" for keyword in WINDOW]
    low = high = 0.0
    if not any(empty):
        if "VOILUTFunction" in header and not header.VOILUTFunction:
            del header.VOILUTFunction  # LINEAR is the default
        try:
            low, high = (float(v) for v in apply_voi_lut(np.array([-FAR, FAR]), header, prefer_lut=False))
        except (ValueError, TypeError, IndexError, AttributeError, KeyError):
            low = high = 0.0
    if low != high and np.isfinite([low, high]).all():
        return (low, high), []
    for keyword in WINDOW:
        if keyword in header:
            del header[keyword]
    if all(empty):
        return None, []
    return None, ["invalid window ignored"]


def is_little(header: Dataset) -> bool:
    """Whether the elements of a data set are stored as little endian."""
    return header.original_encoding[1] is not False
