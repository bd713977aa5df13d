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
    return np.array([np.abs(np.diff(clip.astype(np.float32), axis=0)).mean() / 255 for clip in clips])


def flicker(clips: np.ndarray) -> np.ndarray:
    """Share of the temporal energy above half the Nyquist frequency: smooth motion has little, flicker has much: (n,).

    The power spectrum over time of each pixel (its mean taken out), summed over pixels.
    """
    return np.array([_high_share(clip.astype(np.float32)) for clip in clips])


def _high_share(clip: np.ndarray) -> float:
    spectrum = np.fft.rfft(clip - clip.mean(axis=0), axis=0)[1:]  # (frequencies, S, S)
    power = np.square(np.abs(spectrum)).sum(axis=(1, 2), dtype=np.float64)
    return float(power[len(power) // 2 :].sum() / power.sum()) if power.sum() > 0 else 0.0


MEASURES = {"flow_magnitude": flow_magnitude, "temporal_difference": temporal_difference, "flicker": flicker}
