"""First frames x0 of a latent set: stored once as uint8, mirrored and converted per batch."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lddm.data.ranges import to_float
from lddm.training.device import DeviceFrames, to_device


class Stills:
    """x0 of the entries of a latent set, indexed like a tensor float (n, 1, S, S).

    Mirrored and time-reversed entries share frames, which takes a sixteenth of the memory of float32 copies. Frames are kept
    on the device if they fit (`lddm.training.device.fits`) and always in memory on a CPU; otherwise each batch is read
    from disk.

    Args:
        frames: stored frames uint8 (N, S, S).
        rows: int64 (n,), frame index of each entry.
        flipped: bool (n,), entries mirrored left to right.
        device: device of the returned batches.
    """

    def __init__(self, frames: Any, rows: np.ndarray, flipped: Tensor, device: torch.device):
        self.device = device
        self._frames = DeviceFrames(frames, rows[:, None], device, resident=True if device.type == "cpu" else None)
        self._flipped, self._flipped_on_host = flipped.to(device), flipped

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def resident(self) -> bool:
        """Whether all frames are on the device; if not, a batch is read by `gather` and `upload`."""
        return self._frames.resident

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """Read entries by int64 (B,) indices or a slice: float (B, 1, S, S) in [-1, 1], on the device."""
        if isinstance(index, slice):
            index = torch.arange(*index.indices(len(self)))
        if not self.resident:
            return self.upload(self.gather(index.cpu().numpy()))
        index = index.to(self.device)
        return _mirrored(self._frames.read(index), self._flipped[index])

    def gather(self, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """Host part of a read: frames uint8 (B, 1, S, S) of entries (B,), and their mirror flags. Thread-safe."""
        return self._frames.gather(index), self._flipped_on_host[torch.from_numpy(index)]

    def upload(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Device part of a read: float (B, 1, S, S)."""
        return _mirrored(*(to_device(part, self.device) for part in batch))


def _mirrored(frames: Tensor, flipped: Tensor) -> Tensor:
    x0 = to_float(frames)
    return torch.where(flipped[:, None, None, None], x0.flip(-1), x0)


def frames_hash(frames: Any, rows: np.ndarray, chunk: int = 1024) -> str:
    """SHA-256 of the stored frames uint8 (N, S, S) selected by rows int64 (n,)."""
    digest = hashlib.sha256(f"{frames.shape[1:]} {len(rows)}".encode())
    for start in range(0, len(rows), chunk):
        digest.update(np.ascontiguousarray(frames[rows[start : start + chunk]]).data)
    return digest.hexdigest()
