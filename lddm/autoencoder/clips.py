"""Clips of a store as batches: from the device where they fit, else from pinned memory that a thread fills beforehand."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lddm.autoencoder.measured import MeasuredMotion
from lddm.data.frames import FrameStore
from lddm.data.ranges import to_float
from lddm.motion.low_rank import MotionCode

Batch = tuple[Tensor, MotionCode | None]
SHARE = 0.25  # of the free memory of a device that the frames of a data set may take


def fits(size: int, device: torch.device) -> bool:
    """Whether `size` bytes may stay on the device; never for a CPU, whose frames are mapped from disk."""
    return device.type == "cuda" and size <= SHARE * torch.cuda.mem_get_info(device)[0]


@dataclass(frozen=True)
class HostBatch:
    """A batch in the memory of the host, pinned where the device is a GPU.

    Attributes:
        frames: uint8 (B, T + 1, S, S), as the clips run.
        motion: theirs.
        flipped: bool (B,), which of them are mirrored left to right, or None.
    """

    frames: Tensor
    motion: MotionCode | None
    flipped: Tensor | None


class ClipDataset:
    """Clips of a store with their measured motion, batch by batch.

    Args:
        store: frames at the size of the model.
        clips: rows of `fold_clips`.
        measured: the motion of these clips; None for a decoder without motion.
        device: of the batches.
    """

    def __init__(self, store: FrameStore, clips: pd.DataFrame, measured: MeasuredMotion | None, device: torch.device):
        self.store, self.clips, self.device = store, clips, device
        self._measured = measured
        self.motion = measured.of(clips) if measured else None

    @functools.cached_property
    def backward_motion(self) -> MotionCode | None:
        """Motion of the clips as they run backwards; most readers never ask for it."""
        return self._measured.of(self.clips, backward=True) if self._measured else None

    @functools.cached_property
    def _resident(self) -> tuple[Tensor, Tensor] | None:
        """Frames uint8 (N, S, S) on the device, each once, and where those of each clip are, int64 (n, T + 1)."""
        starts = self.clips["first_frame"].to_numpy(dtype=np.int64)
        rows = starts[:, None] + np.arange(self.store.clip_length + 1)
        used, places = np.unique(rows, return_inverse=True)
        if not fits(len(used) * self.store.size**2, self.device):
            return None
        frames = torch.from_numpy(np.ascontiguousarray(self.store.frames[used]))
        return frames.to(self.device), torch.from_numpy(places.reshape(rows.shape)).to(self.device)

    @functools.cached_property
    def _resident_motion(self) -> MotionCode | None:
        return self.motion.to(self.device) if self.motion is not None else None

    @functools.cached_property
    def _resident_backward_motion(self) -> MotionCode | None:
        return self.backward_motion.to(self.device) if self.backward_motion is not None else None

    @property
    def reads_ahead(self) -> bool:
        """Whether a thread had better read batches before they are asked for: the device waits for frames on disk."""
        return self.device.type == "cuda" and self._resident is None

    def __len__(self) -> int:
        return len(self.clips)

    def read(self, index: np.ndarray, flipped: np.ndarray | None = None, backward: np.ndarray | None = None) -> Batch:
        """Clips float (B, 1, T + 1, S, S) in [-1, 1] and their motion.

        Args:
            index: which clips, (B,).
            flipped: which of them are mirrored left to right, bool (B,).
            backward: which of them run backwards, bool (B,): x0 is their last frame.
        """
        if self._resident is not None:
            return self._read_resident(index, flipped, backward)
        return self.upload(self.gather(index, flipped, backward))

    def gather(self, index: np.ndarray, flipped: np.ndarray | None, backward: np.ndarray | None) -> HostBatch:
        """The part of `read` that the host does; safe to call in a thread."""
        frames = self.store.clip_frames(self.clips.iloc[index])
        motion = self.motion[index] if self.motion is not None else None
        if backward is not None:
            frames = np.where(backward[:, None, None, None], frames[:, ::-1], frames)
            if motion is not None and backward.any() and self.backward_motion is not None:  # measured if any run so
                motion = motion.mix(self.backward_motion[index], torch.from_numpy(backward))
        batch = HostBatch(torch.from_numpy(frames), motion, None if flipped is None else torch.from_numpy(flipped))
        return batch if self.device.type != "cuda" else _pinned(batch)

    def upload(self, batch: HostBatch) -> Batch:
        """The part of `read` that the device does."""
        motion = batch.motion.to(self.device) if batch.motion is not None else None
        frames = batch.frames.to(self.device, non_blocking=True)
        flipped = batch.flipped.to(self.device, non_blocking=True) if batch.flipped is not None else None
        return _mirrored(frames, motion, flipped)

    def _read_resident(self, index: np.ndarray, flipped: np.ndarray | None, backward: np.ndarray | None) -> Batch:
        """`read` from what is on the device; only the choice is uploaded, in one piece."""
        assert self._resident is not None
        frames, places = self._resident
        none = np.zeros(len(index), dtype=np.int64)
        choice = np.stack([index, none if flipped is None else flipped, none if backward is None else backward])
        chosen, mirror, reverse = torch.from_numpy(choice.astype(np.int64)).to(self.device)
        clips, motion = frames[places[chosen]], None
        if self._resident_motion is not None:
            motion = self._resident_motion[chosen]
        if backward is not None:
            clips = torch.where(reverse.bool()[:, None, None, None], clips.flip(1), clips)
            if motion is not None and backward.any() and self._resident_backward_motion is not None:
                motion = motion.mix(self._resident_backward_motion[chosen], reverse.bool())
        return _mirrored(clips, motion, None if flipped is None else mirror.bool())


def _pinned(batch: HostBatch) -> HostBatch:
    motion = batch.motion
    if motion is not None:
        motion = MotionCode(motion.maps.pin_memory(), motion.coefficients.pin_memory())
    return HostBatch(
        batch.frames.pin_memory(), motion, batch.flipped.pin_memory() if batch.flipped is not None else None
    )


def _mirrored(frames: Tensor, motion: MotionCode | None, flipped: Tensor | None) -> Batch:
    """uint8 (B, T + 1, S, S) -> float (B, 1, T + 1, S, S) in [-1, 1], mirrored with its motion where `flipped`."""
    video = to_float(frames)[:, None]
    if flipped is not None:
        video = torch.where(flipped[:, None, None, None, None], video.flip(-1), video)
        motion = motion.flip(flipped) if motion is not None else None
    return video, motion
