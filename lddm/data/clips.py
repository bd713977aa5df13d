"""Resampling to the target frame rate, and cutting of clips."""

from __future__ import annotations

import numpy as np

from lddm.io.recording import FrameRate, Recording
from lddm.settings.data import PreprocessSettings

SLOWER = 0.9  # share of the target rate below which a recording counts as slower
EXACT = 0.002  # relative tolerance for an integer ratio of rates (29.97 Hz counts as three times 10 Hz)
HELD = 2.0  # steps of the target rate; in a longer gap the nearest frame is held, since blending would superimpose two


def is_slower(native_fps: float, fps: float) -> bool:
    """Whether a recording has clearly fewer frames per second than the target; False if its rate is unknown."""
    return bool(native_fps < SLOWER * fps)


def sample_positions(times: np.ndarray, native_fps: float, fps: float) -> np.ndarray:
    """Positions in the recording of frames at `fps`, evenly spaced in time.

    For an integer ratio of the rates every k-th frame is taken, without interpolation. Otherwise positions are fractional:
    taking the nearest frame would give uneven steps (2, 3, 3, 2 frames from 25 to 10 Hz), i.e. motion that the tissue
    does not have. ASSUME: the paper does not state how its videos were resampled.

    Args:
        times: ascending times of the frames in s, (T,).
        native_fps: nominal rate in Hz.
        fps: target in Hz.

    Returns:
        float64 positions in [0, T - 1], ascending. All frames, if the rate is unknown or lower than the target.
    """
    count = len(times)
    everything = np.arange(count, dtype=np.float64)
    if count < 2 or not np.isfinite(native_fps) or is_slower(native_fps, fps):
        return everything
    even = np.ptp(np.diff(times)) < 1e-6
    ratio = native_fps / fps
    if even and round(ratio) >= 1 and abs(ratio - round(ratio)) <= EXACT * ratio:
        return everything[:: round(ratio)]
    wanted = np.arange(int(np.floor((times[-1] - times[0]) * fps + 1e-9)) + 1) / fps + times[0]
    if even:
        return np.minimum((wanted - times[0]) * native_fps, count - 1)
    positions = np.interp(wanted, times, everything)
    before = np.minimum(positions.astype(np.int64), count - 2)
    gap = times[before + 1] - times[before]
    return np.where(gap * fps > HELD, np.rint(positions), positions)


def resample_indices(count: int, native_fps: float, fps: float) -> np.ndarray:
    """Positions of the frames that resample a recording to `fps`.

    Args:
        count: number of native frames.
        native_fps: Hz. For a `FrameRate` with frame times, the nearest frames in time are returned, int64. For a number,
            evenly spaced positions as in `sample_positions`: int64 if all are integers, else float64.
        fps: target in Hz.
    """
    times = native_fps.times if isinstance(native_fps, FrameRate) else np.arange(count) / native_fps
    if len(times) != count:
        times = times[:count]
    if isinstance(native_fps, FrameRate) and count > 1 and native_fps > fps:
        wanted = np.arange(int(np.floor(times[-1] * fps + 1e-9)) + 1) / fps
        after = np.searchsorted(times, wanted).clip(1, count - 1)
        return np.where(wanted - times[after - 1] < times[after] - wanted, after - 1, after)
    positions = sample_positions(times, native_fps, fps)
    whole = positions.astype(np.int64)
    return whole if (whole == positions).all() else positions


def resample(recording: Recording, fps: float) -> np.ndarray:
    """Frames uint8 (N, H, W) at `fps`: unchanged at integer positions, otherwise blended from the two neighbours."""
    positions = sample_positions(recording.times, recording.fps, fps)
    before = positions.astype(np.int64)
    share = (positions - before).astype(np.float32)
    frames = recording.frames
    if not share.any():
        return frames if len(before) == len(frames) else frames[before]
    out = np.empty((len(before), *frames.shape[1:]), np.uint8)
    for target, place, weight in zip(out, before, share, strict=True):
        if weight < 1e-3 or place + 1 == len(frames):
            target[:] = frames[place]
        else:
            mixed = frames[place] * (1 - weight) + frames[place + 1] * weight
            target[:] = np.rint(mixed)
    return out


def clip_starts(count: int, settings: PreprocessSettings) -> list[int]:
    """First frames of the clips of a video of `count` resampled frames: every `clip_hop`, at most `max_clips` evenly spread."""
    starts = list(range(0, count - settings.clip_length, settings.clip_hop))
    if len(starts) <= settings.max_clips:
        return starts
    chosen = np.linspace(0, len(starts) - 1, settings.max_clips).round().astype(int)
    return [starts[i] for i in chosen]
