"""Diversity of the samples of one x0, and detection of copies of training videos.

A video is a copy if it is much closer to a training video than to held-out ones (authenticity: Alaa et al. 2022;
data-copying test: Meehan et al. 2020). The distance to held-out videos is the reference without memorisation: blurred, dim
or frozen videos are close to all videos, including held-out ones, and are not flagged.
"""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pandas as pd

from lddm.metrics.features import FeatureNetwork

logger = logging.getLogger(__name__)

THUMBNAIL = 16  # pixels
MOMENTS = 5  # frames of a thumbnail clip, including x0
# ASSUME: largest ratio of the distances to training and to held-out videos of a copy. On the phantom, training clips with noise,
# blur or other contrast, reconstructed, or shifted by two pixels have 0.01 to 0.57, and unseen clips at least 0.84.
NEAR = 0.75
DRAWS = 10  # random subsets of training patients, each with as many patients as the held-out set
BLOCK = 512  # queries per block of the distance matrix
CANCELS = (
    1e-6  # relative squared distance below which it is recomputed from the vector difference, because of cancellation
)


def diversity(clips: np.ndarray, manifest: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Mean L1 (0..1, frames 1..T) between the samples of the same first frame.

    Returns:
        One value per first frame with at least two samples, and the patients of these first frames.
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
    """Downsampled clips as vectors with mean 0 and variance 1, so that changes of brightness and contrast do not hide a copy.

    Args:
        clips: uint8 (n, T + 1, S, S).

    Returns:
        float32 (n, 5 * 16 * 16); zeros for a clip of one grey level.
    """
    moments = np.linspace(0, clips.shape[1] - 1, MOMENTS).round().astype(int)
    size = (THUMBNAIL, THUMBNAIL)
    films = [
        [cv2.resize(np.ascontiguousarray(frame), size, interpolation=cv2.INTER_AREA) for frame in clip[moments]]
        for clip in clips
    ]
    vectors = np.asarray(films, dtype=np.float32).reshape(len(clips), -1)
    vectors -= vectors.mean(axis=1, keepdims=True)
    spread = vectors.std(axis=1, keepdims=True)
    return np.divide(vectors, spread, out=np.zeros_like(vectors), where=spread > 0)


THUMBNAILS = FeatureNetwork("thumbnails", _thumbnails)


def views(clips: np.ndarray) -> list[np.ndarray]:
    """The augmented views that generators are trained on: original, mirrored, time-reversed, and both."""
    return [np.ascontiguousarray(clips[:, ::time, :, ::side]) for time in (1, -1) for side in (1, -1)]


def nearest(
    queries: np.ndarray, pool: np.ndarray, different: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Euclidean distance of each query (n, d) to its nearest vector in the pool (m, d), divided by sqrt(d), and its index.

    Args:
        different: patient of each query (n,) and of each vector of the pool (m,); pairs of the same patient are excluded.
            The distance is infinite if the pool has no other patient.
    """
    distance, which = np.empty(len(queries)), np.empty(len(queries), dtype=int)
    pool = np.asarray(pool, dtype=np.float64)
    lengths = (pool**2).sum(axis=1)
    for start in range(0, len(queries), BLOCK):
        rows = slice(start, start + BLOCK)
        block = np.asarray(queries[rows], dtype=np.float64)
        squared = (block**2).sum(axis=1)[:, None] + lengths[None] - 2 * block @ pool.T
        if different is not None:
            squared[different[0][rows, None] == different[1][None]] = np.inf
        which[rows] = squared.argmin(axis=1)
        exact = np.square(block - pool[which[rows]]).sum(axis=1)  # the expanded form above cancels for copies
        alone = np.isinf(squared).all(axis=1)
        distance[rows] = np.where(alone, np.inf, np.sqrt(exact / block.shape[1]))
    return distance, which


def copies(
    synthetic: np.ndarray,
    held_out: np.ndarray,
    train: np.ndarray,
    quantile: float,
    patients: np.ndarray | None = None,
    held_out_patients: np.ndarray | None = None,
) -> pd.DataFrame:
    """Find synthetic videos that are closer to a training video than their distance to held-out videos explains.

    The statistic is the distance to the nearest training video divided by the distance to the nearest held-out video of another
    patient. The threshold is a quantile of the same ratio of held-out real videos, for any sizes of the two sets. It is at most
    `NEAR`, because a quantile of few held-out videos is uncertain. Real videos of other patients have a copy rate of at most
    about `quantile`. A video with a distance of zero is always a copy.

    Args:
        synthetic, held_out, train: features (n, d) of the three sets.
        quantile: e.g. 0.05.
        patients, held_out_patients: patient of each synthetic and held-out video; without them, each video is a patient.

    Returns:
        One row per synthetic video: `nearest` (row of train), `distance`, `held_out_distance`, `threshold` (the largest
        distance that counts as a copy), `copied`. The attributes `held_out_ratios` (from which the threshold is computed) and
        `held_out_distance` (to training videos) have one value per held-out video.
    """
    own = (
        np.arange(len(held_out)).astype(str) if held_out_patients is None else np.asarray(held_out_patients, dtype=str)
    )
    theirs = None if patients is None else (np.asarray(patients, dtype=str), own)
    apart = nearest(held_out, train)[0]
    if leaked := int((apart == 0).sum()):
        logger.warning("%d held-out videos are training videos to the digit: look for a leaked patient", leaked)
    ratios = ratio(apart, nearest(held_out, held_out, (own, own))[0])
    distance, which = nearest(synthetic, train)
    usual = nearest(synthetic, held_out, theirs)[0]
    threshold = largest_ratio(ratios, quantile) * np.where(np.isfinite(usual), usual, 0.0)
    found = pd.DataFrame(
        {
            "nearest": which,
            "distance": distance,
            "held_out_distance": usual,
            "threshold": threshold,
            "copied": distance <= threshold,
        }
    )
    found.attrs |= {"held_out_ratios": ratios, "held_out_distance": apart}
    return found


def largest_ratio(held_out_ratios: np.ndarray, quantile: float) -> float:
    """Largest ratio of distances at which a video counts as a copy."""
    return min(float(np.quantile(held_out_ratios, quantile)), NEAR)


def ratio(to_train: np.ndarray, to_held_out: np.ndarray) -> np.ndarray:
    """Distance to training videos divided by distance to held-out videos; 0 if identical to a training video."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(to_train == 0, 0.0, to_train / to_held_out)


def nearer_to_train(
    synthetic: np.ndarray,
    held_out: np.ndarray,
    train: np.ndarray,
    patients: np.ndarray,
    held_out_patients: np.ndarray,
    train_patients: np.ndarray,
    seed: int,
) -> np.ndarray:
    """How often each video is closer to training videos than to held-out ones of equally many patients, (n,) in [0, 1].

    Mean over random subsets of training patients; 0.5 on average without memorisation (Meehan et al. 2020).
    The patient of a video's first frame is excluded from the held-out ones.
    """
    to_train, _ = by_patient(synthetic, train, train_patients)
    to_held_out, _ = by_patient(synthetic, held_out, held_out_patients)
    names = np.unique(held_out_patients.astype(str))
    to_held_out[patients.astype(str)[:, None] == names[None]] = np.inf
    known = np.isfinite(to_held_out).sum(axis=1)
    rng, total = np.random.default_rng(seed), np.zeros(len(synthetic))
    reference = to_held_out.min(axis=1)
    for _ in range(DRAWS):
        shuffled = to_train[:, rng.permutation(to_train.shape[1])]
        best = np.minimum.accumulate(shuffled, axis=1)
        mine = best[np.arange(len(best)), np.clip(known, 1, best.shape[1]) - 1]
        total += (mine < reference) + 0.5 * (mine == reference)
    return total / DRAWS


def by_patient(queries: np.ndarray, pool: np.ndarray, patients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest vector of each patient: its distance to each query as in `nearest`, and its row in the pool, both (n, patients).

    Args:
        queries, pool: (n, d) and (m, d).
        patients: patient of each vector of the pool; the columns are sorted by patient.
    """
    _, inverse = np.unique(patients.astype(str), return_inverse=True)
    members = [np.flatnonzero(inverse == who) for who in range(inverse.max() + 1)]
    which = np.empty((len(queries), len(members)), dtype=int)
    distance = np.empty(which.shape)
    pool = np.asarray(pool, dtype=np.float64)
    lengths = (pool**2).sum(axis=1)
    for start in range(0, len(queries), BLOCK):
        part = slice(start, start + BLOCK)
        block = np.asarray(queries[part], dtype=np.float64)
        total = (block**2).sum(axis=1)[:, None] + lengths[None]
        squared = total - 2 * block @ pool.T
        for who, rows in enumerate(members):
            which[part, who] = rows[squared[:, rows].argmin(axis=1)]
        found = np.take_along_axis(squared, which[part], axis=1)
        query, near = np.nonzero(found < CANCELS * np.take_along_axis(total, which[part], axis=1))
        found[query, near] = np.square(block[query] - pool[which[part][query, near]]).sum(axis=1)
        distance[part] = np.sqrt(found / block.shape[1])
    return distance, which


def degraded(clips: np.ndarray) -> dict[str, np.ndarray]:
    """Negative controls of the copy search: clips uint8 (n, T + 1, S, S) of unseen patients, original and degraded."""
    level = clips.mean()
    return {
        "unseen": clips,
        "unseen, blurred": np.stack([[cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in clip] for clip in clips]),
        "unseen, dimmed": (clips * 0.7 + 0.15 * level).astype(np.uint8),
        "unseen, frozen": np.repeat(clips[:, :1], clips.shape[1], axis=1),
    }
