"""Reader of grey-level sequences in NIfTI-1 (.nii, .nii.gz): a header of 348 bytes, then values (nifti.nimh.nih.gov)."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from lddm.io.recording import UnreadableFile, check_size, square_pixels, to_eight_bits

HEADER = 348
LARGEST_GAP = 2**24  # bytes of extensions between header and values
TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
UNITS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # unit of length -> mm; mm is assumed if not stated


def read_nifti(path: Path, max_frames: int) -> tuple[np.ndarray, tuple[float, float]]:
    """Frames uint8 (T, H, W) with square pixels, and their (row, column) spacing in mm.

    The axes of the file are columns of the image (x), rows (y) and time. Values of 0 to 255 are kept, others are scaled by
    `lddm.io.recording.to_eight_bits`.

    Raises:
        UnreadableFile: not a NIfTI-1 file of two or three dimensions, or truncated.
    """
    try:
        # Read in pieces, because a small archive may decompress to any size.
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            return _read(path.name, file, max_frames)
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableFile(f"{path.name} cannot be decompressed: {error}", "copy the file again") from error


def _read(name: str, file: Any, max_frames: int) -> tuple[np.ndarray, tuple[float, float]]:
    header = file.read(HEADER)
    if len(header) < HEADER or header[344:347] not in (b"n+1", b"ni1"):
        raise UnreadableFile(f"{name} is not a NIfTI-1 file", "copy the file again")
    order = "<" if struct.unpack("<i", header[:4])[0] == HEADER else ">"
    dims = struct.unpack(f"{order}8h", header[40:56])
    kind, offset = struct.unpack(f"{order}h", header[70:72])[0], struct.unpack(f"{order}f", header[108:112])[0]
    pixdim = struct.unpack(f"{order}8f", header[76:108])
    if not all(map(math.isfinite, (offset, *pixdim[1:3]))):
        raise UnreadableFile(f"{name}: the header contains sizes that are not finite", "copy the file again")
    shape = tuple(dims[1 : 1 + dims[0]])
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (2, 3) or min(shape) < 1 or kind not in TYPES:
        raise UnreadableFile(
            f"{name}: expected grey frames over time, got shape {shape} of type {kind}", "check the file"
        )
    check_size(name, shape[0], shape[1])
    frames = min(max_frames, shape[2] if len(shape) == 3 else 1)
    dtype = np.dtype(order + TYPES[kind])
    count = shape[0] * shape[1] * frames
    gap = int(offset) - HEADER
    if not 0 <= gap <= LARGEST_GAP or len(file.read(gap)) < gap:
        raise UnreadableFile(f"{name} is truncated", "copy the file again")
    content = file.read(count * dtype.itemsize)
    if len(content) < count * dtype.itemsize:
        raise UnreadableFile(f"{name} is truncated", "copy the file again")
    values = (
        np.frombuffer(content, dtype).reshape(shape[0], shape[1], frames, order="F").transpose(2, 1, 0)
    )  # (T, H, W)
    if dtype.kind == "f":
        values = np.rint(values)
    if values.min() < 0:
        raise UnreadableFile(f"{name} has negative values", "check the file")
    grey = values.astype(np.uint8) if values.max() <= 255 else to_eight_bits(values.astype(np.uint32))[0]
    unit = UNITS.get(header[123] & 7, 1.0)
    across, down = (abs(float(size)) * unit or 1.0 for size in pixdim[1:3])
    square = square_pixels(grey, down / across)
    return square, (down * grey.shape[1] / square.shape[1], across * grey.shape[2] / square.shape[2])
