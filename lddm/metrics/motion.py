"""How things move: numbers of each video whose distributions are compared between synthetic and real ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from scipy.signal import periodogram

from lddm.metrics.distances import spectral_difference, total_variation, wasserstein

DIRECTIONS = 8  # bins of 45 degrees
GREY = 255.0
ROUNDING = 1e-12  # power of a clip without motion, in squared grey range


def flow_statistics(clips: np.ndarray) -> np.ndarray:
    """Optical flow between neighbouring frames (Farneback 2003): uint8 (n, T + 1, S, S) -> (n, 1 + 8).

    The mean magnitude in pixels a frame, then the share of motion in each of 8 directions, weighted by magnitude.

    ASSUME: every other pair of neighbours is enough for a mean.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return np.array([_flow_of(clip) for clip in clips])
    finally:
        cv2.setNumThreads(threads)


def _flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Displacement in pixels, float32 (S, S, 2)."""
    farneback: Any = cv2.calcOpticalFlowFarneback  # (its stubs do not know that the start may be None)
    return farneback(first, second, None, 0.5, 3, 11, 3, 5, 1.1, 0)


def _flow_of(clip: np.ndarray) -> np.ndarray:
    magnitudes, histogram = [], np.zeros(DIRECTIONS)
    for first, second in zip(clip[:-1:2], clip[1::2], strict=False):
        flow = _flow(first, second)
        length = np.hypot(flow[..., 0], flow[..., 1])
        turn = np.arctan2(flow[..., 1], flow[..., 0]) / (2 * np.pi) * DIRECTIONS  # bins are centred on the axes
        bins = np.round(turn).astype(int) % DIRECTIONS
        histogram += np.bincount(bins.ravel(), weights=length.ravel(), minlength=DIRECTIONS)
        magnitudes.append(length.mean())
    share = histogram / histogram.sum() if histogram.sum() > 0 else np.full(DIRECTIONS, 1 / DIRECTIONS)
    return np.concatenate([[np.mean(magnitudes)], share])


def flow_change(clips: np.ndarray) -> np.ndarray:
    """Acceleration: mean length of the change of flow from one step to the next, in pixels a squared frame, (n, 1).

    Flow is the displacement from a frame to the next, so this is the second temporal difference of displacements, pixel by
    pixel. Steady or slowly turning motion has little of it, jerky motion much. NaN for clips of fewer than three frames.

    Args:
        clips: uint8 (n, T + 1, S, S).
    """
    if clips.shape[1] < 3:
        return np.full((len(clips), 1), np.nan)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return np.array([[_acceleration(clip)] for clip in clips])
    finally:
        cv2.setNumThreads(threads)


def _acceleration(clip: np.ndarray) -> float:
    flows = [_flow(first, second) for first, second in pairwise(clip)]
    return float(np.mean([np.linalg.norm(later - flow, axis=-1).mean() for flow, later in pairwise(flows)]))


def temporal_difference(clips: np.ndarray) -> np.ndarray:
    """Mean absolute difference of neighbouring frames, as a share of the grey range: (n, 1)."""
    return np.array([[np.abs(np.diff(clip.astype(np.float32), axis=0)).mean() / GREY] for clip in clips])


def power_spectrum(clips: np.ndarray) -> np.ndarray:
    """Power over time of each pixel, mean over pixels, in squared grey range: (n, frequencies).

    Frequencies are cycles a clip: 1, 2, ... up to Nyquist. A line is taken out of each pixel and a Hann window is put over
    time; without them a slow drift has power at all frequencies.
    """
    return np.array([_power(clip / GREY) for clip in clips])


def _power(clip: np.ndarray) -> np.ndarray:
    spectrum = periodogram(clip, window="hann", detrend="linear", scaling="spectrum", axis=0)[1][
        1:
    ]  # (frequencies, S, S)
    return spectrum.mean(axis=(1, 2), dtype=np.float64)


def high_share(spectrum: np.ndarray) -> np.ndarray:
    """Share of the temporal energy above half the Nyquist frequency (flicker): (n, frequencies) -> (n, 1)."""
    total = spectrum.sum(axis=1, keepdims=True)
    high = spectrum[:, spectrum.shape[1] // 2 :].sum(axis=1, keepdims=True)
    return np.divide(high, total, out=np.zeros_like(high), where=total > ROUNDING)


@dataclass(frozen=True)
class MotionMeasure:
    """A distance between what a function reads from two sets of clips.

    Attributes:
        read: clips -> (n, k).
        distance: (n1, k), (n2, k) -> number.
        name: what the distance is, for a table.
        after: what is done with the numbers of `read` first.
    """

    read: Callable[[np.ndarray], np.ndarray]
    distance: Callable[[np.ndarray, np.ndarray], float]
    name: str
    after: Callable[[np.ndarray], np.ndarray] = lambda numbers: numbers

    def of(self, clips: np.ndarray) -> np.ndarray:
        """The numbers of each clip: (n, k)."""
        return self.after(self.read(clips))


MEASURES = {
    "flow_magnitude": MotionMeasure(flow_statistics, wasserstein, "wasserstein-1", lambda numbers: numbers[:, :1]),
    "flow_direction": MotionMeasure(
        flow_statistics, total_variation, "total variation of 8 directions", lambda numbers: numbers[:, 1:]
    ),
    "acceleration": MotionMeasure(flow_change, wasserstein, "wasserstein-1"),
    "temporal_difference": MotionMeasure(temporal_difference, wasserstein, "wasserstein-1"),
    "flicker": MotionMeasure(power_spectrum, wasserstein, "wasserstein-1", high_share),
    "temporal_spectrum": MotionMeasure(power_spectrum, spectral_difference, "mean difference in dB"),
}
