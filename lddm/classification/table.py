"""classification.csv: metrics of the ablation with intervals, and differences to `real`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lddm.classification.comparisons import Runs, compare, comparison_columns, one_family
from lddm.classification.measures import bounds_of, difference_bounds, metrics_of, primary_of, run_scores, task_of
from lddm.errors import LddmError
from lddm.files import read_json
from lddm.settings.evaluation import ClassificationSettings
from lddm.statistics.estimate import Estimate, Run, of_runs
from lddm.statistics.resampling import PatientDraws
from lddm.task import Task

RunValues = dict[Run, np.ndarray]  # value and its bootstrap samples over patients, (1 + resamples,)

# Column -> its key in a run: how many labels a run used. The largest number over runs.
LABELS = {
    "labels_train": "n_real_videos",
    "labels_val": "n_validation_videos",
    "labels_stills": "n_labelled_stills",
}
COLUMNS = [
    "classifier",
    "regime",
    "metric",
    "mean",
    "ci_low",
    "ci_high",
    "n_folds",
    "n_seeds",
    "n_test",
    "delta_vs_real",
    "delta_ci_low",
    "delta_ci_high",
    "p_value",
    *LABELS,
]


def classification_table(files: list[Path], section: ClassificationSettings, seed: int) -> pd.DataFrame:
    """Join the results of all run groups.

    A value is the mean over folds and seeds. Its 95 % interval is from `lddm.statistics.estimate`, with test patients (resampled
    within their class) and seeds as random effects. All regimes share the resampled patients, so that differences are paired.
    The p-value is that of comparisons.csv, the only family of tests; metrics other than the primary metric of the task (for
    two classes the AUC) have intervals only.

    Args:
        files: seed-<s>.json of all folds, classifiers and regimes.

    Raises:
        LddmError: a run group was tested on other videos than the rest of its fold.
    """
    return evaluate(files, section, seed)[0]


def comparisons(files: list[Path], section: ClassificationSettings, seed: int) -> pd.DataFrame:
    """Family of tests: `lddm.classification.comparisons.compare` for all run groups.

    Args:
        files: seed-<s>.json of all folds, classifiers and regimes.
    """
    return evaluate(files, section, seed)[1]


def evaluate(files: list[Path], section: ClassificationSettings, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables classification.csv and comparisons.csv from the same resamples; the tests of all classifiers are one family."""
    return evaluate_cells(read_cells(files), section, seed)


def evaluate_cells(
    cells: dict[str, dict[str, Runs]], section: ClassificationSettings, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """As `evaluate`, for runs already read: classifier -> regime -> runs."""
    drawn = PatientDraws(section.bootstrap, seed)
    rows, compared = [], []
    task = common_task(cells)
    for classifier, regimes in cells.items():
        values = {regime: run_values(runs, drawn) for regime, runs in regimes.items()}
        primary = {regime: found[primary_of(task)] for regime, found in values.items()}
        compared += compare(classifier, regimes, partial(_between, primary, seed), task)
        rows += _rows(classifier, regimes, values, seed, task)
    tables = pd.DataFrame(rows, columns=COLUMNS), pd.DataFrame(compared, columns=comparison_columns(task))
    one_family(tables)
    return tables


def common_task(cells: dict[str, dict[str, Runs]]) -> Task:
    """Task shared by all runs; binary if there are none.

    Raises:
        LddmError: the runs have different tasks.
    """
    tasks = {task_of(run) for regimes in cells.values() for runs in regimes.values() for run in runs.values()}
    if len(tasks) > 1:
        listed = "; ".join(sorted(task.said() for task in tasks))
        raise LddmError(f"classifiers have different labels: {listed}", "run the rule classify again")
    return next(iter(tasks), Task())


def read_cells(files: list[Path]) -> dict[str, dict[str, Runs]]:
    """Read seed-<s>.json files: classifier -> regime -> runs."""
    cells: dict[str, dict[str, Runs]] = {}
    for result in map(read_json, files):
        runs = cells.setdefault(result["classifier"], {}).setdefault(result["regime"], {})
        runs[result["fold"], result["seed"]] = result
    return cells


def run_values(runs: Runs, drawn: PatientDraws) -> dict[str, RunValues]:
    """Metric -> the value of each run and its bootstrap samples over patients."""
    found: dict[str, RunValues] = {}
    for key, result in sorted(runs.items()):
        table = pd.DataFrame(result["predictions"])
        labels = table["label"].to_numpy()
        classes = None if labels.dtype.kind == "f" else labels  # targets have no classes for stratified resampling
        weights = drawn.weights(key[0], table["id"].tolist(), table["patient_id"].to_numpy(), classes)
        for metric, values in run_scores(result, table, weights).items():
            found.setdefault(metric, {})[key] = values
    return found


def difference(first: RunValues, second: RunValues, seed: int) -> Estimate:
    """Mean difference over the runs that both have."""
    return of_runs({key: first[key] - second[key] for key in sorted(first.keys() & second.keys())}, seed)


def _between(values: dict[str, RunValues], seed: int, first: str, second: str) -> Estimate:
    return difference(values[first], values[second], seed)


def _rows(
    classifier: str, regimes: dict[str, Runs], values: dict[str, dict[str, RunValues]], seed: int, task: Task
) -> list[dict[str, Any]]:
    rows = []
    for metric in metrics_of(task):
        bounds = bounds_of(metric, task)
        for regime, runs in regimes.items():
            real = values["real"][metric] if regime != "real" and "real" in values else None
            row = {"classifier": classifier, "regime": regime, "metric": metric}
            rows.append(row | estimates(values[regime][metric], real, runs, bounds, seed))
    return rows


def estimates(
    values: RunValues, real: RunValues | None, runs: Runs, bounds: tuple[float, float], seed: int
) -> dict[str, Any]:
    """Mean over runs with interval and sample sizes, and the difference to `real`, if that regime exists."""
    found = of_runs(values, seed)
    low, high = found.interval(*bounds)
    n_test = {run[0]: len(result["predictions"]) for run, result in runs.items()}
    row: dict[str, Any] = {
        "mean": found.value,
        "ci_low": low,
        "ci_high": high,
        "n_folds": len(n_test),
        "n_seeds": len({run[1] for run in runs}),
        "n_test": sum(n_test.values()),
    }
    for column, key in LABELS.items():
        row[column] = max((result[key] for result in runs.values() if key in result), default=None)
    if real is not None:
        against = difference(values, real, seed)
        low, high = against.interval(*difference_bounds(*bounds))
        row |= {"delta_vs_real": against.value, "delta_ci_low": low, "delta_ci_high": high}
    return row
