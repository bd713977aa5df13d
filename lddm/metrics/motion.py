"""Motion statistics per video, whose distributions are compared between synthetic and real videos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from scipy.signal import detrend, get_window

from lddm.metrics.distances import spectral_difference, total_variation, wasserstein

DIRECTIONS = 8  # bins of 45 degrees
GREY = 255.0
ROUNDING = 1e-12  # power of a clip without motion, in squared grey range


def flow_statistics(clips: np.ndarray) -> np.ndarray:
    """Optical flow between neighbouring frames (Farneback 2003): uint8 (n, T + 1, S, S) -> (n, 1 + 8 + 1).

    The columns are the mean magnitude in pixels per frame; the share of motion in each of 8 directions, weighted by magnitude;
    and the acceleration, i.e. the mean magnitude of the change of flow between steps, in pixels per squared frame. Acceleration
    is low for steady or slowly turning motion and high for jerky motion; it is NaN for clips of fewer than three frames.

    ASSUME: every other pair of neighbouring frames suffices for magnitude and direction.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return np.array([_flow_of(clip) for clip in clips])
    finally:
        cv2.setNumThreads(threads)


def _flow_of(clip: np.ndarray) -> np.ndarray:
    farneback: Any = cv2.calcOpticalFlowFarneback  # (the type stubs do not allow None as the initial flow)
    flows = [farneback(first, second, None, 0.5, 3, 11, 3, 5, 1.1, 0) for first, second in pairwise(clip)]
    magnitudes, histogram = [], np.zeros(DIRECTIONS)
    for flow in flows[::2]:
        length = np.hypot(flow[..., 0], flow[..., 1])
        turn = np.arctan2(flow[..., 1], flow[..., 0]) / (2 * np.pi) * DIRECTIONS  # bins are centred on the axes
        bins = np.round(turn).astype(int) % DIRECTIONS
        histogram += np.bincount(bins.ravel(), weights=length.ravel(), minlength=DIRECTIONS)
        magnitudes.append(length.mean())
    share = histogram / histogram.sum() if histogram.sum() > 0 else np.full(DIRECTIONS, 1 / DIRECTIONS)
    changes = [np.linalg.norm(later - flow, axis=-1).mean() for flow, later in pairwise(flows)]
    return np.concatenate([[np.mean(magnitudes)], share, [np.mean(changes) if changes else np.nan]])


def temporal_difference(clips: np.ndarray) -> np.ndarray:
    """Mean absolute difference of neighbouring frames, relative to the grey range: (n, 1)."""
    return np.array([[np.abs(np.diff(clip.astype(np.float32), axis=0)).mean() / GREY] for clip in clips])


def power_spectrum(clips: np.ndarray) -> np.ndarray:
    """Temporal power spectrum, averaged over pixels, in squared grey range: (n, frequencies).

    Frequencies are in cycles per clip: 1, 2, ... up to Nyquist. Each pixel is detrended linearly and multiplied by a Hann
    window over time; otherwise a slow drift leaks into all frequencies. Equal to scipy.signal.periodogram(window="hann",
    detrend="linear", scaling="spectrum"), whose steps are linear in the pixel: one matrix serves all pixels, nine times as
    fast.
    """
    length = clips.shape[1]
    window = get_window("hann", length)
    transform = np.fft.rfft(window[:, None] * detrend(np.eye(length), axis=0), axis=0)[1:] / window.sum()
    one_sided = np.full(len(transform), 2.0)
    if length % 2 == 0:
        one_sided[-1] = 1.0  # Nyquist's frequency is its own negative
    return np.array([one_sided * _mean_square(transform, clip) for clip in clips])


def _mean_square(transform: np.ndarray, clip: np.ndarray) -> np.ndarray:
    pixels = clip.reshape(len(clip), -1) / GREY  # (T + 1, S * S)
    return np.square(transform.real @ pixels).mean(axis=1) + np.square(transform.imag @ pixels).mean(axis=1)


def high_share(spectrum: np.ndarray) -> np.ndarray:
    """Share of the temporal energy above half the Nyquist frequency (flicker): (n, frequencies) -> (n, 1)."""
    total = spectrum.sum(axis=1, keepdims=True)
    high = spectrum[:, spectrum.shape[1] // 2 :].sum(axis=1, keepdims=True)
    return np.divide(high, total, out=np.zeros_like(high), where=total > ROUNDING)


@dataclass(frozen=True)
class MotionMeasure:
    """A distance between the motion statistics of two sets of clips.

    Attributes:
        read: clips -> statistics (n, k).
        distance: (n1, k), (n2, k) -> number.
        name: name of the distance, for a table.
        after: transform of the statistics before the distance.
    """

    read: Callable[[np.ndarray], np.ndarray]
    distance: Callable[[np.ndarray, np.ndarray], float]
    name: str
    after: Callable[[np.ndarray], np.ndarray] = lambda numbers: numbers

    def of(self, clips: np.ndarray) -> np.ndarray:
        """Statistics of each clip: (n, k)."""
        return self.after(self.read(clips))


MEASURES = {
    "flow_magnitude": MotionMeasure(flow_statistics, wasserstein, "wasserstein-1", lambda numbers: numbers[:, :1]),
    "flow_direction": MotionMeasure(
        flow_statistics,
        total_variation,
        "total variation of 8 directions",
        lambda numbers: numbers[:, 1 : 1 + DIRECTIONS],
    ),
    "acceleration": MotionMeasure(flow_statistics, wasserstein, "wasserstein-1", lambda numbers: numbers[:, -1:]),
    "temporal_difference": MotionMeasure(temporal_difference, wasserstein, "wasserstein-1"),
    "flicker": MotionMeasure(power_spectrum, wasserstein, "wasserstein-1", high_share),
    "temporal_spectrum": MotionMeasure(power_spectrum, spectral_difference, "mean difference in dB"),
}
