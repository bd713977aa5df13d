"""Metrics and tests against scikit-learn and hand-computed numbers."""

import numpy as np
import pytest
from sklearn import metrics

from lddm.classification.statistics import best_threshold, scores
from lddm.statistics.auc import area_under_curve
from lddm.statistics.resampling import patient_weights

RNG = np.random.default_rng(0)


def example(n=60):
    labels = RNG.integers(0, 2, n)
    probability = np.clip(0.35 * labels + RNG.random(n) * 0.65, 0, 1).round(2)  # rounded: there are ties
    return labels, probability


def test_scores_match_scikit_learn():
    labels, probability = example()
    found = {k: v[0] for k, v in scores(labels, probability, 0.5, np.ones((1, 60))).items()}
    called = probability >= 0.5
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(labels, probability))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, called))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, called))
    assert found["f1"] == pytest.approx(metrics.f1_score(labels, called))
    assert found["sensitivity"] == pytest.approx(metrics.recall_score(labels, called))
    assert found["specificity"] == pytest.approx(metrics.recall_score(1 - labels, ~called))


def test_weights_equal_repetitions():
    labels, probability = example()
    counts = RNG.integers(0, 3, 60)
    weighted = {k: v[0] for k, v in scores(labels, probability, 0.4, counts[None]).items()}
    repeated = scores(np.repeat(labels, counts), np.repeat(probability, counts), 0.4, np.ones((1, counts.sum())))
    for name, value in weighted.items():
        if name == "ece":  # its correction for chance knows a repeated video from two videos
            continue
        assert value == pytest.approx(repeated[name][0]), name


def test_brier_score_and_log_loss_match_scikit_learn():
    labels, probability = example()
    found = scores(labels, probability, 0.5, np.ones((1, 60)))
    assert found["brier"][0] == pytest.approx(metrics.brier_score_loss(labels, probability))
    assert found["log_loss"][0] == pytest.approx(metrics.log_loss(labels, np.clip(probability, 1e-6, 1 - 1e-6)))


@pytest.mark.parametrize("n", [16, 240])
def test_a_calibrated_classifier_has_no_calibration_error(n):
    """The plain ECE is 0.24 at n = 16 and 0.07 at n = 240, and its interval starts above it in 6 to 13 % of samples."""
    rng, found, inside = np.random.default_rng(0), [], 0
    for _ in range(100):
        probability = rng.beta(2, 2, n)
        labels = (rng.random(n) < probability).astype(int)
        weights = np.concatenate([np.ones((1, n)), patient_weights(np.arange(n), 200, rng)])
        ece = scores(labels, probability, 0.5, weights)["ece"]
        low, high = np.percentile(ece[1:], [2.5, 97.5])
        inside += low <= ece[0] <= high
        found.append(ece[0])
    assert abs(np.mean(found)) < 0.025 and inside == 100


def test_a_miscalibrated_classifier_has_one():
    labels = np.repeat([1, 0], [300, 700])
    found = scores(labels, np.full(1000, 0.85), 0.5, np.ones((1, 1000)))["ece"][
        0
    ]  # 30 % are positive, 85 % are predicted
    assert found == pytest.approx(0.55, abs=0.02)


def test_the_patient_auc_takes_the_mean_of_a_patient():
    labels, patients = np.array([1, 1, 1, 0, 0]), np.array(["a", "a", "b", "c", "d"])
    probability = np.array([0.9, 0.1, 0.8, 0.6, 0.2])
    found = scores(labels, probability, 0.5, np.ones((1, 5)), patients)
    assert found["patient_auc"][0] == pytest.approx(3 / 4)  # a has 0.5: above d, below c
    assert found["auc"][0] == pytest.approx(4 / 6)
    assert scores(labels, probability, 0.5, np.ones((1, 5)))["patient_auc"][0] == found["auc"][0]


def test_few_validation_videos_give_a_warning(caplog):
    labels = np.repeat([0, 1], [20, 4])
    best_threshold(labels, np.linspace(0, 1, 24))
    assert "4 validation videos" in caplog.text
    caplog.clear()
    best_threshold(np.repeat([0, 1], [10, 10]), np.linspace(0, 1, 20))
    assert not caplog.text


def test_a_single_class_gives_nan():
    assert np.isnan(scores(np.ones(4, int), np.linspace(0, 1, 4), 0.5, np.ones((1, 4)))["auc"][0])
    assert area_under_curve(np.ones(4, int), np.linspace(0, 1, 4)) == 0.5
    assert best_threshold(np.ones(4, int), np.linspace(0, 1, 4)) == 0.5


def test_the_threshold_separates_separable_classes():
    labels, probability = np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.6, 0.9])
    assert best_threshold(labels, probability) == pytest.approx(0.4)


@pytest.mark.parametrize("seed", range(8))
def test_threshold_and_area_are_those_of_scikit_learns_curve(seed):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([[0, 1], rng.integers(0, 2, 30)])
    probability = rng.random(32).round(1 if seed % 2 else 8)  # with and without ties
    false, true, thresholds = metrics.roc_curve(labels, probability, drop_intermediate=False)
    best = thresholds[np.argmax(true - false)]
    below = max(probability[probability < best], default=0.0)
    assert best_threshold(labels, probability) == (min(best, 1.0) + below) / 2
    assert area_under_curve(labels, probability) == pytest.approx(metrics.roc_auc_score(labels, probability), abs=1e-14)
