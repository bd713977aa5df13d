"""Resampling of patients, p-values and DeLong's standard error against hand-computed numbers."""

import numpy as np
import pytest

from lddm.classification.statistics import scores
from lddm.statistics.auc import auc_standard_error, delong_components
from lddm.statistics.p_values import bootstrap_p_value, holm, normal_p_value, verdict
from lddm.statistics.resampling import patient_weights

RNG = np.random.default_rng(0)


def example(n=60):
    labels = RNG.integers(0, 2, n)
    probability = np.clip(0.35 * labels + RNG.random(n) * 0.65, 0, 1).round(2)  # rounded: there are ties
    return labels, probability


def test_bootstrap_draws_whole_patients():
    weights = patient_weights(np.array(["a", "b", "b", "c"]), 200, RNG)
    assert (weights[:, 1] == weights[:, 2]).all() and set(np.unique(weights)) <= {0, 1, 2, 3}
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()


def test_a_bootstrap_sample_has_as_many_patients_of_each_class():
    """Without strata, samples of few patients may hold one class only; their AUC is no number and was dropped."""
    patients = np.array(["a", "b", "b", "c", "d", "e"])
    labels = np.array([1, 1, 1, 0, 0, 0])
    weights = patient_weights(patients, 500, RNG, labels)
    assert (weights[:, [0, 1]].sum(axis=1) == 2).all() and (weights[:, 3:].sum(axis=1) == 3).all()
    assert np.isfinite(scores(labels, RNG.random(6), 0.5, weights)["auc"]).all()


def test_p_values_of_known_cases():
    assert bootstrap_p_value(np.full(999, 0.1)) == pytest.approx(2 / 1000)  # never zero
    assert bootstrap_p_value(np.array([-1.0, 1.0] * 500)) == pytest.approx(1, abs=0.01)
    uniform = [bootstrap_p_value(RNG.normal(RNG.normal(), 1, 400)) for _ in range(300)]
    assert 0.01 < np.mean(np.array(uniform) < 0.05) < 0.12  # a true null is rejected about as often as stated


def test_holm_matches_the_textbook():
    assert holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])
    assert holm(np.array([0.5, 0.9])) == pytest.approx([1.0, 1.0])


def test_delong_is_the_published_estimate():
    """Variance by the definition: covariances of the placements of each class (DeLong et al. 1988, eq. 4 to 6)."""
    labels, first = example(50)
    second = np.clip(first + RNG.normal(0, 0.2, 50), 0, 1)

    def placements(probability):
        x, y = probability[labels == 1], probability[labels == 0]
        won = np.array([[1.0 if a > b else 0.5 if a == b else 0.0 for b in y] for a in x])
        return won.mean(axis=1), won.mean(axis=0)

    (v10_a, v01_a), (v10_b, v01_b) = placements(first), placements(second)
    s10, s01 = np.cov(v10_a, v10_b), np.cov(v01_a, v01_b)
    covariance = s10 / len(v10_a) + s01 / len(v01_a)
    components = [delong_components(labels, p) for p in (first, second)]
    alone = np.arange(50)
    assert auc_standard_error(components[0], alone) ** 2 == pytest.approx(covariance[0, 0])
    expected = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert auc_standard_error(components[0] - components[1], alone) ** 2 == pytest.approx(expected)


def test_delong_counts_patients_and_not_their_videos():
    labels, probability = example(40)
    twice = np.repeat(np.arange(40), 2)
    once = auc_standard_error(delong_components(labels, probability), np.arange(40))
    doubled = delong_components(labels[twice], probability[twice])
    assert auc_standard_error(doubled, twice) == pytest.approx(once, rel=0.03)
    assert auc_standard_error(doubled, np.arange(80)) == pytest.approx(
        once / np.sqrt(2), rel=0.03
    )  # as if they were 80 patients


def test_the_verdict_follows_the_direction_of_the_metric():
    assert verdict(0.2, 0.2) == "not distinguishable"
    assert verdict(0.2, 0.01) == "better" and verdict(0.2, 0.01, higher_is_better=False) == "worse"
    assert normal_p_value(1.96, 1.0) == pytest.approx(0.05, abs=1e-3)
    assert normal_p_value(0.1, float("nan")) == 1.0 and normal_p_value(0.0, 0.0) == 1.0
