"""Image sequences stated in the description of a TIFF: time points, channels, slices, frame rate (ImageJ, OME, tifffile)."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lddm.io.recording import UnreadableFile

DESCRIPTION, COMPRESSION, PHOTOMETRIC, OFFSETS, SAMPLES, SIZES, FORMAT, BITS = 270, 259, 262, 273, 277, 279, 339, 258
MOST = 1_000_000  # images; a description that states more is damaged or malicious
# unit of time, as written by ImageJ and OME -> s
UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "ms": 1e-3, "msec": 1e-3, "us": 1e-6, "usec": 1e-6, "ns": 1e-9, "min": 60.0}
UNITS |= {"seconds": 1.0, "second": 1.0, "µs": 1e-6, "μs": 1e-6, "h": 3600.0, "hour": 3600.0, "\\u00b5s": 1e-6}


@dataclass(frozen=True)
class Stated:
    """Sequence stated in a description.

    Attributes:
        axes: (axis, length) of the images, fastest first: C (channels), Z (slices), T (time points).
        rate: frame rate in Hz, or None.
        notes: assumptions.
    """

    axes: tuple[tuple[str, int], ...] = ()
    rate: float | None = None
    notes: tuple[str, ...] = ()

    def images(self) -> int:
        """Number of images; 1 if nothing is stated."""
        return math.prod(length for _, length in self.axes)

    def length(self, axis: str) -> int:
        """Length of an axis; 1 if it is missing."""
        return math.prod(length for name, length in self.axes if name == axis)

    def moments(self) -> list[int]:
        """Positions of the images of the first channel, in temporal order."""
        places, stride = [0], 1
        for name, length in self.axes:
            if name == "T":
                places = [before + stride * k for k in range(length) for before in places]
            stride *= length
        return sorted(places)


def stated_sequence(image: Image.Image, name: str) -> Stated:
    """Sequence stated in the description of the first page; empty for other formats and descriptions.

    Raises:
        UnreadableFile: slices of a volume, which are not time points.
    """
    if image.format != "TIFF":
        return Stated()
    text = str(image.tag_v2.get(DESCRIPTION, ""))  # type: ignore[attr-defined]
    try:
        if text.startswith("ImageJ="):
            stated = _imagej(text)
        elif "<OME" in text[:4096] or ":OME" in text[:4096]:
            stated = _ome(text)
        elif text.startswith("{"):
            stated = _tifffile(text, image)
        else:
            return Stated()
    except (ValueError, TypeError, KeyError, ZeroDivisionError, AttributeError):
        return Stated()
    if not all(0 < length <= MOST for _, length in stated.axes) or stated.images() > MOST:
        return Stated(rate=stated.rate, notes=stated.notes)
    if stated.length("Z") > 1:
        raise UnreadableFile(
            f"{name} contains volumes: {stated.length('Z')} slices, which are not time points",
            "save one slice over time, or single slices as images",
        )
    channels = stated.length("C")
    note = (f"{channels} channels: only the first is read",) if channels > 1 else ()
    return Stated(stated.axes, stated.rate, (*stated.notes, *note))


def images_in_a_row(image: Image.Image, path: Path, count: int) -> np.ndarray | None:
    """Images stored contiguously behind the single page of a TIFF, as ImageJ and tifffile write large sequences.

    Args:
        image: the open file.
        path: path of the file.
        count: number of images to read.

    Returns:
        (T, H, W) as stored, fewer than `count` if the file ends before; None if the images are not stored in this way.
    """
    tags = image.tag_v2  # type: ignore[attr-defined]
    bits, kind = int(np.ravel(tags.get(BITS, 1))[0]), int(np.ravel(tags.get(FORMAT, 1))[0])
    dtype = {(8, 1): "u1", (16, 1): "u2", (32, 1): "u4", (32, 3): "f4"}.get((bits, kind))
    if dtype is None or tags.get(COMPRESSION, 1) != 1 or tags.get(SAMPLES, 1) != 1 or image.getexif().get(274, 1) != 1:
        return None
    starts, sizes = np.ravel(tags.get(OFFSETS, ())), np.ravel(tags.get(SIZES, ()))
    one = image.width * image.height * bits // 8
    if len(starts) == 0 or sizes.sum() % one or (np.diff(starts) != sizes[:-1]).any():
        return None
    there = (path.stat().st_size - int(starts[0])) // one
    wanted = min(there, count)
    stored = np.dtype(dtype).newbyteorder("<" if tags.prefix == b"II" else ">")
    values = np.fromfile(path, stored, wanted * image.width * image.height, offset=int(starts[0]))
    values = values.reshape(wanted, image.height, image.width)
    if tags.get(PHOTOMETRIC) == 0 and kind == 1:
        values = np.iinfo(stored).max - values
    return values.astype({"u1": np.uint8, "u2": np.uint16, "u4": np.float64, "f4": np.float32}[dtype])


def _imagej(text: str) -> Stated:
    said = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    channels, slices, frames = (int(said.get(key, 1)) for key in ("channels", "slices", "frames"))
    images = int(said.get("images", channels * slices * frames))
    notes: list[str] = []
    if slices > 1 and frames == 1:  # ImageJ itself opens a video as a stack of slices
        notes.append(f"ImageJ calls the {slices} images slices: read as time points")
        slices, frames = 1, slices
    if channels * slices * frames != images:
        channels, slices, frames = 1, 1, images
    interval = float(said.get("finterval", 0)) * UNITS.get(said.get("tunit", "").strip().lower(), math.nan)
    played = float(said.get("fps", 0))
    rate = 1 / interval if interval > 0 else played if played > 0 else None
    if interval > 0 and played > 0 and abs(played * interval - 1) > 0.01:
        notes.append(
            f"ImageJ states a playback rate of {played:g} Hz and a frame interval of {interval:.3g} s: interval used"
        )
    if math.isnan(interval):
        notes.append(f"unknown ImageJ unit of time '{said['tunit'].strip()}'")
    return Stated((("C", channels), ("Z", slices), ("T", frames)), rate, tuple(notes))


def _ome(text: str) -> Stated:
    found = re.search(r"<(?:\w+:)?Pixels\b([^>]*)>", text)
    if found is None:
        return Stated()
    said = dict(re.findall(r'(\w+)\s*=\s*"([^"]*)"', found[1]))
    samples = re.search(r'<(?:\w+:)?Channel\b[^>]*SamplesPerPixel="(\d+)"', text)
    sizes = {axis: int(said.get(f"Size{axis}", 1)) for axis in "CZT"}
    sizes["C"] = max(1, sizes["C"] // (int(samples[1]) if samples else 1))
    step = float(said.get("TimeIncrement", 0)) * UNITS.get(said.get("TimeIncrementUnit", "s"), math.nan)
    order = said.get("DimensionOrder", "XYCZT")[2:]
    return Stated(tuple((axis, sizes[axis]) for axis in order), 1 / step if step > 0 else None)


def _tifffile(text: str, image: Image.Image) -> Stated:
    said = json.loads(text)
    shape = [int(length) for length in said["shape"]]
    axes = str(said.get("axes", ""))
    if len(axes) != len(shape):  # rows and columns are the last two axes, before or after samples
        bands = len(image.getbands())
        behind = 1 if bands > 1 and shape[-1] == bands and shape[-2:-1] == [image.width] else 0
        before = 1 if bands > 1 and not behind and shape[-3:-2] == [bands] else 0
        axes = "T" * (len(shape) - 2 - behind - before) + "S" * before + "YX" + "S" * behind
    known = [
        (axis if axis in "CZ" else "T", length) for axis, length in zip(axes, shape, strict=True) if axis not in "YXS"
    ]
    rate = float(said.get("fps") or 0)
    return Stated(tuple(reversed(known)), rate if rate > 0 else None)
