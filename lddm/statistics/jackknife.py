"""Delete-a-group jackknife over patients.

All sets omit the same patients at a time, so that errors of paired sets, and of differences between generators, are paired.
A jackknife is used because a bootstrap duplicates patients: duplicates move two samples of one distribution further apart
than new patients would (measured: bootstrap intervals of a real-vs-real Fréchet distance are two to three times too wide).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import stdtrit

GROUPS = 20  # largest number of jackknife groups of patients


def jackknife_groups(patients: np.ndarray, seed: int) -> dict[str, int]:
    """Assign patients to at most `GROUPS` jackknife groups of nearly equal size: patient -> group."""
    names = np.unique(np.asarray(patients, dtype=str))
    order = np.random.default_rng([seed, len(names)]).permutation(len(names))
    return {str(names[place]): number % GROUPS for number, place in enumerate(order)}


def leave_out(
    statistic: Callable[[np.ndarray, np.ndarray], float], first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Evaluate a statistic with each group of patients left out.

    Args:
        statistic: takes the masks of the rows to keep in two sets, bool (n1,) and (n2,).
        first, second: jackknife group of each row.

    Returns:
        One number per group; NaN if too few rows remain.
    """

    def without(group: int) -> float:
        try:
            return statistic(first != group, second != group)
        except ValueError:
            return float("nan")

    return np.array([without(group) for group in np.unique(np.concatenate([first, second]))])


def standard_error(replicates: np.ndarray) -> float:
    """Delete-a-group jackknife standard error (Kott 2001) from the leave-one-out values; NaN for fewer than two groups."""
    count = len(replicates)
    if count < 2:
        return float("nan")
    return float(np.sqrt((count - 1) / count * np.square(replicates - np.mean(replicates)).sum()))


def interval(
    value: float, replicates: np.ndarray, least: float = -np.inf, most: float = np.inf
) -> tuple[float, float, float]:
    """Value and 95 % limits: value +- t x standard error, with (number of groups - 1) degrees of freedom.

    The limits describe the variation over patients at this n; the bias due to finite n is not corrected.

    Args:
        least, most: range of the statistic.
    """
    error = standard_error(replicates)
    half = float(stdtrit(max(len(replicates) - 1, 1), 0.975)) * error
    return value, max(least, value - half), min(most, value + half)
