"""Metrics of binary classification.

All metrics take video weights, one row per bootstrap sample, so that all resamples are one matrix product.
"""

from __future__ import annotations

import logging

import numpy as np

from lddm.statistics.auc import weighted_auc

logger = logging.getLogger(__name__)

METRICS = (
    "auc",
    "patient_auc",
    "accuracy",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "f1",
    "brier",
    "log_loss",
    "ece",
)
LOWER_IS_BETTER = ("brier", "log_loss", "ece")
CALIBRATION_BINS = 10
LEAST_PROBABILITY = 1e-6  # a wrong probability of 0 or 1 would make the log loss infinite
FEW_VALIDATION = 10  # videos per class below which the threshold is unreliable
BLOCK = 2000  # bootstrap samples per block


def best_threshold(labels: np.ndarray, probability: np.ndarray) -> float:
    """Threshold with the highest balanced accuracy (Youden's index); 0.5 if only one class is present.

    It is midway between two neighbouring probabilities, so that it does not coincide with an example.
    """
    if len(np.unique(labels)) < 2:
        return 0.5
    if (least := int(np.bincount(np.asarray(labels, dtype=int)).min())) < FEW_VALIDATION:
        logger.warning(
            "a class has %d validation videos: the threshold for accuracy, sensitivity, specificity and F1 is unreliable"
            " (use at least %d); the AUC does not depend on it",
            least,
            FEW_VALIDATION,
        )
    # As sklearn.metrics.roc_curve, whose import takes two seconds in each job that trains a classifier.
    thresholds = np.concatenate([[np.inf], np.unique(probability)[::-1]])
    called = probability[None] >= thresholds[:, None]  # (thresholds, n)
    true, false = (called[:, labels == kind].mean(axis=1) for kind in (1, 0))
    best = int(np.argmax(true - false))
    below = probability[probability < thresholds[best]]
    lower = float(below.max()) if len(below) else 0.0
    return float((min(thresholds[best], 1.0) + lower) / 2)


def scores(
    labels: np.ndarray,
    probability: np.ndarray,
    threshold: float,
    weights: np.ndarray,
    patients: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Compute all binary metrics for each row of weights.

    Args:
        labels: 0 or 1, (n,).
        probability: probability of class 1, (n,).
        threshold: decision threshold, chosen on validation patients.
        weights: (b, n), weight of each video; equal for all videos of a patient.
        patients: (n,), for `patient_auc`, which averages the probability over the videos of a patient with one class; None =
            each video is one patient.

    Returns:
        Metric -> (b,); NaN if a row has only one class. `ece` is the expected calibration error (Naeini et al. 2015) minus
        its expectation for a perfectly calibrated classifier at this n; it may be negative.
    """
    weights = np.atleast_2d(weights)
    names = np.arange(len(labels)) if patients is None else patients
    parts = [
        _scores(labels, probability, threshold, weights[i : i + BLOCK], names) for i in range(0, len(weights), BLOCK)
    ]
    return {metric: np.concatenate([part[metric] for part in parts]) for metric in METRICS}


def _scores(
    labels: np.ndarray, probability: np.ndarray, threshold: float, weights: np.ndarray, patients: np.ndarray
) -> dict[str, np.ndarray]:
    positive, called = labels == 1, probability >= threshold
    weights = weights.astype(np.float64)
    safe = np.clip(probability, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    sums = weights @ np.stack(
        [
            np.ones(len(labels)),
            positive,
            positive & called,
            ~positive & ~called,
            np.square(positive - probability),
            -np.log(np.where(positive, safe, 1 - safe)),
        ],
        axis=1,
    ).astype(np.float64)
    total, n_positive, true_positive, true_negative, squared, log = sums.T
    n_negative = total - n_positive
    false_positive = n_negative - true_negative
    with np.errstate(divide="ignore", invalid="ignore"):
        sensitivity, specificity = true_positive / n_positive, true_negative / n_negative
        return {
            "auc": weighted_auc(positive, probability, weights),
            "patient_auc": _patient_auc(positive, probability, weights, patients),
            "accuracy": (true_positive + true_negative) / total,
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "sensitivity": sensitivity,
            "specificity": specificity,
            "f1": 2 * true_positive / (n_positive + true_positive + false_positive),
            "brier": squared / total,
            "log_loss": log / total,
            "ece": _calibration_error(positive, probability, weights) / total,
        }


def _patient_auc(
    positive: np.ndarray, probability: np.ndarray, weights: np.ndarray, patients: np.ndarray
) -> np.ndarray:
    _, patient = np.unique(patients.astype(str), return_inverse=True)
    _, first, inverse, counts = np.unique(
        2 * patient + positive, return_index=True, return_inverse=True, return_counts=True
    )
    mean = np.bincount(inverse, weights=probability) / counts
    return weighted_auc(positive[first], mean, weights[:, first])


def _calibration_error(positive: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Bias-corrected calibration error, before division by the sum of weights: (b,).

    Even for a perfectly calibrated classifier, |sum of weight x (label - probability)| in a bin has a positive expectation: that
    of a sum of centred Bernoulli variables, sqrt(2 / pi x sum of weight^2 p (1 - p)), which is subtracted.
    """
    bins = np.minimum((probability * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    members = np.eye(CALIBRATION_BINS)[bins]  # (n, bins)
    found = np.abs((weights * (positive - probability)) @ members)
    chance = np.sqrt(2 / np.pi * (np.square(weights) * (probability * (1 - probability))) @ members)
    return (found - chance).sum(axis=1)
