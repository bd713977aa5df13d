"""Regression metrics with weights as in `lddm.classification.statistics`, computed from a few weighted sums."""

from __future__ import annotations

import numpy as np

METRICS = (
    "r2",
    "mae",
    "rmse",
    "correlation",
    "bland_altman_bias",
    "bland_altman_low",
    "bland_altman_high",
)
LIMITS = 1.96  # distance of the limits of agreement from the mean difference, in standard deviations


def target_scores(target: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Compute all regression metrics for each row of weights.

    Bland & Altman 1986: bias is the mean of predicted - target, and the limits of agreement contain 95 % of the differences
    if they are normally distributed. R^2 is one minus the squared error over the variance of the targets; it is negative if
    the mean is a better prediction.

    Args:
        target, predicted: float (n,), in the unit of the target.
        weights: (b, n), weight of each video.

    Returns:
        Metric -> (b,), in the unit of the target except for r2 and correlation; NaN if all targets of a row are equal.
    """
    weights = np.atleast_2d(weights).astype(np.float64)
    weights = weights / weights.sum(axis=1, keepdims=True)
    centre = target.mean()  # centred for numerical precision
    y, x = target - centre, predicted - centre
    error = predicted - target
    means = weights @ np.stack([y, x, y * y, x * x, x * y, np.abs(error), error * error, error], axis=1)
    mean_y, mean_x, yy, xx, xy, absolute, squared, bias = means.T
    variance_y, variance_x = yy - mean_y**2, xx - mean_x**2
    spread = LIMITS * np.sqrt(np.maximum(squared - bias**2, 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "r2": np.where(variance_y > 0, 1 - squared / variance_y, np.nan),
            "mae": absolute,
            "rmse": np.sqrt(squared),
            "correlation": (xy - mean_x * mean_y) / np.sqrt(variance_x * variance_y),
            "bland_altman_bias": bias,
            "bland_altman_low": bias - spread,
            "bland_altman_high": bias + spread,
        }
