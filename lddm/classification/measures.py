"""Metrics of each type of task, and their computation from the result of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from lddm.classification.agreement import METRICS as TARGET_METRICS
from lddm.classification.agreement import target_scores
from lddm.classification.multiclass import KAPPA, class_metrics, class_scores
from lddm.classification.statistics import METRICS as BINARY_METRICS
from lddm.classification.statistics import scores
from lddm.statistics.auc import area_under_curve
from lddm.statistics.primary import PRIMARY
from lddm.task import Task

FREE = (-np.inf, np.inf)
BOUNDS = {"log_loss": (0.0, np.inf), "ece": (-1.0, 1.0), "mae": (0.0, np.inf), "rmse": (0.0, np.inf)}
BOUNDS |= {"r2": (-np.inf, 1.0), "correlation": (-1.0, 1.0), KAPPA: (-1.0, 1.0)}
BOUNDS |= dict.fromkeys(("bland_altman_bias", "bland_altman_low", "bland_altman_high"), FREE)
PROBABILITY = "p_"  # followed by the name of a class: columns of predictions


def metrics_of(task: Task) -> tuple[str, ...]:
    """Names of the metrics, in the order of the tables."""
    if task.kind == "binary":
        return BINARY_METRICS
    return TARGET_METRICS if task.is_regression else class_metrics(task.classes, task.kind == "ordinal")


def primary_of(task: Task) -> str:
    """Primary metric, on which tests are based; higher is better."""
    return PRIMARY[task.kind]


def bounds_of(metric: str, task: Task) -> tuple[float, float]:
    """Range of a metric."""
    if metric == "brier" and task.kind != "binary":
        return 0.0, 2.0
    return BOUNDS.get(metric, (0.0, 1.0))


def difference_bounds(least: float, most: float) -> tuple[float, float]:
    """Range of the difference of two values of a metric that lie within a range."""
    return least - most, most - least


def prediction_columns(task: Task, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of a table of predictions: `probability`, `p_<class>` for each class, or `prediction`."""
    if task.kind == "binary":
        return {"probability": predicted}
    if task.is_regression:
        return {"prediction": predicted}
    return {f"{PROBABILITY}{name}": predicted[:, k] for k, name in enumerate(task.classes)}


def predicted_of(task: Task, table: pd.DataFrame) -> np.ndarray:
    """Inverse of `prediction_columns`: float (n,) or (n, classes)."""
    if task.kind == "binary":
        return table["probability"].to_numpy()
    if task.is_regression:
        return table["prediction"].to_numpy(dtype=float)
    return table[[f"{PROBABILITY}{name}" for name in task.classes]].to_numpy(dtype=float)


def task_of(result: Mapping[str, Any]) -> Task:
    """Task of a run; results up to version 0.4.0 are binary."""
    return Task.of_meta(result) if "task" in result else Task()


def run_scores(result: Mapping[str, Any], table: pd.DataFrame, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Compute all metrics of a run for each row of weights.

    Args:
        result: content of seed-<s>.json.
        table: predictions of the run.
        weights: (b, n), weight of each video.
    """
    task = task_of(result)
    labels, predicted = table["label"].to_numpy(), predicted_of(task, table)
    if task.kind == "binary":
        return scores(labels, predicted, result["threshold"], weights, table["patient_id"].to_numpy())
    if task.is_regression:
        return target_scores(labels, predicted, weights)
    return class_scores(labels, predicted, task.classes, task.kind == "ordinal", weights)


def primary_value(task: Task, table: pd.DataFrame) -> float:
    """Primary metric of a table of predictions; requires no threshold for two classes."""
    if task.kind == "binary":
        return area_under_curve(table["label"].to_numpy(), table["probability"].to_numpy())
    return float(run_scores(task.to_meta(), table, np.ones((1, len(table))))[primary_of(task)][0])
