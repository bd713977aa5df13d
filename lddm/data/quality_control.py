"""What is no usable ultrasound: reasons to leave out a file or a clip, each with the measured value."""

from __future__ import annotations

import numpy as np

from lddm.settings.data import PreprocessSettings


def file_reason(frames: np.ndarray, kind: str, settings: PreprocessSettings) -> str | None:
    """Why a decoded file is left out, or None.

    Args:
        frames: uint8 (T, H, W), native size.
        kind: "video" or "image".
    """
    side = min(frames.shape[1:])
    if side < settings.min_side:
        return f"too small: shorter side {side} px, at least {settings.min_side} wanted"
    if kind == "video" and len(frames) < 2:
        return "a video of one frame"
    brightness = float(frames[:: max(1, len(frames) // 16)].mean())
    if brightness < settings.min_brightness:
        return f"black: mean grey level {brightness:.2f}, at least {settings.min_brightness:g} wanted"
    contrast = float(frames[0].std())
    if contrast < 1:
        return f"flat: grey levels vary by {contrast:.2f} only"
    return None


def length_reason(stored: int, settings: PreprocessSettings) -> str | None:
    """Why a resampled video is left out, or None."""
    if stored < settings.clip_length + 1:
        return f"too short: {stored} frames at {settings.fps:g} Hz, a clip has {settings.clip_length + 1}"
    return None


def clip_reason(steps: np.ndarray, settings: PreprocessSettings) -> str | None:
    """Why a clip is left out, or None.

    Args:
        steps: mean absolute differences of consecutive frames, share of the grey range, float (T,).
    """
    largest, mean = float(steps.max()), float(steps.mean())
    if largest > settings.cut_threshold:
        return f"scene cut: frames differ by {largest:.3f} of the range, at most {settings.cut_threshold:g} allowed"
    if mean < settings.frozen_threshold:
        return f"frozen: frames differ by {mean:.5f} of the range, at least {settings.frozen_threshold:g} wanted"
    still = float((steps < settings.frozen_threshold).mean())
    if still > 0.5:
        return f"frozen: {100 * still:.0f} % of its frames repeat the one before"
    return None


def frame_steps(frames: np.ndarray) -> np.ndarray:
    """Mean absolute difference of consecutive frames, share of the grey range: float32 (T - 1,)."""
    steps = [np.abs(b.astype(np.int16) - a).mean() / 255 for a, b in zip(frames, frames[1:], strict=False)]
    return np.array(steps, dtype=np.float32)
