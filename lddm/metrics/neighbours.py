"""Fidelity and diversity of a set of synthetic feature vectors, from nearest neighbours.

All functions take real vectors (n1, d) and synthetic vectors (n2, d). Their values depend on n1 and n2; the tables therefore
also show the real-vs-real value for the same numbers. The radius of a vector's ball is the distance to its k-th nearest
neighbour in its own set.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

NEIGHBOURS = 5  # k of Naeem et al. 2020


def precision(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Fidelity: share of synthetic vectors inside the ball of any real one, 0..1 (Kynkaanniemi et al. 2019)."""
    return float((cdist(real, synthetic) < radii(real)[:, None]).any(axis=0).mean())


def recall(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Diversity: share of real vectors inside the ball of any synthetic one, 0..1 (Kynkaanniemi et al. 2019)."""
    return float((cdist(real, synthetic) < radii(synthetic)[None]).any(axis=1).mean())


def density(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Mean number of real balls that contain a synthetic vector, divided by k (Naeem et al. 2020, eq. 3).

    About 1 for real vectors. Unlike precision, it is robust to a real outlier with a large ball. It exceeds 1 if synthetic
    vectors concentrate where real ones are dense.
    """
    inside = cdist(real, synthetic) < radii(real)[:, None]
    return float(inside.sum(axis=0).mean() / _neighbours(real))


def coverage(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Share of real vectors whose ball contains a synthetic one, 0..1 (Naeem et al. 2020, eq. 4)."""
    return float((cdist(real, synthetic).min(axis=1) < radii(real)).mean())


def retrieval(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Share of real vectors that are the nearest neighbour of at least one synthetic one, 0..1.

    About 1 - 1/e = 0.63 in low dimensions for equally many vectors of the same distribution; less if synthetic vectors are
    similar to each other.
    """
    return len(np.unique(cdist(real, synthetic).argmin(axis=0))) / len(real)


SHARES = (precision, recall, coverage, retrieval)  # 0..1


def radii(features: np.ndarray) -> np.ndarray:
    """Distance of each vector (n, d) to its k-th nearest neighbour in the set, excluding itself: (n,).

    Raises:
        ValueError: fewer than two vectors.
    """
    if len(features) < 2:
        raise ValueError(f"expected at least two vectors, got {len(features)}")
    apart = cdist(features, features)
    return np.partition(apart, _neighbours(features), axis=1)[:, _neighbours(features)]


def _neighbours(features: np.ndarray) -> int:
    return min(NEIGHBOURS, len(features) - 1)
