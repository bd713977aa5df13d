"""Time: resampling to the target frame rate and cutting clips."""

from __future__ import annotations

import numpy as np

from lddm.settings.data import PreprocessSettings


def resample_indices(count: int, native_fps: float, fps: float) -> np.ndarray:
    """Which frames to keep so that they come at `fps`: the nearest in time; frames are never interpolated.

    A video that is slower than the target is kept as it is, since frames it does not have cannot be picked; its clips
    then cover more time (ASSUME: better than repeating frames, which would look frozen).

    Args:
        count: native frames.
        native_fps: Hz; NaN counts as the target.
        fps: target in Hz.

    Returns:
        int64 indices, ascending.
    """
    if not native_fps > fps:
        return np.arange(count)
    times = np.arange(int(np.floor((count - 1) / native_fps * fps + 1e-9)) + 1) / fps
    return np.minimum(np.round(times * native_fps).astype(np.int64), count - 1)


def clip_starts(count: int, settings: PreprocessSettings) -> list[int]:
    """First frames of the clips of a video of `count` resampled frames: every `clip_hop`, at most `max_clips`, spread."""
    starts = list(range(0, count - settings.clip_length, settings.clip_hop))
    if len(starts) <= settings.max_clips:
        return starts
    chosen = np.linspace(0, len(starts) - 1, settings.max_clips).round().astype(int)
    return [starts[i] for i in chosen]
