"""How things move: numbers of a video whose distributions are compared between synthetic and real ones."""

from __future__ import annotations

import cv2
import numpy as np


def flow_magnitude(clips: np.ndarray) -> np.ndarray:
    """Mean optical flow between neighbouring frames in pixels a frame (Farneback 2003): uint8 (n, T + 1, S, S) -> (n,).

    ASSUME: every other pair of neighbours is enough for a mean.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return np.array(
            [np.mean([_flow(a, b) for a, b in zip(clip[:-1:2], clip[1::2], strict=False)]) for clip in clips]
        )
    finally:
        cv2.setNumThreads(threads)


def _flow(first: np.ndarray, second: np.ndarray) -> float:
    flow = cv2.calcOpticalFlowFarneback(first, second, None, 0.5, 3, 11, 3, 5, 1.1, 0)
    return float(np.hypot(flow[..., 0], flow[..., 1]).mean())


def temporal_difference(clips: np.ndarray) -> np.ndarray:
    """Mean absolute difference of neighbouring frames, as a share of the grey range: (n,)."""
    return np.abs(np.diff(clips.astype(np.float32), axis=1)).mean(axis=(1, 2, 3)) / 255


def flicker(clips: np.ndarray) -> np.ndarray:
    """Share of the temporal energy above half the Nyquist frequency: smooth motion has little, flicker has much: (n,).

    The power spectrum over time of each pixel (its mean taken out), summed over pixels.
    """
    values = clips.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    power = np.square(np.abs(np.fft.rfft(values, axis=1))).sum(axis=(2, 3))[:, 1:]  # (n, frequencies)
    total = power.sum(axis=1)
    high = power[:, power.shape[1] // 2 :].sum(axis=1)
    return np.divide(high, total, out=np.zeros_like(total), where=total > 0).astype(np.float64)


MEASURES = {"flow_magnitude": flow_magnitude, "temporal_difference": temporal_difference, "flicker": flicker}
