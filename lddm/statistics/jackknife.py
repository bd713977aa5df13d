"""Errors from leaving groups of patients out.

All sets lose the same patients together, so that the errors of paired sets, and of differences between generators, are
paired as well. A jackknife, since a bootstrap repeats patients: repeats move two samples of one distribution further
apart than new patients would (measured: intervals of a real-against-real Fréchet distance two to three times too wide).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import stdtrit

GROUPS = 20  # groups of patients that the jackknife leaves out one after the other


def jackknife_groups(patients: np.ndarray, seed: int) -> dict[str, int]:
    """Patient -> group; at most `GROUPS` groups of nearly equal size."""
    names = np.unique(np.asarray(patients, dtype=str))
    order = np.random.default_rng([seed, len(names)]).permutation(len(names))
    return {str(names[place]): number % GROUPS for number, place in enumerate(order)}


def leave_out(
    statistic: Callable[[np.ndarray, np.ndarray], float], first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """The statistic without each group of patients.

    Args:
        statistic: takes which rows of two sets are kept, (n1,) and (n2,) of bool.
        first, second: group of each row.

    Returns:
        One number per group; NaN where too few rows are left.
    """

    def without(group: int) -> float:
        try:
            return statistic(first != group, second != group)
        except ValueError:
            return float("nan")

    return np.array([without(group) for group in np.unique(np.concatenate([first, second]))])


def standard_error(replicates: np.ndarray) -> float:
    """Delete-a-group jackknife (Kott 2001) of the values without each group; NaN for fewer than two groups."""
    count = len(replicates)
    if count < 2:
        return float("nan")
    return float(np.sqrt((count - 1) / count * np.square(replicates - np.mean(replicates)).sum()))


def interval(
    value: float, replicates: np.ndarray, least: float = -np.inf, most: float = np.inf
) -> tuple[float, float, float]:
    """Value and 95 % limits, value +- t x standard error with as many degrees of freedom as groups less one.

    The limits say how much the value moves with other patients at this n; the bias of a finite n stays in.

    Args:
        least, most: smallest and largest possible value.
    """
    error = standard_error(replicates)
    half = float(stdtrit(max(len(replicates) - 1, 1), 0.975)) * error
    return value, max(least, value - half), min(most, value + half)
