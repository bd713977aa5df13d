"""Resampling of patients: bootstrap weights shared by all compared runs, and splits of the patients into halves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lddm.errors import LddmError
from lddm.task import levels

SPLITS = 3  # splits of the test patients into halves; each is used in both directions


def patient_weights(
    patients: np.ndarray, resamples: int, rng: np.random.Generator, labels: np.ndarray | None = None
) -> np.ndarray:
    """Cluster bootstrap over patients: weight of each video per sample, int16 (resamples, n).

    Args:
        labels: class of each video, for stratified resampling: patients are resampled within their class (those with videos
            of both classes form a stratum of their own), so that all samples have the class balance of the data.
    """
    names, inverse = np.unique(patients.astype(str), return_inverse=True)
    strata = np.zeros(len(names), dtype=int)
    if labels is not None:
        np.bitwise_or.at(strata, inverse, 1 << np.asarray(labels, dtype=int))
    counts = np.empty((resamples, len(names)), dtype=np.int16)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        counts[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=resamples)
    return counts[:, inverse]


class PatientDraws:
    """Bootstrap weights of the test videos of each fold, drawn once and shared by all compared runs.

    Args:
        resamples: number of bootstrap samples.
        seed: random seed.
    """

    def __init__(self, resamples: int, seed: int):
        self.resamples, self.seed = resamples, seed
        self.videos: dict[int, tuple[list[str], np.ndarray]] = {}

    def weights(
        self, fold: int, ids: Sequence[str], patients: np.ndarray, strata: np.ndarray | None = None
    ) -> np.ndarray:
        """Weights (1 + resamples, n); in the first row all weights are one.

        Args:
            ids: ids of the n videos, the same in all calls for a fold.
            patients, strata: as for `patient_weights`.

        Raises:
            LddmError: the videos differ from those of an earlier call for this fold.
        """
        ids = list(ids)
        if fold not in self.videos:
            drawn = patient_weights(patients, self.resamples, np.random.default_rng([self.seed, fold]), strata)
            self.videos[fold] = ids, np.concatenate([np.ones((1, len(ids)), dtype=drawn.dtype), drawn])
        known, weights = self.videos[fold]
        if known != ids:
            raise LddmError(f"fold {fold}: classifiers were tested on different videos", "run the rule classify again")
        return weights


def halves(patients: np.ndarray, labels: Sequence | np.ndarray, seed: int, count: int = SPLITS) -> list[np.ndarray]:
    """Divide patients into two halves, `count` times, balanced by class or by quartile of a target.

    Args:
        patients, labels: patient and class (int) or target (float) of each video, (n,). A patient with several
            classes counts with the first.

    Returns:
        For each split a mask (n,) of the videos in the first half. All videos of a patient are in the same half.
    """
    names, first, inverse = np.unique(np.asarray(patients, dtype=str), return_index=True, return_inverse=True)
    classes = levels(np.asarray(labels))[first]
    masks = []
    for number in range(count):
        order = np.random.default_rng([seed, number]).permutation(len(names))
        order = order[np.argsort(classes[order], kind="stable")]
        member = np.zeros(len(names), dtype=bool)
        member[order[::2]] = True
        masks.append(member[inverse])
    return masks


def members_of(groups: Sequence | np.ndarray) -> list[np.ndarray]:
    """Indices of the members of each group (patient)."""
    _, inverse = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    return np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])


def resample(members: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Indices of a cluster bootstrap sample: whole groups (patients) are drawn, since their videos are not independent."""
    return np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])


def mean_interval(values: np.ndarray, groups: Sequence, resamples: int, seed: int) -> tuple[float, float, float]:
    """Mean over videos with its 95 % percentile interval over patients."""
    values = np.asarray(values, dtype=np.float64)
    value = float(values.mean())
    rng, members = np.random.default_rng(seed), members_of(groups)
    means = [values[resample(members, rng)].mean() for _ in range(resamples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return value, float(low), float(high)
