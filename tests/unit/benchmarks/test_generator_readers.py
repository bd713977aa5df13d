"""AUC preserved by reconstructions, with planted classifiers."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from benchmarks.generator_readers import fidelity

RNG = np.random.default_rng(0)
LABEL = np.tile([0, 1], 120)
PATIENTS = np.arange(240)
LOGITS = LABEL - 0.5 + RNG.normal(0, 0.7, (3, 240))  # three readers
ON_REAL, WORSE = expit(LOGITS), expit(LOGITS + RNG.normal(0, 1, (3, 240)))


def test_the_share_is_that_of_mean_areas():
    got = fidelity(LABEL, PATIENTS, ON_REAL, WORSE)
    real, rebuilt = (np.mean([roc_auc_score(LABEL, p) for p in readers]) for readers in (ON_REAL, WORSE))
    assert got["auc_real"] == pytest.approx(real) and got["auc_reconstruction"] == pytest.approx(rebuilt)
    assert got["task_fidelity"] == pytest.approx(rebuilt / real)
    assert got["fidelity_low"] < rebuilt / real < got["fidelity_high"] < 1


def test_perfect_reconstructions_preserve_the_auc():
    got = fidelity(LABEL, PATIENTS, ON_REAL, ON_REAL)
    assert got["task_fidelity"] == got["fidelity_low"] == got["fidelity_high"] == 1


def test_patients_are_resampled_rather_than_clips():
    alone, together = (fidelity(LABEL, p, ON_REAL, WORSE) for p in (PATIENTS, PATIENTS // 24))
    width = [g["fidelity_high"] - g["fidelity_low"] for g in (alone, together)]
    assert width[1] != width[0] and alone["task_fidelity"] == together["task_fidelity"]
