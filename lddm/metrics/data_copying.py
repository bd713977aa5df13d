"""The data-copying test of Meehan, Chaudhuri & Dasgupta 2020, with patients instead of videos as units.

A generator copies if its samples are closer to training data than new data of the same distribution. The statistic (sections
3.2 and 3.3 of the paper) is the Mann-Whitney Z of the distances of generated and held-out samples to the training set, averaged
over cells of the feature space. It is about 0 without memorisation and far below 0 for copies.

Videos of one patient are not independent, so the statistic is not normally distributed. Its null distribution is computed by
permuting generated and held-out videos patient by patient.
"""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans

from lddm.statistics.resampling import patient_weights

CELLS = 5  # ASSUME: largest number of cells; the paper requires only enough samples in each
FEWEST = 20  # videos of each set per cell; cells with fewer are excluded (the paper's Pi_tau)
PERMUTATIONS = 999  # the smallest p-value is 1 / 1000


def cells_of(train: np.ndarray, *others: np.ndarray, count: int, seed: int) -> list[np.ndarray]:
    """Assign the vectors of the other sets to k-means cells of the training set (m, d).

    Args:
        count: number of videos of the smaller compared set; it limits the number of cells so that each has about 2 `FEWEST`.
    """
    number = max(1, min(CELLS, count // (2 * FEWEST)))
    if number == 1:
        return [np.zeros(len(other), dtype=int) for other in others]
    means = KMeans(number, n_init=3, random_state=seed).fit(train)
    return [means.predict(other).astype(int) for other in others]


def statistic(distance: np.ndarray, cells: np.ndarray, generated: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """C_T of the paper (equation 5): mean Mann-Whitney Z of the cells, weighted by their numbers of held-out videos.

    Args:
        distance: distance of each video of both sets to the training set, (n,).
        cells: cell of each video, int (n,).
        generated, held_out: weight of each video in either set, (b, n).

    Returns:
        (b,). Below 0: generated videos are closer to the training set than held-out ones. NaN if no cell has enough videos.
    """
    generated, held_out = generated.astype(np.float64), held_out.astype(np.float64)
    fewest = np.minimum(FEWEST, np.minimum(generated.sum(axis=1), held_out.sum(axis=1)))
    total, weight = np.zeros(len(generated)), np.zeros(len(generated))
    for cell in np.unique(cells):
        rows = np.flatnonzero(cells == cell)
        own, mine, theirs = distance[rows], generated[:, rows], held_out[:, rows]
        farther = (own[:, None] > own[None]) + 0.5 * (own[:, None] == own[None])
        n, m = mine.sum(axis=1), theirs.sum(axis=1)
        enough = np.minimum(n, m) >= np.maximum(fewest, 1)
        n, m = np.maximum(n, 1), np.maximum(m, 1)
        z = (((mine @ farther) * theirs).sum(axis=1) - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12)
        total += np.where(enough, m * z, 0)
        weight += np.where(enough, m, 0)
    return np.divide(total, weight, out=np.full(len(total), np.nan), where=weight > 0)


def data_copying(
    distance: np.ndarray, cells: np.ndarray, generated: np.ndarray, patients: np.ndarray, resamples: int, seed: int
) -> tuple[tuple[float, float, float], float]:
    """The statistic with a 95 % interval over patients and the one-sided p-value of the null hypothesis of no copying.

    The p-value is that of a permutation test. For patients in both sets, generated and held-out videos are exchanged at random.
    The other patients are reassigned to the sets at random; the number of patients in each set is fixed.

    Args:
        distance, cells: as for `statistic`.
        generated: whether each video is generated, else held out, bool (n,).
        patients: patient of each video.

    Returns:
        (value, low, high), p.
    """
    value = float(statistic(distance, cells, generated[None], ~generated[None])[0])
    if not np.isfinite(value):
        return (value, value, value), float("nan")
    rng = np.random.default_rng([seed, 3])
    names, of_video = np.unique(patients.astype(str), return_inverse=True)
    some = np.bincount(of_video, weights=generated) > 0
    both = some & (np.bincount(of_video, weights=~generated) > 0)
    swapped = both & (rng.random((PERMUTATIONS, len(names))) < 0.5)
    dealt = np.broadcast_to(some, swapped.shape).copy()
    dealt[:, ~both] = rng.permuted(dealt[:, ~both], axis=1)
    mine = np.where(both[of_video], generated ^ swapped[:, of_video], dealt[:, of_video])
    null = statistic(distance, cells, mine, ~mine)
    weights = patient_weights(patients, resamples, rng, generated.astype(int))
    drawn = statistic(distance, cells, weights * generated, weights * ~generated)
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    null = null[np.isfinite(null)]
    return (value, float(low), float(high)), float((1 + (null <= value).sum()) / (1 + len(null)))
