"""Decoded recording: grey frames, the time of each frame, geometry, and assumptions made while reading."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from lddm.errors import LddmError

MAX_PIXELS = 4096 * 4096  # a larger declared frame size indicates a damaged or malicious header
MAX_BYTES = 2 * 2**30  # decoded frames of one file; max_frames large frames would not fit in memory
MAX_ASPECT = 8.0  # pixel aspect ratios beyond 8:1 are damaged headers
SQUARE = 0.01  # pixels whose height and width differ by less count as square


class UnreadableFile(LddmError):
    """A file cannot be decoded; the index excludes it with this reason."""


def without_folder(error: Exception, path: Path) -> str:
    """The message of an error without the folder of the file, because reasons are stored in results that may be shared."""
    text = getattr(error, "strerror", None) or str(error)
    return text.replace(str(path), path.name).replace(str(path.resolve()), path.name)


class FrameRate(float):
    """Nominal frame rate in Hz (NaN if unknown), with the time of each frame in seconds, float64 (T,), as an attribute."""

    times: np.ndarray

    def __new__(cls, rate: float, times: np.ndarray) -> FrameRate:
        value = super().__new__(cls, rate)
        value.times = times
        return value


@dataclass(frozen=True)
class Recording:
    """One decoded file.

    Attributes:
        frames: uint8 (T, H, W), grey levels 0-255, square pixels, upright.
        times: time of each frame in s, float64 (T,), ascending from 0; NaN if the file does not state any.
        fps: nominal native frame rate in Hz; NaN for a still or if the file does not state any.
        region: (top, bottom, left, right) in pixels of the part cropped from the stored frame, or None.
        spacing: (row, column) pixel spacing of `frames` in mm, or None if unknown.
        aspect: height / width of a stored pixel, before conversion to square pixels.
        orientation: the EXIF orientation that was applied (1 = none, 2-8).
        colour: whether parts of the frames are coloured, e.g. colour Doppler. They were converted to luminance.
        notes: assumptions and dropped parts, one short sentence each.
    """

    frames: np.ndarray
    times: np.ndarray
    fps: float = float("nan")
    region: tuple[int, int, int, int] | None = None
    spacing: tuple[float, float] | None = None
    aspect: float = 1.0
    orientation: int = 1
    colour: bool = False
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def still(cls, frame: np.ndarray, **values) -> Recording:
        """One image, uint8 (H, W)."""
        return cls(frame[None], np.zeros(1), **values)

    @classmethod
    def steady(cls, frames: np.ndarray, fps: float, **values) -> Recording:
        """Frames uint8 (T, H, W) at a constant rate in Hz; NaN if it is unknown."""
        return cls(frames, np.arange(len(frames)) / fps, fps, **values)

    @property
    def rate(self) -> FrameRate:
        """The nominal rate with the frame times."""
        return FrameRate(self.fps, self.times)

    def noted(self, *notes: str) -> Recording:
        """A copy with additional notes."""
        return replace(self, notes=(*self.notes, *notes))

    def assume_rate(self, fps: float) -> Recording:
        """Use a configured rate in Hz if the file states none, with a note; a still is returned unchanged."""
        if len(self.frames) < 2 or np.isfinite(self.fps):
            return self
        known = replace(self, fps=fps, times=np.arange(len(self.frames)) / fps)
        return known.noted(f"frame rate assumed: {fps:g} Hz")

    def part(self, first: int, last: int) -> Recording:
        """Frames first to last - 1, with times starting at 0."""
        times = self.times[first:last]
        return replace(self, frames=self.frames[first:last], times=times - times[:1])


class FrameBuffer:
    """Buffer for frames (H, W) of one size and type, collected as (T, H, W) in memory that grows in place.

    Stacking a list of frames at the end would need twice the memory, because freed frames are not always returned to the
    system.
    """

    def __init__(self) -> None:
        self.memory = bytearray()
        self.shape: tuple[int, ...] = ()
        self.dtype: np.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        size = self.dtype.itemsize * int(np.prod(self.shape)) if self.shape else 0
        return len(self.memory) // size if size else 0

    def append(self, frame: np.ndarray) -> bool:
        """Add a frame; returns False if it differs from the first one in size or type."""
        if not self.shape:
            self.shape, self.dtype = frame.shape, frame.dtype
        if frame.shape != self.shape or frame.dtype != self.dtype:
            return False
        self.memory += np.ascontiguousarray(frame).data.cast("B")
        return True

    def append_deep(self, frame: np.ndarray) -> bool:
        """As `append`, but a mix of 8-bit and 16-bit frames becomes 16-bit: some writers store dark frames with 8 bits."""
        if self.shape and {frame.dtype, self.dtype} == {np.dtype(np.uint8), np.dtype(np.uint16)}:
            if frame.dtype == np.uint8:
                frame = frame.astype(np.uint16) * 257
            else:
                self.memory = bytearray((self.array().astype(np.uint16) * 257).tobytes())
                self.dtype = np.dtype(np.uint16)
        return self.append(frame)

    def array(self) -> np.ndarray:
        """The frames (T, H, W), without a copy; no frame may be added afterwards."""
        return np.frombuffer(self.memory, self.dtype).reshape(-1, *self.shape)


def check_size(name: str, width: int, height: int) -> None:
    """Raise UnreadableFile if a declared frame size is absurd."""
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise UnreadableFile(f"{name} declares frames of {width} x {height} pixels", "check the file's header")


def square_pixels(frames: np.ndarray, aspect: float) -> np.ndarray:
    """Resample frames uint8 (T, H, W), whose pixels are `aspect` times as high as wide, to square pixels.

    The shorter direction is upsampled to preserve detail; if that would exceed `MAX_BYTES`, the other is downsampled.
    """
    if not 1 / MAX_ASPECT <= aspect <= MAX_ASPECT or abs(aspect - 1) < SQUARE:
        return frames
    count, height, width = frames.shape
    size = (width, round(height * aspect)) if aspect > 1 else (round(width / aspect), height)
    if count * size[0] * size[1] > MAX_BYTES or size[0] * size[1] > MAX_PIXELS:
        size = (max(1, round(width / aspect)), height) if aspect > 1 else (width, max(1, round(height * aspect)))
    out = np.empty((count, size[1], size[0]), np.uint8)
    for target, frame in zip(out, frames, strict=True):
        target[:] = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
    return out


# EXIF orientation -> transform that makes stored frames upright (CIPA DC-008, 4.6.4 A).
UPRIGHT = {
    1: lambda f: f,
    2: lambda f: f[:, :, ::-1],
    3: lambda f: f[:, ::-1, ::-1],
    4: lambda f: f[:, ::-1],
    5: lambda f: f.transpose(0, 2, 1),
    6: lambda f: np.rot90(f, -1, (1, 2)),
    7: lambda f: f[:, ::-1, ::-1].transpose(0, 2, 1),
    8: lambda f: np.rot90(f, 1, (1, 2)),
}


def upright(frames: np.ndarray, orientation: int) -> np.ndarray:
    """Rotate or mirror frames (T, H, W) according to an EXIF orientation (1-8)."""
    return UPRIGHT.get(orientation, UPRIGHT[1])(frames)


def to_eight_bits(values: np.ndarray, bits: int | None = None) -> tuple[np.ndarray, str | None]:
    """Map unsigned grey values of more than 8 bits to 0-255, with one scale for all frames.

    16-bit values are divided by 257, so that an image has the same grey levels with 8 and 16 bits. Files often store 8 or
    12 bits in 16 without stating it: values up to 255 are kept, and values up to 4095 count as 12-bit.

    Args:
        values: non-negative integers, any shape.
        bits: stated bit depth; None or 16 = inferred from the values as above.

    Returns:
        uint8 values of the same shape, and a note if the bit depth was assumed.
    """
    note = None
    if bits is None or bits >= 16:
        highest = int(values.max()) if values.size else 0
        bits = 8 if highest <= 255 else 12 if highest <= 4095 else 16
        note = f"no value exceeds {highest}: read as {bits}-bit grey levels" if bits < 16 else None
    top = 2**bits - 1
    scaled = np.empty(values.shape, np.uint8)
    for place in np.ndindex(values.shape[:-2]):
        scaled[place] = np.clip(np.rint(values[place] * (255 / top)), 0, 255)
    return scaled, note


def is_coloured(rgb: np.ndarray) -> bool:
    """Whether more than 0.5 % of the pixels of an RGB frame uint8 (H, W, 3) have a clear hue."""
    small = rgb[::2, ::2].astype(np.int16)
    return bool(((small.max(axis=-1) - small.min(axis=-1)) > 48).mean() > 0.005)
