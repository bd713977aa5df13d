"""Area under the ROC curve: weighted AUC, and its standard error with clustering by patient."""

from __future__ import annotations

import numpy as np


def area_under_curve(labels: np.ndarray, probability: np.ndarray) -> float:
    """Area under the ROC curve; 0.5 if only one class is present."""
    positive = np.asarray(labels) == 1
    if not 0 < positive.sum() < len(positive):
        return 0.5
    return float(weighted_auc(positive, np.asarray(probability), np.ones((1, len(positive))))[0])


def weighted_auc(positive: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUC of labels bool (n,) and scores float (n,) for each row of weights (b, n): (b,)."""
    higher = (probability[positive][:, None] > probability[~positive][None]).astype(np.float64)
    higher += 0.5 * (probability[positive][:, None] == probability[~positive][None])
    pairs = weights[:, positive].sum(axis=1) * weights[:, ~positive].sum(axis=1)
    return ((weights[:, positive] @ higher) * weights[:, ~positive]).sum(axis=1) / pairs


def delong_components(labels: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """DeLong components of the AUC, one per video: (n,), with zero sum. Their sum of squares is DeLong's variance.

    DeLong, DeLong & Clarke-Pearson 1988: the variance of an AUC is that of the placement values of the positive videos plus
    that of the negative ones, each divided by their number. Components per video can be summed within patients before squaring
    (Obuchowski 1997), and those of two classifiers can be subtracted.
    """
    positive, negative = probability[labels == 1], probability[labels == 0]
    won = (positive[:, None] > negative[None]) + 0.5 * (positive[:, None] == negative[None])
    components = np.zeros(len(labels))
    for members, placements in ((labels == 1, won.mean(axis=1)), (labels == 0, won.mean(axis=0))):
        n = len(placements)
        components[members] = (placements - won.mean()) / np.sqrt(n * (n - 1)) if n > 1 else np.nan
    return components


def auc_standard_error(components: np.ndarray, patients: np.ndarray) -> float:
    """Standard error of an AUC (or of a difference) from its DeLong components (n,), summed within patients first."""
    _, inverse = np.unique(patients.astype(str), return_inverse=True)
    return float(np.sqrt(np.square(np.bincount(inverse, weights=components)).sum()))
