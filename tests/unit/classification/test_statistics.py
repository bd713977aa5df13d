"""Scores and tests against scikit-learn and hand-made numbers."""

import numpy as np
import pytest
from sklearn import metrics

from lddm.classification.statistics import (
    area_under_curve,
    auc_influence,
    best_threshold,
    delong,
    holm,
    patient_weights,
    scores,
    two_sided,
)

RNG = np.random.default_rng(0)


def example(n=60):
    labels = RNG.integers(0, 2, n)
    probability = np.clip(0.35 * labels + RNG.random(n) * 0.65, 0, 1).round(2)  # rounded: there are ties
    return labels, probability


def test_scores_are_scikit_learns():
    labels, probability = example()
    found = {k: v[0] for k, v in scores(labels, probability, 0.5, np.ones((1, 60))).items()}
    called = probability >= 0.5
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(labels, probability))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, called))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, called))
    assert found["f1"] == pytest.approx(metrics.f1_score(labels, called))
    assert found["sensitivity"] == pytest.approx(metrics.recall_score(labels, called))
    assert found["specificity"] == pytest.approx(metrics.recall_score(1 - labels, ~called))


def test_weights_are_repetitions():
    labels, probability = example()
    counts = RNG.integers(0, 3, 60)
    weighted = {k: v[0] for k, v in scores(labels, probability, 0.4, counts[None]).items()}
    repeated = scores(np.repeat(labels, counts), np.repeat(probability, counts), 0.4, np.ones((1, counts.sum())))
    for name, value in weighted.items():
        assert value == pytest.approx(repeated[name][0]), name


def test_calibration_error_of_known_cases():
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    ones = np.ones((1, 10))
    assert scores(labels, np.full(10, 0.3), 0.5, ones)["ece"][0] == pytest.approx(0)  # says 30 %, is 30 %
    assert scores(labels, np.full(10, 0.85), 0.5, ones)["ece"][0] == pytest.approx(0.55)


def test_one_class_gives_no_number_instead_of_a_wrong_one():
    assert np.isnan(scores(np.ones(4, int), np.linspace(0, 1, 4), 0.5, np.ones((1, 4)))["auc"][0])
    assert area_under_curve(np.ones(4, int), np.linspace(0, 1, 4)) == 0.5
    assert best_threshold(np.ones(4, int), np.linspace(0, 1, 4)) == 0.5


def test_the_threshold_separates_what_can_be_separated():
    labels, probability = np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.6, 0.9])
    assert best_threshold(labels, probability) == pytest.approx(0.4)


def test_bootstrap_draws_whole_patients():
    weights = patient_weights(np.array(["a", "b", "b", "c"]), 200, RNG)
    assert (weights[:, 1] == weights[:, 2]).all() and set(np.unique(weights)) <= {0, 1, 2, 3}
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()


def test_p_values_of_known_cases():
    assert two_sided(np.full(999, 0.1)) == pytest.approx(2 / 1000)  # never zero
    assert two_sided(np.array([-1.0, 1.0] * 500)) == pytest.approx(1, abs=0.01)
    uniform = [two_sided(RNG.normal(RNG.normal(), 1, 400)) for _ in range(300)]
    assert 0.01 < np.mean(np.array(uniform) < 0.05) < 0.12  # a true null is rejected about as often as stated


def test_holm_is_that_of_the_textbook():
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
    influences = [auc_influence(labels, p) for p in (first, second)]
    alone = np.arange(50)
    assert delong(influences[0], alone) ** 2 == pytest.approx(covariance[0, 0])
    expected = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert delong(influences[0] - influences[1], alone) ** 2 == pytest.approx(expected)


def test_delong_counts_patients_and_not_their_videos():
    labels, probability = example(40)
    twice = np.repeat(np.arange(40), 2)
    once = delong(auc_influence(labels, probability), np.arange(40))
    doubled = auc_influence(labels[twice], probability[twice])
    assert delong(doubled, twice) == pytest.approx(once, rel=0.03)
    assert delong(doubled, np.arange(80)) == pytest.approx(once / np.sqrt(2), rel=0.03)  # as if they were 80 patients
