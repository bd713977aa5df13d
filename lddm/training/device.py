"""Placement of a data set on the device, and asynchronous transfer of the rest."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

SHARE = 0.25  # largest share of the free memory of a device for the frames of a data set
CHUNK = 1 << 26  # bytes read and copied at a time, so that the host never holds the whole data set


def fits(size: int, device: torch.device) -> bool:
    """Whether `size` bytes may stay on the device; always False for a CPU, whose frames are memory-mapped from disk."""
    return device.type == "cuda" and size <= SHARE * torch.cuda.mem_get_info(device)[0]


def pinned(values: Tensor | np.ndarray, device: torch.device) -> Tensor:
    """Convert host values to a tensor, in pinned memory if the device is a GPU, so that copies are asynchronous."""
    tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    return tensor.pin_memory() if device.type == "cuda" and tensor.device.type == "cpu" else tensor


def to_device(values: Tensor | np.ndarray, device: torch.device) -> Tensor:
    """Copy host values to a device asynchronously; a plain `Tensor.to` would wait for all queued work of the GPU."""
    return pinned(values, device).to(device, non_blocking=True)


class DeviceFrames:
    """Frames of examples. Each stored frame is kept once on the device if all fit; otherwise the host reads them batch by batch.

    Args:
        frames: stored frames uint8 (N, S, S), an array or `lddm.data.frames.ReducedFrames`.
        rows: int64 (n, L), frame indices of each example.
        device: device of the batches.
        resident: whether all frames are kept on the device; default: if they fit.
    """

    def __init__(self, frames: Any, rows: np.ndarray, device: torch.device, resident: bool | None = None):
        self.frames, self.rows, self.device = frames, rows, device
        self._resident = resident

    def __len__(self) -> int:
        return len(self.rows)

    @functools.cached_property
    def _on_device(self) -> tuple[Tensor, Tensor] | None:
        """Frames uint8 (m, S, S) on the device, and the indices int64 (n, L) of the frames of each example."""
        used, places = np.unique(self.rows, return_inverse=True)
        size = len(used) * int(np.prod(self.frames.shape[1:]))
        if not (fits(size, self.device) if self._resident is None else self._resident):
            return None
        return self._upload(used), torch.from_numpy(places.reshape(self.rows.shape)).to(self.device)

    def _upload(self, used: np.ndarray) -> Tensor:
        shape = self.frames.shape[1:]
        frames = torch.empty((len(used), *shape), dtype=torch.uint8, device=self.device)
        count = max(1, CHUNK // int(np.prod(shape)))
        for start in range(0, len(used), count):
            part = torch.from_numpy(np.ascontiguousarray(self.frames[used[start : start + count]]))
            frames[start : start + count].copy_(part)
        return frames

    @property
    def resident(self) -> bool:
        """Whether all frames are on the device."""
        return self._on_device is not None

    def read(self, index: Tensor) -> Tensor:
        """Frames uint8 (B, L, S, S) of examples int64 (B,), all on the device; only for a resident set."""
        assert self._on_device is not None
        frames, places = self._on_device
        return frames[places[index]]

    def gather(self, index: np.ndarray) -> Tensor:
        """Frames uint8 (B, L, S, S) in host memory, pinned if the device is a GPU. Thread-safe."""
        return pinned(np.ascontiguousarray(self.frames[self.rows[index]]), self.device)
