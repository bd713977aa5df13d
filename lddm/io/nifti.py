"""NIfTI-1 files (.nii, .nii.gz) of grey sequences: a plain header of 348 bytes and the values (nifti.nimh.nih.gov)."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from lddm.io.recording import UnreadableFile, check_size, square_pixels, to_eight_bits

HEADER = 348
TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
UNITS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # of lengths -> mm; an unstated one is taken for mm


def read_nifti(path: Path, max_frames: int) -> tuple[np.ndarray, tuple[float, float]]:
    """Frames uint8 (T, H, W) with square pixels, and the (row, column) distance of two of them in mm.

    The first axis of the file is a column of the image (x), the second a row (y), the third time. Values of 0 to 255 are kept,
    others scaled as `lddm.io.recording.to_eight_bits`.

    Raises:
        UnreadableFile: not a NIfTI-1 file of two or three dimensions, or cut off.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableFile(f"{path.name} cannot be unpacked: {error}", "copy the file again") from error
    if len(content) < HEADER or content[344:347] not in (b"n+1", b"ni1"):
        raise UnreadableFile(f"{path.name} is not a NIfTI-1 file", "copy the file again")
    order = "<" if struct.unpack("<i", content[:4])[0] == HEADER else ">"
    dims = struct.unpack(f"{order}8h", content[40:56])
    kind, offset = struct.unpack(f"{order}h", content[70:72])[0], int(struct.unpack(f"{order}f", content[108:112])[0])
    pixdim = struct.unpack(f"{order}8f", content[76:108])
    shape = tuple(dims[1 : 1 + dims[0]])
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (2, 3) or min(shape) < 1 or kind not in TYPES:
        raise UnreadableFile(
            f"{path.name}: expected grey frames over time, got shape {shape} of type {kind}", "check the file"
        )
    check_size(path.name, shape[0], shape[1])
    count = int(np.prod(shape))
    dtype = np.dtype(order + TYPES[kind])
    if offset < HEADER or len(content) < offset + count * dtype.itemsize:
        raise UnreadableFile(f"{path.name} is cut off", "copy the file again")
    values = np.frombuffer(content, dtype, count, offset).reshape(*shape[:2], -1, order="F")  # (W, H, T)
    values = values.transpose(2, 1, 0)[:max_frames]
    if dtype.kind == "f":
        values = np.rint(values)
    if values.min() < 0:
        raise UnreadableFile(f"{path.name} has negative values", "check the file")
    grey = values.astype(np.uint8) if values.max() <= 255 else to_eight_bits(values.astype(np.uint32))[0]
    unit = UNITS.get(content[123] & 7, 1.0)
    across, down = (abs(float(size)) * unit or 1.0 for size in pixdim[1:3])
    frames = square_pixels(grey, down / across)
    return frames, (down * grey.shape[1] / frames.shape[1], across * grey.shape[2] / frames.shape[2])
