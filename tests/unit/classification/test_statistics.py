"""Scores and tests against scikit-learn and hand-made numbers."""

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student_t
from sklearn import metrics

from lddm.classification.statistics import (
    area_under_curve,
    auc_influence,
    best_threshold,
    bootstrap_p_value,
    delong,
    holm,
    patient_weights,
    scores,
    seed_weights,
)
from lddm.classification.table import Draws, difference, run_draws

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
        if name == "ece":  # its correction for chance knows a repeated video from two videos
            continue
        assert value == pytest.approx(repeated[name][0]), name


def test_brier_and_log_loss_are_scikit_learns():
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


def test_few_validation_videos_are_called_few(caplog):
    labels = np.repeat([0, 1], [20, 4])
    best_threshold(labels, np.linspace(0, 1, 24))
    assert "4 validation videos" in caplog.text
    caplog.clear()
    best_threshold(np.repeat([0, 1], [10, 10]), np.linspace(0, 1, 20))
    assert not caplog.text


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


def test_a_bootstrap_sample_has_as_many_patients_of_each_class():
    """Without strata, samples of few patients may hold one class only; their AUC is no number and was dropped."""
    patients = np.array(["a", "b", "b", "c", "d", "e"])
    labels = np.array([1, 1, 1, 0, 0, 0])
    weights = patient_weights(patients, 500, RNG, labels)
    assert (weights[:, [0, 1]].sum(axis=1) == 2).all() and (weights[:, 3:].sum(axis=1) == 3).all()
    assert np.isfinite(scores(labels, RNG.random(6), 0.5, weights)["auc"]).all()


@pytest.mark.parametrize("count", [3, 5])
def test_a_mean_over_seeds_varies_as_students_t_says(count):
    values, weights = RNG.normal(size=count), seed_weights(count, 40000, RNG)
    assert np.allclose(weights.sum(axis=1), 1) and np.allclose(weights @ np.ones(count), 1)
    ratios = (weights @ values - values.mean()) / (values.std(ddof=1) / np.sqrt(count))
    for level in (0.9, 0.975):
        assert np.quantile(ratios, level) == pytest.approx(student_t.ppf(level, count - 1), rel=0.05)
    assert (seed_weights(1, 5, RNG) == 1).all()


def simulated(rng, seeds, gain, spread=0.25, n=80):
    """Results of two regimes whose AUCs vary from seed to seed; regimes share the seeds' real videos and the patients."""
    labels, hard = np.arange(n) % 2, 0.8 * rng.normal(size=n)
    drawn = spread * rng.normal(size=seeds)
    regimes = {}
    for name, better in (("real", 0.0), ("real+lddm", gain)):
        runs = regimes[name] = {}
        for seed in range(seeds):
            separation = 0.9 + drawn[seed] + better + spread * rng.normal()
            score = separation * labels + hard + 0.6 * rng.normal(size=n)
            rows = {"id": np.arange(n), "patient_id": np.arange(n), "label": labels, "probability": norm.cdf(score)}
            runs[0, seed] = {"threshold": 0.5, "predictions": rows}
    return regimes


def test_intervals_and_p_values_of_a_comparison_keep_what_they_promise():
    """95 % intervals of a difference cover the truth in 93 to 97 % of simulated studies, and 5 % reject what is true."""
    rng, covered, rejected, studies = np.random.default_rng(5), 0, 0, 300
    auc = norm.cdf((0.9 + np.array([0.0, 0.5])) / np.sqrt(2 + 2 * 0.25**2))  # mean over seeds
    truth = auc[1] - auc[0]
    for study in range(studies):
        drawn = Draws(200, study)
        values = {name: run_draws(runs, drawn)["auc"] for name, runs in simulated(rng, 4, 0.5).items()}
        draws = difference(values["real+lddm"], values["real"], drawn)
        low, high = np.percentile(draws[1:], [2.5, 97.5])
        covered += low <= truth <= high
        rejected += bootstrap_p_value(draws[1:] - truth) < 0.05
    assert 0.93 <= covered / studies <= 0.97 and 0.02 <= rejected / studies <= 0.07


def test_p_values_of_known_cases():
    assert bootstrap_p_value(np.full(999, 0.1)) == pytest.approx(2 / 1000)  # never zero
    assert bootstrap_p_value(np.array([-1.0, 1.0] * 500)) == pytest.approx(1, abs=0.01)
    uniform = [bootstrap_p_value(RNG.normal(RNG.normal(), 1, 400)) for _ in range(300)]
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
