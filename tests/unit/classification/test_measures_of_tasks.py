"""Multi-class and regression metrics against scikit-learn, and their tables."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from lddm.classification.agreement import target_scores
from lddm.classification.confusion import confusion_table
from lddm.classification.measures import prediction_columns
from lddm.classification.multiclass import class_scores
from lddm.classification.table import evaluate
from lddm.errors import LddmError
from lddm.settings.evaluation import ClassificationSettings
from lddm.task import Task

CLASSES = ("normal", "mild", "severe")
ORDINAL = Task("ordinal", CLASSES)
NUMBER = Task("regression", (), "ejection fraction", "%", 0.0, 100.0)


@pytest.fixture
def classified():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 90)
    logits = rng.normal(size=(90, 3)) + 1.5 * np.eye(3)[labels]
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    weights = rng.integers(0, 4, (5, 90))
    return labels, probability, weights


def test_class_metrics_match_scikit_learn_with_the_same_weights(classified):
    labels, probability, weights = classified
    found = class_scores(labels, probability, CLASSES, True, weights)
    called = probability.argmax(axis=1)
    truth = np.eye(3)[labels]
    for row, w in enumerate(weights):
        expected = {
            "auc_macro": np.mean(
                [metrics.roc_auc_score(labels == k, probability[:, k], sample_weight=w) for k in range(3)]
            ),
            "accuracy": metrics.accuracy_score(labels, called, sample_weight=w),
            "balanced_accuracy": metrics.balanced_accuracy_score(labels, called, sample_weight=w),
            "log_loss": metrics.log_loss(labels, probability, sample_weight=w),
            "brier": np.average(np.square(truth - probability).sum(axis=1), weights=w),
            "quadratic_kappa": metrics.cohen_kappa_score(labels, called, weights="quadratic", sample_weight=w),
            "auc: mild": metrics.roc_auc_score(labels == 1, probability[:, 1], sample_weight=w),
        }
        for name, value in expected.items():
            assert found[name][row] == pytest.approx(value), name
    unweighted = class_scores(labels, probability, CLASSES, False, np.ones(90))
    assert unweighted["auc_macro"][0] == pytest.approx(metrics.roc_auc_score(labels, probability, multi_class="ovr"))
    assert "quadratic_kappa" not in unweighted


def test_a_class_without_test_videos_is_excluded_from_means(classified):
    labels, probability, _ = classified
    some = labels != 2
    found = class_scores(labels[some], probability[some], CLASSES, True, np.ones(some.sum()))
    assert np.isnan(found["auc: severe"][0])
    assert found["auc_macro"][0] == pytest.approx(np.mean([found["auc: normal"][0], found["auc: mild"][0]]))


def test_regression_metrics_match_scikit_learn_with_the_same_weights():
    rng = np.random.default_rng(0)
    target = rng.uniform(20, 70, 60)
    predicted = target + rng.normal(3, 5, 60)
    weights = rng.integers(0, 4, (5, 60))
    found = target_scores(target, predicted, weights)
    for row, w in enumerate(weights):
        assert found["r2"][row] == pytest.approx(metrics.r2_score(target, predicted, sample_weight=w))
        assert found["mae"][row] == pytest.approx(metrics.mean_absolute_error(target, predicted, sample_weight=w))
        assert found["rmse"][row] == pytest.approx(metrics.root_mean_squared_error(target, predicted, sample_weight=w))
        repeated = np.repeat(predicted - target, w)
        assert found["bland_altman_bias"][row] == pytest.approx(repeated.mean())
        assert found["bland_altman_high"][row] == pytest.approx(repeated.mean() + 1.96 * repeated.std())
        pairs = np.corrcoef(np.repeat(target, w), np.repeat(predicted, w))
        assert found["correlation"][row] == pytest.approx(pairs[0, 1])


def written(folder, task, regime, labels, predicted, seed=0):
    """A result file as the rule classify writes it."""
    rows = pd.DataFrame(
        {"id": [f"v{i:02d}" for i in range(len(labels))], "patient_id": [f"p{i // 2}" for i in range(len(labels))]}
    )
    rows = rows.assign(label=labels, **prediction_columns(task, predicted))
    about = {"classifier": "strain", "regime": regime, "fold": 0, "seed": seed, **task.to_meta()}
    path = folder / f"{regime}-{seed}.json"
    path.write_text(json.dumps(about | {"predictions": rows.to_dict(orient="records")}))
    return path


def test_the_tested_metric_of_ordered_classes_is_kappa_and_the_better_regime_is_found(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    good, bad = (np.eye(3)[labels] * strength + rng.random((120, 3)) for strength in (3, 0.3))
    files = [
        written(tmp_path, ORDINAL, "real", labels, bad / bad.sum(axis=1, keepdims=True)),
        written(tmp_path, ORDINAL, "real+lddm", labels, good / good.sum(axis=1, keepdims=True)),
    ]
    table, compared = evaluate(files, ClassificationSettings(bootstrap=200), 0)
    tested = table[table["p_value"].notna()]
    assert set(tested["metric"]) == {"quadratic_kappa"}
    assert compared["delta_quadratic_kappa"].item() > 0.3 and compared["verdict"].item() == "better"
    assert compared["p_delong"].isna().all()
    assert {"auc: normal", "auc: mild", "auc: severe", "balanced_accuracy"} <= set(table["metric"])
    confusion = confusion_table(files)
    real = confusion[confusion["regime"] == "real+lddm"]
    assert (real.loc[real["class_name"] == real["predicted"], "share"] == 1).all()
    assert real["videos"].sum() == 120


def test_numbers_have_intervals_in_their_unit_and_no_confusion_matrix(tmp_path):
    rng = np.random.default_rng(0)
    target = rng.uniform(20, 70, 80)
    files = [
        written(tmp_path, NUMBER, "real", target, target + rng.normal(0, 12, 80)),
        written(tmp_path, NUMBER, "real+lddm", target, target + rng.normal(2, 4, 80)),
    ]
    table, compared = evaluate(files, ClassificationSettings(bootstrap=200), 0)
    bias = table[(table["metric"] == "bland_altman_bias") & (table["regime"] == "real+lddm")].iloc[0]
    assert bias["ci_low"] < 2 < bias["ci_high"] and bias["ci_high"] - bias["ci_low"] < 4
    assert compared["delta_r2"].item() > 0 and compared["verdict"].item() == "better"
    assert confusion_table(files) is None


def test_results_of_several_tasks_are_not_joined(tmp_path):
    labels = np.arange(6) % 3
    files = [
        written(tmp_path, ORDINAL, "real", labels, np.full((6, 3), 1 / 3)),
        written(tmp_path, NUMBER, "real+lddm", labels.astype(float), labels.astype(float)),
    ]
    with pytest.raises(LddmError, match="different labels"):
        evaluate(files, ClassificationSettings(bootstrap=10), 0)
