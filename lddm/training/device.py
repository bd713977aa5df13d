"""What of a data set lies on the device, and how the rest gets there without a wait."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

SHARE = 0.25  # of the free memory of a device that the frames of a data set may take
CHUNK = 1 << 26  # bytes that are read and copied at a time, so that the host never holds a whole data set


def fits(size: int, device: torch.device) -> bool:
    """Whether `size` bytes may stay on the device; never for a CPU, whose frames are mapped from disk."""
    return device.type == "cuda" and size <= SHARE * torch.cuda.mem_get_info(device)[0]


def pinned(values: Tensor | np.ndarray, device: torch.device) -> Tensor:
    """Values of the host as a tensor, in pinned memory where the device is a GPU: its copies need not be waited for."""
    tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    return tensor.pin_memory() if device.type == "cuda" and tensor.device.type == "cpu" else tensor


def to_device(values: Tensor | np.ndarray, device: torch.device) -> Tensor:
    """Values of the host on a device. The host does not wait, as it would with `Tensor.to` for all work of the GPU."""
    return pinned(values, device).to(device, non_blocking=True)


class DeviceFrames:
    """Frames of examples: each stored frame once on the device where they fit, else read by the host, batch by batch.

    Args:
        frames: stored frames uint8 (N, S, S), an array or `lddm.data.frames.ReducedFrames`.
        rows: which frames an example has, int64 (n, L).
        device: where they are used.
        resident: whether they stay there; default: if they fit.
    """

    def __init__(self, frames: Any, rows: np.ndarray, device: torch.device, resident: bool | None = None):
        self.frames, self.rows, self.device = frames, rows, device
        self._resident = resident

    def __len__(self) -> int:
        return len(self.rows)

    @functools.cached_property
    def _on_device(self) -> tuple[Tensor, Tensor] | None:
        """Frames uint8 (m, S, S) on the device, and where those of each example are, int64 (n, L)."""
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
        """Frames uint8 (B, L, S, S) of examples int64 (B,), all on the device; only of a resident set."""
        assert self._on_device is not None
        frames, places = self._on_device
        return frames[places[index]]

    def gather(self, index: np.ndarray) -> Tensor:
        """Frames uint8 (B, L, S, S) in the memory of the host, pinned where the device is a GPU; safe to call in a thread."""
        return pinned(np.ascontiguousarray(self.frames[self.rows[index]]), self.device)
