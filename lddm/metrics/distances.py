"""Distances between two sets of feature vectors, in pure numpy and float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import wasserstein_distance


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """Fréchet distance of the Gaussians fitted to two sets: |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)).

    The trace of the square root is computed as the nuclear norm of A B^T, where A and B are the centred features divided by
    sqrt(n - 1). Without a matrix square root it is exact for n < d and zero for equal sets. Source: Heusel et al. 2017.

    Args:
        first: (n1, d), n1 >= 2.
        second: (n2, d), n2 >= 2.
    """
    first, second = _checked(first), _checked(second)
    if first.shape == second.shape and np.array_equal(first, second):
        return 0.0
    a, b = (_factor(features) for features in (first, second))
    cross = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    mean = np.square(first.mean(axis=0) - second.mean(axis=0)).sum()
    return float(max(0.0, mean + np.square(a).sum() + np.square(b).sum() - 2 * cross))


def _factor(features: np.ndarray) -> np.ndarray:
    """Factor F (min(n, d), d) with F^T F = covariance; the nuclear norm of A B^T is invariant to rotations of the rows."""
    centred = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    return centred if len(centred) <= centred.shape[1] else np.asarray(np.linalg.qr(centred, mode="r"))


def kernel_distance(first: np.ndarray, second: np.ndarray, degree: int = 3) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x.y / d + 1)^3 (Binkowski et al. 2018); may be < 0.

    Args:
        first: (n1, d), n1 >= 2.
        second: (n2, d), n2 >= 2.
        degree: degree of the polynomial.
    """
    return _polynomial_mmd(first, second, degree, 1.0, biased=False)


def jedi(first: np.ndarray, second: np.ndarray) -> float:
    """JEDi as published: 100 times the biased squared MMD with the kernel (x.y / d)^2 (Luo et al. 2024, their code).

    It is biased: the pairs of a video with itself add about 1 / n to the distance of two sets of the same distribution.

    Args:
        first: (n1, d), n1 >= 2.
        second: (n2, d), n2 >= 2.
    """
    return 100 * _polynomial_mmd(first, second, 2, 0.0, biased=True)


def jedi_unbiased(first: np.ndarray, second: np.ndarray) -> float:
    """Unbiased JEDi, comparable between sample sizes; may be < 0. Arguments as for `jedi`."""
    return 100 * _polynomial_mmd(first, second, 2, 0.0, biased=False)


UNBIASED = (kernel_distance, jedi_unbiased)  # estimates that may be negative


def _polynomial_mmd(first: np.ndarray, second: np.ndarray, degree: int, offset: float, biased: bool) -> float:
    first, second = _checked(first), _checked(second)

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + offset) ** degree

    def within(x: np.ndarray) -> float:
        values = kernel(x, x)
        return values.mean() if biased else (values.sum() - np.trace(values)) / (len(x) * (len(x) - 1))

    return float(within(first) + within(second) - 2 * kernel(first, second).mean())


def extrapolated(
    distance: Callable[[np.ndarray, np.ndarray], float], first: np.ndarray, second: np.ndarray, seed: int
) -> float:
    """Extrapolate a distance to infinite n, by a linear fit of the distance over 1/n.

    As FID-infinity (Chong & Forsyth 2020), but both sets are subsampled, since the real set is as small as the synthetic one
    here. Ten sizes from n/2 to n, each averaged over three random subsets.

    Raises:
        ValueError: fewer than 2 d vectors, for which the bias is not linear in 1/n.
    """
    n = min(len(first), len(second))
    if n < 2 * first.shape[1]:
        raise ValueError(f"expected at least 2 d = {2 * first.shape[1]} vectors in each set, got {n}")
    rng = np.random.default_rng(seed)
    sizes = np.linspace(n // 2, n, 10).astype(int)

    def at(size: int) -> float:
        draws = [(rng.permutation(len(first))[:size], rng.permutation(len(second))[:size]) for _ in range(3)]
        return float(np.mean([distance(first[i], second[j]) for i, j in draws]))

    return float(np.polyfit(1 / sizes, [at(size) for size in sizes], 1)[1])


def total_variation(first: np.ndarray, second: np.ndarray) -> float:
    """Total variation (0..1) between the mean histograms of two sets: (n1, bins), (n2, bins), rows summing to one."""
    return float(0.5 * np.abs(first.mean(axis=0) - second.mean(axis=0)).sum())


def spectral_difference(first: np.ndarray, second: np.ndarray) -> float:
    """Mean absolute difference in dB between the mean power spectra of two sets: (n1, frequencies), (n2, ...)."""
    floor = 1e-12
    levels = [10 * np.log10(np.maximum(power.mean(axis=0), floor)) for power in (first, second)]
    return float(np.abs(levels[0] - levels[1]).mean())


def wasserstein(first: np.ndarray, second: np.ndarray) -> float:
    """Wasserstein-1 distance between two samples of a scalar, in their unit."""
    return float(wasserstein_distance(np.ravel(first), np.ravel(second)))


def _checked(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"expected features (n >= 2, d), got {features.shape}")
    if not np.isfinite(features).all():
        raise ValueError("features are not finite")
    return features
