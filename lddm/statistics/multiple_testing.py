"""Correction of p-values for several tests."""

from __future__ import annotations

import numpy as np


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's correction for several tests (Holm 1979), in the order given."""
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values)
    scaled = p_values[order] * (len(p_values) - np.arange(len(p_values)))
    corrected = np.empty_like(scaled)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return corrected
