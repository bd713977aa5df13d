"""Multi-reader multi-case (MRMC) analysis: readers and cases are both random effects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from lddm.statistics.auc import weighted_auc


@dataclass(frozen=True)
class Difference:
    """Mean AUC of the readers in two arms, and the difference of second minus first; all limits are 95 %.

    Attributes:
        auc: (2, readers), AUC per arm and reader.
        limits: (2, 2), limits of the mean AUC per arm.
        value, low, high, p: the difference, its limits and its p-value.
    """

    auc: np.ndarray
    limits: np.ndarray
    value: float
    low: float
    high: float
    p: float


def obuchowski_rockette(ratings: np.ndarray, labels: np.ndarray, patients: np.ndarray | None = None) -> Difference:
    """Compare the AUC of two reading conditions with random readers and random cases.

    Obuchowski & Rockette 1995 with the degrees of freedom of Hillis 2007 (Statistics in Medicine 26:596); covariances are from
    a jackknife over patients. The design is fully crossed: all readers read all cases in both arms.

    Args:
        ratings: float (2, readers, n), higher = more confident that the case is positive.
        labels: 0 or 1, (n,).
        patients: (n,), patient of each case; None = each case is one patient.

    Raises:
        ValueError: fewer than two readers, or a class with fewer than two patients.
    """
    arms, readers, n = ratings.shape
    names = np.arange(n) if patients is None else np.unique(patients.astype(str), return_inverse=True)[1]
    few = min(len(np.unique(names[labels == k])) for k in (0, 1))
    if arms != 2 or readers < 2 or few < 2:
        raise ValueError(f"expected two arms, two readers and two patients of a class, got {arms}, {readers} and {few}")
    keep = (names[None] != np.unique(names)[:, None]).astype(float)  # (patients, n)
    weights = np.concatenate([np.ones((1, n)), keep])
    found = np.array([[weighted_auc(labels == 1, one, weights) for one in arm] for arm in ratings])
    auc, without = found[..., 0], found[..., 1:].reshape(2 * readers, -1)
    count = without.shape[1]
    covariance = np.cov(without, ddof=1) * (count - 1) ** 2 / count  # (2 readers, 2 readers)
    blocks = covariance.reshape(2, readers, 2, readers)
    other = ~np.eye(readers, dtype=bool)
    same_arm = np.array([blocks[i, :, i][other].mean() for i in range(2)])  # between readers
    both_differ = blocks[0, :, 1][other].mean()
    apart = auc - auc.mean(axis=1, keepdims=True) - auc.mean(axis=0, keepdims=True) + auc.mean()
    by_both = np.square(apart).sum() / (readers - 1)  # mean square of arm x reader
    error = by_both + max(readers * (same_arm.mean() - both_differ), 0.0)
    value = float(auc[1].mean() - auc[0].mean())
    half, p = _limits(value, 2 / readers * error, _freedom(error, by_both, readers))
    limits = []
    for arm in range(2):
        spread = auc[arm].var(ddof=1)
        total = spread + max(readers * same_arm[arm], 0.0)
        reach, _ = _limits(0.0, total / readers, _freedom(total, spread, readers))
        limits.append([auc[arm].mean() - reach, auc[arm].mean() + reach])
    return Difference(auc, np.clip(limits, 0, 1), value, value - half, value + half, p)


def _freedom(total: float, by_reader: float, readers: int) -> float:
    return float((readers - 1) * (total / by_reader) ** 2) if by_reader > 0 else np.inf


def _limits(value: float, variance: float, freedom: float) -> tuple[float, float]:
    """Half-width of the 95 % interval, and the two-sided p-value."""
    error = float(np.sqrt(variance))
    if error == 0:
        return 0.0, float(value == 0)
    return float(stats.t.ppf(0.975, freedom)) * error, float(2 * stats.t.sf(abs(value) / error, freedom))


def chance_p_value(hits: int, n: int, chance: float = 0.5) -> float:
    """Exact two-sided binomial test of `hits` correct answers of n against chance."""
    return float(stats.binomtest(hits, n, chance).pvalue)


def pooled_interval(hits: np.ndarray, readers: np.ndarray, items: np.ndarray) -> tuple[float, float]:
    """95 % interval of a proportion over several readers and clips, both of which are random effects.

    The variance of the proportion is that of two crossed random factors (Owen 2007, Annals of Applied Statistics 1:386;
    Cameron et al. 2011). It determines the effective sample size, for which the exact interval is computed (Korn & Graubard
    1998, Survey Methodology 24:193), with a t correction for few readers. If all readers answer identically, the interval is
    that of one reader; for a single reader it is the Clopper-Pearson interval.

    Args:
        hits: bool (n,), whether each answer is a success.
        readers, items: (n,), reader and clip of each answer.
    """
    share, n = float(hits.mean()), len(hits)
    apart = hits - share
    by_item, by_reader, by_answer = (_cluster_variance(apart, groups) for groups in (items, readers, np.arange(n)))
    heads, clips = len(np.unique(readers)), len(np.unique(items))
    by_reader *= heads / max(1, heads - 1)
    total = max(by_item + by_reader - by_answer, by_item, by_reader)
    if total == 0:  # all answers are equal: a clip shown to many readers counts once
        return _exact(share, clips)
    between = total - by_item
    freedom = (heads - 1) * (total / between) ** 2 if between > 1e-12 else np.inf
    shrink = (stats.norm.ppf(0.975) / stats.t.ppf(0.975, freedom)) ** 2
    return _exact(share, min(n, share * (1 - share) / total * shrink))


def _cluster_variance(apart: np.ndarray, groups: np.ndarray) -> float:
    """Cluster-robust variance of a mean: answers are independent between groups only."""
    _, place = np.unique(groups, return_inverse=True)
    return float(np.square(np.bincount(place, weights=apart)).sum()) / len(apart) ** 2


def _exact(share: float, n: float) -> tuple[float, float]:
    """Clopper-Pearson interval of a proportion of `n` answers; `n` need not be an integer."""
    hits = share * n
    low = float(stats.beta.ppf(0.025, hits, n - hits + 1)) if share > 0 else 0.0
    high = float(stats.beta.ppf(0.975, hits + 1, n - hits)) if share < 1 else 1.0
    return low, high
