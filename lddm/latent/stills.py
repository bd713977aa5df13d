"""The x0 of latents: each stored frame once as uint8, mirrored and converted when a batch is read."""

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

    Mirrored and reversed entries share frames, so that the memory is a sixteenth of that of float32 copies. They stay on the
    device where they fit (`lddm.training.device.fits`) and in the memory of a CPU; otherwise each batch is read from disk.

    Args:
        frames: stored frames uint8 (N, S, S).
        rows: which of them the entries are, int64 (n,).
        flipped: bool (n,), which are mirrored left to right.
        device: where they are used.
    """

    def __init__(self, frames: Any, rows: np.ndarray, flipped: Tensor, device: torch.device):
        self.device = device
        self._frames = DeviceFrames(frames, rows[:, None], device, resident=True if device.type == "cpu" else None)
        self._flipped, self._flipped_on_host = flipped.to(device), flipped

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def resident(self) -> bool:
        """Whether all are on the device; else `gather` and `upload` are the two parts of reading a batch."""
        return self._frames.resident

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """Entries int64 (B,) or a slice of them: float (B, 1, S, S) in [-1, 1], on the device."""
        if isinstance(index, slice):
            index = torch.arange(*index.indices(len(self)))
        if not self.resident:
            return self.upload(self.gather(index.cpu().numpy()))
        index = index.to(self.device)
        return _mirrored(self._frames.read(index), self._flipped[index])

    def gather(self, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """What the host reads of entries (B,): frames uint8 (B, 1, S, S) and which are mirrored; safe to call in a thread."""
        return self._frames.gather(index), self._flipped_on_host[torch.from_numpy(index)]

    def upload(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """What the device makes of it: float (B, 1, S, S)."""
        return _mirrored(*(to_device(part, self.device) for part in batch))


def _mirrored(frames: Tensor, flipped: Tensor) -> Tensor:
    x0 = to_float(frames)
    return torch.where(flipped[:, None, None, None], x0.flip(-1), x0)


def frames_hash(frames: Any, rows: np.ndarray, chunk: int = 1024) -> str:
    """SHA-256 of stored frames uint8 (N, S, S), as the rows int64 (n,) name them."""
    digest = hashlib.sha256(f"{frames.shape[1:]} {len(rows)}".encode())
    for start in range(0, len(rows), chunk):
        digest.update(np.ascontiguousarray(frames[rows[start : start + chunk]]).data)
    return digest.hexdigest()
