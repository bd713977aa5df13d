"""A number with its interval, where patients, training seeds and trainings of a generator are all samples of more.

The value of one run (one training of the generator, one seed of the classifier) depends on the patients it is tested
on, on the training, on the seed, and on how the three happen to meet. Patients are the same for all runs of a fold; so
are the seeds for all trainings (crossed). The draws of an `Estimate` hold all of it:

    draw = value + (what other patients would change in all runs alike) + (what other seeds and trainings would change)

The first part is a bootstrap over patients. The second is drawn from Student's t, since a few seeds redrawn with
replacement vary too little. docs/results/statistics.md has the coverage of the intervals in simulations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lddm.statistics.p_values import bootstrap_p_value
from lddm.statistics.resampling import PatientDraws

RESAMPLES = 20_000  # the smallest p-value is 2 / (resamples + 1)
EASED = 0.25
Run = tuple[int, ...]  # (fold, seed) or (fold, seed, training)
Statistic = Callable[[np.ndarray, int, int], np.ndarray]


@dataclass(frozen=True)
class Estimate:
    """The mean of a statistic over folds, trainings and seeds.

    Attributes:
        folds: for each fold the values of its runs, float (trainings, seeds, 1 + resamples): first on the patients as they
            are, then with other patients. Equal draws of patients in two estimates make their difference a paired one.
        seed: of the draws of seeds and trainings.
    """

    folds: tuple[np.ndarray, ...]
    seed: int = 0

    @property
    def value(self) -> float:
        return float(np.mean([runs[..., 0].mean() for runs in self.folds]))

    def minus(self, other: Estimate) -> Estimate:
        """The paired difference, run by run. Both must have the same runs."""
        return Estimate(tuple(a - b for a, b in zip(self.folds, other.folds, strict=True)), self.seed)

    def draws(self) -> np.ndarray:
        """(1 + resamples,): the value, then what it might be with other patients, seeds and trainings."""
        parts = [_shared(runs) for runs in self.folds]
        patients = np.mean(parts, axis=0)  # (resamples,)
        return self.value + np.concatenate([[0.0], patients + self._runs(float(np.nanvar(patients)), len(patients))])

    def _runs(self, by_patients: float, count: int) -> np.ndarray:
        """Draws of what other seeds and trainings would add to the mean.

        Its degrees of freedom grow where patients vary more than runs: a normal number plus a t-distributed one with few
        degrees of freedom has a wider interval than the truth needs (the Behrens-Fisher problem).
        ASSUME: by the fourth root of the share of the runs in the variance; chosen by simulation.
        """
        found = [run_variance(runs[..., 0]) for runs in self.folds]
        variance = sum(part for part, _ in found) / len(found) ** 2
        if variance <= 0:
            return np.zeros(count)
        freedom = sum(part for part, _ in found) ** 2 / sum(part**2 / nu for part, nu in found if part > 0)
        freedom *= (1 + by_patients / variance) ** EASED
        rng = np.random.default_rng([self.seed, 1])
        return np.sqrt(variance) * rng.standard_t(freedom, size=count)

    def interval(self, least: float = -np.inf, most: float = np.inf) -> tuple[float, float]:
        """95 % limits, within the possible values."""
        low, high = np.nanpercentile(self.draws()[1:].clip(least, most), [2.5, 97.5])
        return float(low), float(high)

    def p_value(self) -> float:
        """Two-sided, that the number is zero."""
        return bootstrap_p_value(self.draws()[1:])


def estimate(
    statistic: Statistic,
    patients: Sequence | np.ndarray,
    strata: np.ndarray | None = None,
    seeds: int = 1,
    trainings: int = 1,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """A statistic of videos, averaged over seeds and trainings.

    Args:
        statistic: of weights (b, n), a training and a seed: the value for each row of weights, (b,).
        patients: patient of each of n videos.
        strata: class (int) of each; patients are redrawn within their class.
        seeds, trainings: how many there are of each; every training was run with every seed.
        resamples: draws.
        seed: of the draws; equal seeds redraw the same patients, so that estimates can be subtracted.
    """
    names = np.arange(len(patients)).astype(str).tolist()
    weights = PatientDraws(resamples, seed).weights(0, names, np.asarray(patients), strata)
    runs = [[statistic(weights, training, run) for run in range(seeds)] for training in range(trainings)]
    return Estimate((np.array(runs, dtype=np.float64),), seed)


def of_runs(values: Mapping[Run, np.ndarray], seed: int = 0) -> Estimate:
    """The estimate from the values of runs, (1 + resamples,) each; seeds that some training of a fold lacks are left out.

    Raises:
        ValueError: no seed is common to all trainings of a fold.
    """
    folds = []
    for fold in sorted({run[0] for run in values}):
        mine = {(run[2] if len(run) > 2 else 0, run[1]): drawn for run, drawn in values.items() if run[0] == fold}
        trainings = sorted({training for training, _ in mine})
        seeds = sorted(set.intersection(*({s for t, s in mine if t == training} for training in trainings)))
        if not seeds:
            raise ValueError(f"fold {fold}: no seed is common to all trainings")
        folds.append(np.array([[mine[training, run] for run in seeds] for training in trainings], dtype=np.float64))
    return Estimate(tuple(folds), seed)


def run_variance(values: np.ndarray) -> tuple[float, float]:
    """Variance of the mean of runs (trainings, seeds) by other trainings and seeds, and its degrees of freedom.

    The variance of a mean over two crossed samples is that of the means over trainings plus that of the means over seeds
    less the interaction, which is counted twice (analysis of variance of two random factors), at least the larger of the first
    two. Where there is nothing but interaction it is up to half too large. The degrees of freedom are Satterthwaite's.

    Returns:
        Variance and degrees of freedom; (0, 1) for a single run.
    """
    trainings, seeds = values.shape
    by_training, by_seed, both = _margins(values[..., None])
    first, second, twice = float(by_training[0]), float(by_seed[0]), float(both[0])
    total = max(first + second - twice, first, second)
    if total <= 0:
        return 0.0, 1.0
    spread = first**2 / max(1, trainings - 1) + second**2 / max(1, seeds - 1)
    return total, (first + second) ** 2 / spread


def _margins(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of (trainings, seeds, b): variance of the mean by trainings, by seeds, and by their interaction, (b,) each."""
    trainings, seeds = values.shape[:2]
    over_seeds, over_trainings = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    none = np.zeros(values.shape[2])
    by_training = over_seeds[:, 0].var(axis=0, ddof=1) / trainings if trainings > 1 else none
    by_seed = over_trainings[0].var(axis=0, ddof=1) / seeds if seeds > 1 else none
    if min(trainings, seeds) < 2:
        return by_training, by_seed, none
    rest = values - over_seeds - over_trainings + values.mean(axis=(0, 1), keepdims=True)
    freedom = (trainings - 1) * (seeds - 1)
    return by_training, by_seed, np.square(rest).sum(axis=(0, 1)) / freedom / (trainings * seeds)


def _shared(runs: np.ndarray) -> np.ndarray:
    """What other patients change in the mean of all runs alike, (resamples,).

    Each run errs on other patients, too; that is part of the differences between runs, which `run_variance` has. Counted
    twice, it would make intervals of differences about half as wide again.
    """
    apart = runs[..., 1:] - runs[..., :1]  # (trainings, seeds, resamples)
    mean = apart.mean(axis=(0, 1))
    variance = float(np.nanvar(mean))
    if variance == 0:
        return mean
    by_training, by_seed, twice = _margins(apart)
    own = float(np.nanmean(by_training + by_seed - twice))
    return np.sqrt(max(0.0, 1 - own / variance)) * mean
