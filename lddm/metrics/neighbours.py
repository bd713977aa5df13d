"""Two sets of feature vectors compared by nearest neighbours: how good and how varied the synthetic ones are.

All take real vectors (n1, d) first, synthetic ones (n2, d) second, and depend on n1 and n2; the real-against-real value
at the same numbers stands beside them in the tables. A real (or synthetic) vector's ball reaches to its k-th nearest
neighbour in its own set.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

NEIGHBOURS = 5  # k of Naeem et al. 2020


def precision(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Share of synthetic vectors inside the ball of any real one: realism, 0..1 (Kynkaanniemi et al. 2019)."""
    return float((cdist(real, synthetic) < radii(real)[:, None]).any(axis=0).mean())


def recall(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Share of real vectors inside the ball of any synthetic one: variety, 0..1 (Kynkaanniemi et al. 2019)."""
    return float((cdist(real, synthetic) < radii(synthetic)[None]).any(axis=1).mean())


def density(real: np.ndarray, synthetic: np.ndarray) -> float:
    """In how many real balls a synthetic vector lies, over k: about 1 for real vectors (Naeem et al. 2020, eq. 3).

    Unlike precision it is not lifted by one outlier with a large ball. It may exceed 1 where the synthetic vectors crowd
    where real ones are dense.
    """
    inside = cdist(real, synthetic) < radii(real)[:, None]
    return float(inside.sum(axis=0).mean() / _neighbours(real))


def coverage(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Share of real vectors whose ball holds a synthetic one, 0..1 (Naeem et al. 2020, eq. 4)."""
    return float((cdist(real, synthetic).min(axis=1) < radii(real)).mean())


def retrieval(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Share of real vectors that are the nearest neighbour of at least one synthetic one, 0..1.

    For as many vectors of the same distribution about 1 - 1/e = 0.63 in low dimensions; less where synthetic vectors are
    alike.
    """
    return len(np.unique(cdist(real, synthetic).argmin(axis=0))) / len(real)


SHARES = (precision, recall, coverage, retrieval)  # 0..1


def radii(features: np.ndarray) -> np.ndarray:
    """Distance of each vector (n, d) to its k-th nearest neighbour in the set, itself excluded: (n,).

    Raises:
        ValueError: fewer than two vectors.
    """
    if len(features) < 2:
        raise ValueError(f"expected at least two vectors, got {len(features)}")
    apart = cdist(features, features)
    return np.partition(apart, _neighbours(features), axis=1)[:, _neighbours(features)]


def _neighbours(features: np.ndarray) -> int:
    return min(NEIGHBOURS, len(features) - 1)
