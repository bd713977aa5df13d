"""Estimates with intervals, where patients, training seeds and trainings of a generator are random effects.

The value of one run (one training of the generator, one seed of the classifier) depends on the test patients, the training,
the seed, and their interaction. All runs of a fold share the patients, and all trainings share the seeds (crossed design). The
draws of an `Estimate` include all of these sources of variation:

    draw = value + (effect of other patients, common to all runs) + (effect of other seeds and trainings)

The first effect is bootstrapped over patients. The second is drawn from Student's t distribution, since resampling a few seeds
underestimates their variance. docs/results/statistics.md reports the coverage of the intervals in simulations.
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
    """Mean of a statistic over folds, trainings and seeds.

    Attributes:
        folds: per fold the values of its runs, float (trainings, seeds, 1 + resamples): first for the observed patients, then
            for bootstrap samples of patients. If two estimates share the bootstrap samples, their difference is paired.
        seed: random seed of the draws for seeds and trainings.
    """

    folds: tuple[np.ndarray, ...]
    seed: int = 0

    @property
    def value(self) -> float:
        return float(np.mean([runs[..., 0].mean() for runs in self.folds]))

    def minus(self, other: Estimate) -> Estimate:
        """Paired difference, run by run. Both estimates must have the same runs."""
        return Estimate(tuple(a - b for a, b in zip(self.folds, other.folds, strict=True)), self.seed)

    def draws(self) -> np.ndarray:
        """The value, followed by draws for other patients, seeds and trainings: (1 + resamples,)."""
        parts = [_shared(runs) for runs in self.folds]
        patients = np.mean(parts, axis=0)  # (resamples,)
        return self.value + np.concatenate([[0.0], patients + self._runs(float(np.nanvar(patients)), len(patients))])

    def _runs(self, by_patients: float, count: int) -> np.ndarray:
        """Draws of the effect of other seeds and trainings on the mean.

        The degrees of freedom are increased if patients vary more than runs: the sum of a normal and a t-distributed variable
        with few degrees of freedom gives conservative intervals (Behrens-Fisher problem).
        ASSUME: increase by a power of the variance ratio, whose exponent was chosen by simulation.
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
        """95 % limits, clipped to the range of the statistic."""
        low, high = np.nanpercentile(self.draws()[1:].clip(least, most), [2.5, 97.5])
        return float(low), float(high)

    def p_value(self) -> float:
        """Two-sided p-value of the hypothesis that the mean is zero."""
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
    """Estimate a statistic of videos, averaged over seeds and trainings.

    Args:
        statistic: (weights (b, n), training index, seed index) -> value per row of weights, (b,).
        patients: patient of each of n videos.
        strata: int (n,), class of each video; patients are resampled within their class.
        seeds, trainings: numbers of seeds and trainings; every training was run with every seed.
        resamples: number of bootstrap samples.
        seed: random seed; equal seeds resample the same patients, so that estimates can be subtracted.
    """
    names = np.arange(len(patients)).astype(str).tolist()
    weights = PatientDraws(resamples, seed).weights(0, names, np.asarray(patients), strata)
    runs = [[statistic(weights, training, run) for run in range(seeds)] for training in range(trainings)]
    return Estimate((np.array(runs, dtype=np.float64),), seed)


def of_runs(values: Mapping[Run, np.ndarray], seed: int = 0) -> Estimate:
    """Build an estimate from the values of runs, (1 + resamples,) each; seeds missing from any training are dropped.

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
    """Variance of the mean of runs (trainings, seeds) due to trainings and seeds, and its degrees of freedom.

    For two crossed random factors, the variance of the mean is that of the means over trainings plus that of the means over
    seeds, minus the interaction, which both contain; it is bounded below by the larger of the first two. If there is only
    interaction, the result is up to 50 % too large. The degrees of freedom are Satterthwaite's.

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
    """Variance components of the mean of (trainings, seeds, b): trainings, seeds and interaction, (b,) each."""
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
    """Effect of other patients that is common to all runs, (resamples,).

    The effect of patients that is specific to a run is part of the differences between runs and thus included in
    `run_variance`. Counting it twice would widen the intervals of differences by about half.
    """
    apart = runs[..., 1:] - runs[..., :1]  # (trainings, seeds, resamples)
    mean = apart.mean(axis=(0, 1))
    variance = float(np.nanvar(mean))
    if variance == 0:
        return mean
    by_training, by_seed, twice = _margins(apart)
    own = float(np.nanmean(by_training + by_seed - twice))
    return np.sqrt(max(0.0, 1 - own / variance)) * mean
