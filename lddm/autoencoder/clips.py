"""Batches of clips of a store: from device memory if they fit, else from pinned memory that a thread fills in advance."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lddm.autoencoder.measured import MeasuredMotion
from lddm.data.frames import FrameStore
from lddm.data.ranges import to_float
from lddm.motion.field_of_view import view_of_spans
from lddm.motion.low_rank import MotionCode
from lddm.training.device import DeviceFrames, pinned, to_device


class Batch(NamedTuple):
    """Clips on the device.

    Attributes:
        video: float (B, 1, T + 1, S, S) in [-1, 1], x0 first.
        motion: measured motion of the clips, for a decoder that warps x0.
        fov_mask: bool (B, 1, S, S), the field of view of x0, if it was measured with the motion.
    """

    video: Tensor
    motion: MotionCode | None
    fov_mask: Tensor | None


@dataclass(frozen=True)
class HostBatch:
    """A batch in host memory, pinned if the device is a GPU.

    Attributes:
        choice: int64 (3, B): clip indices, mirror flags, and time-reversal flags.
        mirrors, reverses: whether any clip may be mirrored, and whether any is time-reversed.
        frames: uint8 (B, T + 1, S, S), as stored; None if they are on the device.
    """

    choice: Tensor
    mirrors: bool
    reverses: bool
    frames: Tensor | None


class ClipDataset:
    """Clips of a store with their measured motion, batch by batch.

    Args:
        store: frames at the size of the model.
        clips: rows of `fold_clips`.
        measured: the motion of these clips; None for a decoder without motion.
        device: device of the batches.
    """

    def __init__(self, store: FrameStore, clips: pd.DataFrame, measured: MeasuredMotion | None, device: torch.device):
        self.store, self.clips, self.device = store, clips, device
        self._measured = measured
        self.motion = measured.of(clips) if measured else None
        starts = clips["first_frame"].to_numpy(dtype=np.int64)
        self.frames = DeviceFrames(store.frames, starts[:, None] + np.arange(store.clip_length + 1), device)

    @functools.cached_property
    def backward_motion(self) -> MotionCode | None:
        """Motion of the time-reversed clips, computed on first use."""
        return self._measured.of(self.clips, backward=True) if self._measured else None

    @functools.cached_property
    def _motion_there(self) -> MotionCode | None:
        return self.motion.to(self.device) if self.motion is not None else None

    @functools.cached_property
    def _backward_motion_there(self) -> MotionCode | None:
        return self.backward_motion.to(self.device) if self.backward_motion is not None else None

    @functools.cached_property
    def _views(self) -> Tensor | None:
        """Field-of-view spans of x0 on the device, int16 (directions, n, 2, S, 2): per direction, original and mirrored."""
        if self._measured is None:
            return None
        views = [self._measured.views_of(self.clips, backward) for backward in (False, True)]
        known = [view for view in views if view is not None]
        return torch.stack(known).to(self.device) if views[0] is not None else None

    @property
    def reads_ahead(self) -> bool:
        """Whether batches should be prefetched in a thread, because frames are read from disk."""
        return self.device.type == "cuda" and not self.frames.resident

    def __len__(self) -> int:
        return len(self.clips)

    def read(self, index: np.ndarray, flipped: np.ndarray | None = None, backward: np.ndarray | None = None) -> Batch:
        """Read clips with their motion and field-of-view masks.

        Args:
            index: clip indices, (B,).
            flipped: bool (B,), clips to mirror left to right.
            backward: bool (B,), clips to reverse in time; x0 is then their last frame.
        """
        return self.upload(self.gather(index, flipped, backward))

    def gather(self, index: np.ndarray, flipped: np.ndarray | None, backward: np.ndarray | None) -> HostBatch:
        """Host part of `read`. Thread-safe."""
        none = np.zeros(len(index), dtype=np.int64)
        choice = np.stack([index, none if flipped is None else flipped, none if backward is None else backward])
        frames = None if self.frames.resident else self.frames.gather(index)
        reverses = backward is not None and bool(backward.any())
        return HostBatch(pinned(choice.astype(np.int64), self.device), flipped is not None, reverses, frames)

    def upload(self, batch: HostBatch) -> Batch:
        """Device part of `read`, asynchronous to the host."""
        chosen, mirrored, reverse = to_device(batch.choice, self.device)
        frames = self.frames.read(chosen) if batch.frames is None else to_device(batch.frames, self.device)
        motion = self._motion_there[chosen] if self._motion_there is not None else None
        if batch.reverses:
            frames = torch.where(reverse.bool()[:, None, None, None], frames.flip(1), frames)
            # measured if training uses time reversal
            if motion is not None and self._backward_motion_there is not None:
                motion = motion.mix(self._backward_motion_there[chosen], reverse.bool())
        video = to_float(frames)[:, None]
        if batch.mirrors:
            video = torch.where(mirrored.bool()[:, None, None, None, None], video.flip(-1), video)
            motion = motion.flip(mirrored.bool()) if motion is not None else None
        return Batch(video, motion, self._fov_mask(chosen, mirrored, reverse, batch.reverses))

    def _fov_mask(self, chosen: Tensor, mirrored: Tensor, reverse: Tensor, reverses: bool) -> Tensor | None:
        if self._views is None or (reverses and len(self._views) < 2):
            return None
        return view_of_spans(self._views[reverse, chosen, mirrored], self.store.size)
