"""The two value ranges: uint8 [0, 255] on disk, float32 [-1, 1] in networks."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch

Array = TypeVar("Array", np.ndarray, torch.Tensor)


def to_float(pixels: Array) -> Array:
    """uint8 [0, 255] -> float32 [-1, 1]; 0 -> -1, 255 -> 1."""
    floats = pixels.astype(np.float32) if isinstance(pixels, np.ndarray) else pixels.float()
    return floats / 127.5 - 1


def to_uint8(values: Array) -> Array:
    """float [-1, 1] -> uint8, rounded and clipped: the exact inverse of `to_float`."""
    if isinstance(values, np.ndarray):
        return np.clip(np.rint((values + 1) * 127.5), 0, 255).astype(np.uint8)
    return ((values + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
