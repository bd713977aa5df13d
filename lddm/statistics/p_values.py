"""p-values and correction for multiple tests."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr  # scipy.stats takes half a second to import

ALPHA = 0.05


def bootstrap_p_value(differences: np.ndarray) -> float:
    """Two-sided bootstrap p-value that a difference is zero: twice the smaller tail, never below 2 / (resamples + 1)."""
    finite = differences[np.isfinite(differences)]
    tail = min(np.sum(finite <= 0), np.sum(finite >= 0))
    return float(min(1.0, 2 * (tail + 1) / (len(finite) + 1)))


def normal_p_value(difference: float, error: float) -> float:
    """Two-sided p-value of a difference with a known standard error; 1 if the error is NaN."""
    if not np.isfinite(error):
        return 1.0  # a class with a single test video: not testable
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * ndtr(-abs(difference) / error))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm-corrected p-values (Holm 1979), in the order given."""
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values)
    scaled = p_values[order] * (len(p_values) - np.arange(len(p_values)))
    corrected = np.empty_like(scaled)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return corrected


def verdict(difference: float, p: float, higher_is_better: bool = True) -> str:
    """ "better", "worse" or "not distinguishable", from a corrected p-value."""
    if p >= ALPHA:
        return "not distinguishable"
    return "better" if (difference > 0) == higher_is_better else "worse"
