"""Fitting of frames into the model's square, and the mapping between frame and square pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class SquareFit:
    """Geometry of fitting a frame of H x W pixels into a square of S x S, with its aspect ratio preserved.

    Attributes:
        height, width: H and W.
        size: S.
        source: (top, left, height, width) of the visible part of the frame, in frame pixels.
        target: (top, left, height, width) of that part in the square, in square pixels.
    """

    height: int
    width: int
    size: int
    source: tuple[int, int, int, int]
    target: tuple[int, int, int, int]

    @classmethod
    def of(cls, shape: tuple[int, ...], size: int, fit: str) -> SquareFit:
        """Geometry for frames (..., H, W) with fit "pad" (whole frame with black borders) or "crop" (central square)."""
        height, width = shape[-2:]
        source = (0, 0, height, width)
        if fit == "crop":
            side = min(height, width)
            source = ((height - side) // 2, (width - side) // 2, side, side)
        scale = size / max(source[2:])
        inner = [max(1, round(length * scale)) for length in source[2:]]
        return cls(height, width, size, source, ((size - inner[0]) // 2, (size - inner[1]) // 2, inner[0], inner[1]))

    @property
    def scale(self) -> tuple[float, float]:
        """Frame pixels per square pixel, along rows and columns; they differ slightly because target sides are rounded."""
        return self.source[2] / self.target[2], self.source[3] / self.target[3]

    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """Position in the square of each frame row, float64 (H,), and of each frame column, (W,).

        In pixels from the centre of the first pixel; outside the square for parts that "crop" removes.
        """
        rows, columns = (
            (np.arange(length) + 0.5 - source) / scale + target - 0.5
            for length, source, scale, target in zip(
                (self.height, self.width), self.source, self.scale, self.target, strict=False
            )
        )
        return rows, columns


def fit_square(frames: np.ndarray, size: int, fit: str) -> np.ndarray:
    """Frames uint8 (T, H, W) -> (T, S, S), aspect ratio preserved: black borders ("pad") or central square ("crop").

    Downsampling averages areas to avoid aliasing of speckle; upsampling is bilinear.
    """
    if frames.shape[1:] == (size, size):
        return np.ascontiguousarray(frames)
    fitted = SquareFit.of(frames.shape, size, fit)
    top, left, height, width = fitted.source
    below, right, *inner = fitted.target
    method = cv2.INTER_AREA if size < max(height, width) else cv2.INTER_LINEAR
    out = np.zeros((len(frames), size, size), np.uint8)
    for target, frame in zip(out, frames[:, top : top + height, left : left + width], strict=True):
        shrunk = cv2.resize(frame, (inner[1], inner[0]), interpolation=method)  # OpenCV: (width, height)
        target[below : below + inner[0], right : right + inner[1]] = shrunk
    return out


def reduced(frames: np.ndarray, size: int) -> np.ndarray:
    """Downsample frames uint8 (..., k S, k S) -> (..., S, S): rounded means of k x k pixels."""
    if frames.shape[-1] == size:
        return frames
    times = frames.shape[-1] // size
    blocks = frames.reshape(*frames.shape[:-2], size, times, size, times)
    return ((blocks.sum(axis=(-3, -1), dtype=np.uint32) + times**2 // 2) // times**2).astype(np.uint8)
