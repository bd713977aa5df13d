"""Diversity among the samples of one x0, and whether a sample copies a training video."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pandas as pd

from lddm.metrics.features import FeatureNetwork

logger = logging.getLogger(__name__)

THUMBNAIL = 16  # pixels
MOMENTS = 5  # frames of a thumbnail film, x0 among them


def diversity(clips: np.ndarray, manifest: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Mean L1 (0..1, frames 1..T) between the samples of the same first frame.

    Returns:
        One number for each first frame with at least two samples, and the patients of these first frames.
    """
    values, patients = [], []
    key = manifest["clip_id"].fillna(manifest["x0_id"])
    for _, rows in manifest.groupby(key, sort=True):
        if len(rows) < 2:
            continue
        samples = clips[manifest.index.get_indexer(rows.index)][:, 1:].astype(np.float32)
        pairs = [(i, j) for i in range(len(rows)) for j in range(i)]
        values.append(np.mean([np.abs(samples[i] - samples[j]).mean() for i, j in pairs]) / 255)
        patients.append(rows["patient_id"].iloc[0])
    return np.array(values), np.array(patients)


def _thumbnails(clips: np.ndarray) -> np.ndarray:
    """Small films as vectors: uint8 (n, T + 1, S, S) -> float32 (n, 5 * 16 * 16) in [0, 1]."""
    moments = np.linspace(0, clips.shape[1] - 1, MOMENTS).round().astype(int)
    size = (THUMBNAIL, THUMBNAIL)
    films = [[cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in clip[moments]] for clip in clips]
    return np.asarray(films, dtype=np.float32).reshape(len(clips), -1) / 255


THUMBNAILS = FeatureNetwork("thumbnails", _thumbnails)


def nearest(queries: np.ndarray, pool: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Euclidean distance of each query (n, d) to the nearest vector of the pool (m, d), over sqrt(d), and which it is."""
    queries, pool = queries.astype(np.float64), pool.astype(np.float64)
    squared = (queries**2).sum(1)[:, None] + (pool**2).sum(1)[None] - 2 * queries @ pool.T
    which = squared.argmin(axis=1)
    smallest = np.square(queries - pool[which]).sum(axis=1)  # again, since the difference above cancels for copies
    return np.sqrt(smallest / queries.shape[1]), which


def copies(synthetic: np.ndarray, held_out: np.ndarray, train: np.ndarray, quantile: float) -> pd.DataFrame:
    """Which synthetic videos lie nearer to a training video than held-out real ones do.

    The threshold is a quantile of the held-out videos' own nearest-neighbour distances, so that real videos of other
    patients have a copy rate of about `quantile`. A distance of zero is a copy whatever the threshold.

    Args:
        synthetic, held_out, train: features (n, d) of the three sets.
        quantile: e.g. 0.05.

    Returns:
        A row a synthetic video: `nearest` (row of train), `distance`, `threshold`, `copied`.
    """
    apart = nearest(held_out, train)[0]
    if leaked := int((apart == 0).sum()):
        logger.warning("%d held-out videos are training videos to the digit: look for a leaked patient", leaked)
    threshold = float(np.quantile(apart, quantile))
    distance, which = nearest(synthetic, train)
    return pd.DataFrame(
        {"nearest": which, "distance": distance, "threshold": threshold, "copied": distance <= threshold}
    )
