"""Scores and tests against scikit-learn and hand-made numbers."""

import numpy as np
import pytest
from sklearn import metrics

from lddm.classification.statistics import (
    area_under_curve,
    best_threshold,
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
