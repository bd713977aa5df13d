"""Estimates over patients, seeds and trainings: known values, pairing, and coverage in simulations."""

import numpy as np
import pytest
from scipy.stats import t as student_t

from benchmarks.coverage import Design, family_error, measure
from lddm.errors import LddmError
from lddm.statistics.estimate import Estimate, estimate, of_runs, run_variance
from lddm.statistics.resampling import PatientDraws

RNG = np.random.default_rng(0)


def mean_of(values):
    """Weighted mean of values (trainings, seeds, n)."""
    return lambda weights, training, seed: weights @ values[training, seed] / weights.sum(axis=1)


def test_the_value_is_the_mean_over_runs_and_the_patients_error_that_of_a_mean():
    values = np.broadcast_to(RNG.normal(size=200), (2, 3, 200))  # every run alike: patients are the only chance
    found = estimate(mean_of(values), np.arange(200), seeds=3, trainings=2, resamples=4000)
    assert found.value == pytest.approx(values[0, 0].mean())
    low, high = found.interval()
    error = values[0, 0].std(ddof=1) / np.sqrt(200)
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.05)
    assert found.interval(most=found.value)[1] == found.value


def test_a_difference_is_paired_by_patients():
    hard = 3 * RNG.normal(size=(1, 1, 100))
    first = estimate(mean_of(hard + 0.3 + 0.1 * RNG.normal(size=(1, 1, 100))), np.arange(100), resamples=500)
    second = estimate(mean_of(hard + 0.1 * RNG.normal(size=(1, 1, 100))), np.arange(100), resamples=500)
    low, high = first.minus(second).interval()
    assert low > 0.2 and high < 0.4 and first.interval()[1] - first.interval()[0] > 1
    assert first.minus(second).p_value() == pytest.approx(2 / 501)


@pytest.mark.parametrize("seeds", [3, 5])
def test_without_patients_error_a_mean_over_seeds_has_the_interval_of_students_t(seeds):
    values = RNG.normal(size=(1, seeds, 1))
    found = Estimate((np.broadcast_to(values, (1, seeds, 40001)),))
    low, high = found.interval()
    half = student_t.ppf(0.975, seeds - 1) * values.std(ddof=1) / np.sqrt(seeds)
    assert (high - low) / 2 == pytest.approx(half, rel=0.05)


def test_trainings_and_seeds_are_both_in_the_variance():
    trainings, seeds = np.array([0.0, 1.0, 2.0]), np.array([0.0, 0.1])
    total, freedom = run_variance(trainings[:, None] + seeds[None])
    assert total == pytest.approx(1 / 3 + 0.005 / 2) and 2 <= freedom < 2.1
    assert run_variance(np.zeros((1, 1))) == (0.0, 1.0)
    assert run_variance(trainings[None]) == (pytest.approx(1 / 3), pytest.approx(2))
    noise = [run_variance(RNG.normal(size=(4, 4)))[0] for _ in range(3000)]  # all interaction: 1/16 on average
    assert 1 / 16 <= np.mean(noise) <= 1.6 / 16  # on the safe side


def test_runs_missing_from_any_training_are_dropped():
    def draws(value):
        return np.full(11, value)

    runs = {(0, 0, 0): draws(1.0), (0, 1, 0): draws(9.0), (0, 0, 1): draws(2.0), (1, 0): draws(4.0)}
    found = of_runs(runs)
    assert [fold.shape for fold in found.folds] == [(2, 1, 11), (1, 1, 11)] and found.value == (1.5 + 4) / 2
    with pytest.raises(ValueError, match="no seed is common"):
        of_runs({(0, 0, 0): draws(1.0), (0, 1, 1): draws(2.0)})


def test_all_compared_runs_share_the_resampled_patients():
    drawn = PatientDraws(50, 3)
    patients = np.array(["a", "a", "b"])
    weights = drawn.weights(0, ["x", "y", "z"], patients)
    assert (weights[0] == 1).all() and weights.shape == (51, 3)
    assert drawn.weights(0, ["x", "y", "z"], patients) is weights
    with pytest.raises(LddmError, match="tested on different videos"):
        drawn.weights(0, ["x", "y", "q"], patients)


@pytest.mark.parametrize(
    "design",
    [
        Design("seeds", patients=25),
        Design("patients only", patients=25, seeds=3, by_seed=0.0, by_run=0.0),
        Design("trainings and seeds", patients=25, trainings=3, by_training=0.3),
    ],
    ids=lambda design: design.name,
)
def test_intervals_of_a_comparison_cover_the_truth_as_often_as_they_say(design):
    """The full simulation, with more designs and studies: python -m benchmarks.coverage."""
    found = measure(design, 400, 150, seed=1)
    assert 0.93 <= found["coverage"] <= 0.97 and 0.02 <= found["rejected"] <= 0.08


def test_a_single_training_misses_the_variance_between_trainings():
    """Why `trainings` is an axis: with one training the interval is that of this training only."""
    one = measure(Design("one training", patients=25, by_training=0.6, by_seed=0.1, by_run=0.1), 150, 150)
    assert one["coverage"] < 0.8


def test_a_family_of_true_nulls_is_rarely_rejected():
    assert family_error(40, 300, pairs=4) <= 0.125
