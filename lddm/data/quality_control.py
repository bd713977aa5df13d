"""Exclusion criteria for files and clips; each reason includes the measured value."""

from __future__ import annotations

import cv2
import numpy as np

from lddm.data.clips import is_slower
from lddm.settings.data import PreprocessSettings

FLAT = 1.0  # standard deviation of grey levels below which a frame counts as uniform
FADED = 0.25  # share of the median contrast below which a frame at either end is part of a fade
CELLS = 8  # side of the grid on which two frames are compared


def file_reason(frames: np.ndarray, kind: str, settings: PreprocessSettings) -> str | None:
    """Why a decoded file is excluded, or None.

    Args:
        frames: uint8 (T, H, W), native size.
        kind: "video" or "image".
    """
    side = min(frames.shape[1:])
    if side < settings.min_side:
        return f"too small: shorter side {side} px, expected at least {settings.min_side}"
    if kind == "video" and len(frames) < 2:
        return "a video of one frame"
    brightness = float(frames[:: max(1, len(frames) // 16)].mean())
    if brightness < settings.min_brightness:
        return f"black: mean grey level {brightness:.2f}, expected at least {settings.min_brightness:g}"
    contrast = max(float(frame.std()) for frame in frames[:: max(1, len(frames) // 16)])
    if contrast < FLAT:
        return f"uniform: grey levels have a standard deviation of only {contrast:.2f}"
    return None


def picture_range(frames: np.ndarray, settings: PreprocessSettings) -> tuple[int, int]:
    """First frame, and one past the last, after removing black or uniform frames at either end, e.g. of a fade-in.

    A frame counts as uniform if its contrast (standard deviation of grey levels) is below 1 or a quarter of the median.

    Args:
        frames: uint8 (T, H, W).
    """
    sample = frames[:: max(1, len(frames) // 16)]
    least = max(FLAT, FADED * float(np.median([frame.std() for frame in sample])))

    def shown(place: int) -> bool:
        return bool(frames[place].std() >= least and frames[place].mean() >= settings.min_brightness)

    first = next((place for place in range(len(frames)) if shown(place)), None)
    if first is None:
        return 0, len(frames)
    last = next(place for place in reversed(range(len(frames))) if shown(place))
    return first, last + 1


def rate_reason(fps: float, settings: PreprocessSettings) -> str | None:
    """Why a video is excluded for its frame rate, or None.

    Missing frames of a slower video cannot be recovered, and treating it as faster would speed up its motion.

    Args:
        fps: nominal native rate in Hz; NaN = unknown.
    """
    if settings.allow_slower or not is_slower(fps, settings.fps):
        return None
    return f"slower: {fps:.3g} Hz, preprocess.fps is {settings.fps:g} Hz"


def length_reason(stored: int, settings: PreprocessSettings) -> str | None:
    """Why a resampled video is excluded, or None."""
    if stored < settings.clip_length + 1:
        return f"too short: {stored} frames at {settings.fps:g} Hz, a clip has {settings.clip_length + 1}"
    return None


def clip_reason(steps: np.ndarray, views: np.ndarray, settings: PreprocessSettings) -> str | None:
    """Why a clip is excluded, or None.

    Clips with scene cuts or large probe motion are excluded, because their later frames cannot be predicted from x0.

    Args:
        steps: mean absolute differences of consecutive frames, share of the grey-level range, float (T,).
        views: `frame_views` of its frames, float (T + 1, D).
    """
    likeness = views @ views.T
    nearest, farthest = float(np.diagonal(likeness, 1).min()), float(likeness.min())
    if nearest < settings.scene_cut_correlation:
        return f"scene cut: correlation of consecutive frames {nearest:.2f}, expected at least {settings.scene_cut_correlation:g}"
    if farthest < settings.view_change_correlation:
        return f"another view: correlation of two frames {farthest:.2f}, expected at least {settings.view_change_correlation:g}"
    mean = float(steps.mean())
    if mean < settings.frozen_threshold:
        return f"frozen: frames differ by {mean:.5f} of the range, expected at least {settings.frozen_threshold:g}"
    still = float((steps < settings.frozen_threshold).mean())
    if still > 0.5:
        return f"frozen: {100 * still:.0f} % of its frames repeat the previous one"
    return None


def frame_steps(frames: np.ndarray) -> np.ndarray:
    """Mean absolute difference of consecutive frames, share of the grey-level range: float32 (T - 1,)."""
    steps = [np.abs(b.astype(np.int16) - a).mean() / 255 for a, b in zip(frames, frames[1:], strict=False)]
    return np.array(steps, dtype=np.float32)


def frame_views(frames: np.ndarray) -> np.ndarray:
    """Coarse content of each frame: unit vectors whose dot product is the correlation of two frames (1 = identical).

    The correlation is computed on grey levels averaged over a grid of cells, so that speckle and gain hardly affect it.

    Args:
        frames: uint8 (T, S, S).

    Returns:
        float32 (T, CELLS * CELLS + 1).
    """
    cells = (CELLS, CELLS)
    small = [cv2.resize(frame.astype(np.float32), cells, interpolation=cv2.INTER_AREA).ravel() for frame in frames]
    flat = np.stack(small)  # (T, CELLS * CELLS)
    # A small constant component: two uniform frames correlate, a uniform frame and an image do not.
    views = np.pad(flat - flat.mean(axis=1, keepdims=True), ((0, 0), (0, 1)), constant_values=1.0)
    return views / np.linalg.norm(views, axis=1, keepdims=True)
