"""Scores of predictions, and what can be said about their differences. Pure numpy.

All scores take weights of the videos, a row a bootstrap sample, so that a thousand resamples cost one matrix product.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

METRICS = ("auc", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "f1", "ece")
CALIBRATION_BINS = 10


def area_under_curve(labels: np.ndarray, probability: np.ndarray) -> float:
    """Area under the ROC curve; 0.5 if only one class is present."""
    return float(roc_auc_score(labels, probability)) if len(np.unique(labels)) == 2 else 0.5


def best_threshold(labels: np.ndarray, probability: np.ndarray) -> float:
    """The threshold with the highest balanced accuracy (Youden's index); 0.5 if only one class is present.

    It lies half-way to the next lower probability, so that it does not sit on an example.
    """
    if len(np.unique(labels)) < 2:
        return 0.5
    false, true, thresholds = roc_curve(labels, probability, drop_intermediate=False)
    best = int(np.argmax(true - false))
    below = probability[probability < thresholds[best]]
    lower = float(below.max()) if len(below) else 0.0
    return float((min(thresholds[best], 1.0) + lower) / 2)


def scores(labels: np.ndarray, probability: np.ndarray, threshold: float, weights: np.ndarray) -> dict[str, np.ndarray]:
    """All metrics for each row of weights.

    Args:
        labels: 0 or 1, (n,).
        probability: of class 1, (n,).
        threshold: chosen on validation patients.
        weights: (b, n), how often each video counts.

    Returns:
        Metric -> (b,); NaN where a row has only one class.
    """
    positive, called = labels == 1, probability >= threshold
    weights = np.atleast_2d(weights).astype(np.float64)
    total = weights.sum(axis=1)
    n_positive = weights[:, positive].sum(axis=1)
    n_negative = total - n_positive
    true_positive = weights[:, positive & called].sum(axis=1)
    true_negative = weights[:, ~positive & ~called].sum(axis=1)
    false_positive = n_negative - true_negative
    with np.errstate(divide="ignore", invalid="ignore"):
        higher = (probability[positive][:, None] > probability[~positive][None]).astype(np.float64)
        higher += 0.5 * (probability[positive][:, None] == probability[~positive][None])
        auc = ((weights[:, positive] @ higher) * weights[:, ~positive]).sum(axis=1) / (n_positive * n_negative)
        sensitivity, specificity = true_positive / n_positive, true_negative / n_negative
        return {
            "auc": auc,
            "accuracy": (true_positive + true_negative) / total,
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "sensitivity": sensitivity,
            "specificity": specificity,
            "f1": 2 * true_positive / (n_positive + true_positive + false_positive),
            "ece": _calibration_error(positive, probability, weights) / total,
        }


def _calibration_error(positive: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Expected calibration error (Naeini et al. 2015), not yet divided by the sum of weights: (b,)."""
    bins = np.minimum((probability * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    members = np.eye(CALIBRATION_BINS)[bins]  # (n, bins)
    return np.abs((weights * (positive - probability)) @ members).sum(axis=1)


def patient_weights(patients: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Bootstrap samples of whole patients: how often each video counts, (resamples, n)."""
    names, inverse = np.unique(patients.astype(str), return_inverse=True)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    return counts[:, inverse]


def auc_influence(labels: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """What each video adds to the error of the AUC: (n,), zero in sum; their squares add up to DeLong's variance.

    DeLong, DeLong & Clarke-Pearson 1988: the variance of an AUC is that of the placements of positive videos among the
    negative ones and the reverse, each over its number. Written video by video, the terms of one patient can be added
    before squaring (Obuchowski 1997), and the influences of two classifiers can be subtracted.
    """
    positive, negative = probability[labels == 1], probability[labels == 0]
    won = (positive[:, None] > negative[None]) + 0.5 * (positive[:, None] == negative[None])
    influence = np.zeros(len(labels))
    for members, placements in ((labels == 1, won.mean(axis=1)), (labels == 0, won.mean(axis=0))):
        n = len(placements)
        influence[members] = (placements - won.mean()) / np.sqrt(n * (n - 1)) if n > 1 else np.nan
    return influence


def delong(influences: np.ndarray, patients: np.ndarray) -> float:
    """Standard error of an AUC (or of a difference) from its influences (n,), summed within patients first."""
    _, inverse = np.unique(patients.astype(str), return_inverse=True)
    return float(np.sqrt(np.square(np.bincount(inverse, weights=influences)).sum()))


def two_sided(differences: np.ndarray) -> float:
    """Two-sided bootstrap p-value that a difference is zero: twice the smaller tail, never below 2 / (resamples + 1)."""
    finite = differences[np.isfinite(differences)]
    tail = min(np.sum(finite <= 0), np.sum(finite >= 0))
    return float(min(1.0, 2 * (tail + 1) / (len(finite) + 1)))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's correction for several tests (Holm 1979), in the order given."""
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values)
    scaled = p_values[order] * (len(p_values) - np.arange(len(p_values)))
    corrected = np.empty_like(scaled)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return corrected
