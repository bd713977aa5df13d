"""Multi-class metrics with weights as in `lddm.classification.statistics`: a few matrix products for all resamples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lddm.classification.statistics import LEAST_PROBABILITY
from lddm.statistics.auc import area_under_curve, weighted_auc
from lddm.statistics.primary import VERSUS_REST

METRICS = ("auc_macro", "accuracy", "balanced_accuracy", "log_loss", "brier")
KAPPA = "quadratic_kappa"


def class_metrics(classes: Sequence[str], ordinal: bool) -> tuple[str, ...]:
    """Names of the metrics, in the order of the tables."""
    return (*((KAPPA,) if ordinal else ()), *METRICS, *(f"{VERSUS_REST}{name}" for name in classes))


def macro_auc(labels: np.ndarray, probability: np.ndarray) -> float:
    """Macro-averaged one-vs-rest AUC; a class that is absent, or the only one, counts as 0.5."""
    return float(np.mean([area_under_curve(labels == k, probability[:, k]) for k in range(probability.shape[1])]))


def class_log_loss(labels: np.ndarray, probability: np.ndarray) -> float:
    """Cross-entropy in nats."""
    clipped = np.clip(probability, 1e-7, None)
    own = clipped[np.arange(len(labels)), np.asarray(labels, dtype=int)] / clipped.sum(axis=1)
    return float(-np.log(own).mean())


def class_scores(
    labels: np.ndarray, probability: np.ndarray, classes: Sequence[str], ordinal: bool, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Compute all multi-class metrics for each row of weights.

    The predicted class is the most probable one; there is no threshold. The Brier score is the sum of squared errors over
    classes, 0..2 (Brier 1950). Quadratic weighted kappa: Cohen 1968.

    Args:
        labels: int (n,).
        probability: float (n, classes).
        weights: (b, n), weight of each video.

    Returns:
        Metric -> (b,); NaN if a row lacks a class that the metric needs.
    """
    weights = np.atleast_2d(weights).astype(np.float64)
    truth = np.eye(len(classes))[labels]  # (n, K)
    total = weights.sum(axis=1)
    called = probability.argmax(axis=1)
    own = np.clip(probability[np.arange(len(labels)), labels], LEAST_PROBABILITY, None)
    present = [k for k in range(len(classes)) if 0 < truth[:, k].sum() < len(labels)]
    aucs = {k: weighted_auc(labels == k, probability[:, k], weights) for k in present}
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = (weights @ (truth * (called == labels)[:, None])) / (weights @ truth)  # (b, K)
        found = {
            "auc_macro": np.mean(list(aucs.values()), axis=0) if aucs else np.full(len(weights), np.nan),
            "accuracy": weights @ (called == labels) / total,
            "balanced_accuracy": recall[:, truth.any(axis=0)].mean(axis=1),
            "log_loss": weights @ -np.log(own) / total,
            "brier": weights @ np.square(truth - probability).sum(axis=1) / total,
        }
    found |= {f"{VERSUS_REST}{name}": aucs.get(k, np.full(len(weights), np.nan)) for k, name in enumerate(classes)}
    if ordinal:
        found[KAPPA] = _quadratic_kappa(labels, called, len(classes), weights)
    return {name: found[name] for name in class_metrics(classes, ordinal)}


def _quadratic_kappa(labels: np.ndarray, called: np.ndarray, classes: int, weights: np.ndarray) -> np.ndarray:
    """Quadratic weighted kappa: one minus the observed over the expected squared distance of ranks, (b,)."""
    rank = np.arange(classes)
    distance = np.square(rank[:, None] - rank[None]).astype(float)
    seen = weights @ distance[labels, called]
    truth, given = weights @ np.eye(classes)[labels], weights @ np.eye(classes)[called]  # (b, K)
    chance = np.einsum("bi,ij,bj->b", truth, distance, given) / weights.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 - seen / chance
