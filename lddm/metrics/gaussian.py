"""Mean and covariance in one pass: memory does not grow with the number of videos, and shards can be merged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Gaussian:
    """Sufficient statistics of features, float64.

    Attributes:
        n: how many vectors.
        mean: (d,).
        scatter: (d, d), sum of outer products of the centred vectors.
    """

    n: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, batches: Iterable[np.ndarray]) -> Self:
        """From batches (n_i, d), none of which is kept.

        Raises:
            ValueError: there is no batch.
        """
        total = None
        for batch in batches:
            batch = np.asarray(batch, dtype=np.float64)
            if len(batch) == 0:
                continue
            mean = batch.mean(axis=0)
            centred = batch - mean
            part = cls(len(batch), mean, centred.T @ centred)
            total = part if total is None else total + part
        if total is None:
            raise ValueError("no features")
        return total

    def __add__(self, other: Self) -> Self:
        """The statistics of both sets together (Chan, Golub & LeVeque 1983: stable where a plain sum is not)."""
        n = self.n + other.n
        step = other.mean - self.mean
        scatter = self.scatter + other.scatter + np.outer(step, step) * (self.n * other.n / n)
        return type(self)(n, self.mean + step * (other.n / n), scatter)

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased covariance (d, d)."""
        if self.n < 2:
            raise ValueError(f"a covariance needs two vectors, got {self.n}")
        return self.scatter / (self.n - 1)

    def factor(self) -> np.ndarray:
        """F (d, d) with F^T F = covariance."""
        values, vectors = np.linalg.eigh(self.covariance)
        return np.sqrt(np.maximum(values, 0))[:, None] * vectors.T


def frechet_of(first: Gaussian, second: Gaussian) -> float:
    """The Fréchet distance of two Gaussians; see `lddm.metrics.distances.frechet`, which takes the features."""
    if np.array_equal(first.mean, second.mean) and np.array_equal(first.covariance, second.covariance):
        return 0.0  # rounding would leave 1e-9 or so
    cross = np.linalg.svd(first.factor() @ second.factor().T, compute_uv=False).sum()
    mean = np.square(first.mean - second.mean).sum()
    return float(max(0.0, mean + np.trace(first.covariance) + np.trace(second.covariance) - 2 * cross))
