"""The data-copying test of Meehan, Chaudhuri & Dasgupta 2020, with patients instead of videos as units.

A generator copies if its samples lie nearer to training data than fresh data of the same distribution do. Sections 3.2 and
3.3 of the paper: the Mann-Whitney statistic of the distances of generated and of held-out samples to the training set, within
cells of the space, averaged over cells. It is near 0 without memory and far below 0 for copies.

Videos of one patient are not independent, so the statistic is not compared with a normal distribution: its null distribution
comes from exchanging generated and held-out videos patient by patient.
"""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans

from lddm.statistics.resampling import patient_weights

CELLS = 5  # ASSUME: at most; the paper takes as many as leave each enough samples
FEWEST = 20  # videos of either set in a cell; cells with fewer are left out (the paper's Pi_tau)
PERMUTATIONS = 999  # the smallest p-value is 1 / 1000


def cells_of(train: np.ndarray, *others: np.ndarray, count: int, seed: int) -> list[np.ndarray]:
    """Cell of each vector of the other sets: k-means of the training set (m, d) with as many cells as leave `FEWEST` in each.

    Args:
        count: videos of the smaller of the sets that are compared.
    """
    number = max(1, min(CELLS, count // (2 * FEWEST)))
    if number == 1:
        return [np.zeros(len(other), dtype=int) for other in others]
    means = KMeans(number, n_init=3, random_state=seed).fit(train)
    return [means.predict(other).astype(int) for other in others]


def statistic(distance: np.ndarray, cells: np.ndarray, generated: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """C_T of the paper (equation 5): Z of the Mann-Whitney test in each cell, weighted by the held-out videos in it.

    Args:
        distance: of each video of both sets to the training set, (n,).
        cells: cell of each, int (n,).
        generated, held_out: how often each video counts in either set, (b, n).

    Returns:
        (b,). Below 0: generated videos are nearer to the training set than held-out ones. NaN where no cell has enough videos.
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
    """The statistic with a 95 % interval over patients and a one-sided p-value that nothing is copied.

    The p-value is that of a permutation test: the videos of a patient who is in both sets change places, and other patients
    change sets at random, with as many in each set as there are.

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
