"""classification.csv: the ablation in numbers, with intervals over patients and differences to `real`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lddm.classification.comparisons import Runs, compare, comparison_columns
from lddm.classification.measures import bounds_of, metrics_of, primary_of, run_scores, task_of
from lddm.classification.statistics import patient_weights, seed_weights
from lddm.errors import LddmError
from lddm.files import read_json
from lddm.settings.evaluation import ClassificationSettings
from lddm.task import Task

RunDraws = dict[tuple[int, int], np.ndarray]  # (fold, seed) -> value and draws with other patients, (1 + resamples,)

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
]


def classification_table(files: list[Path], section: ClassificationSettings, seed: int) -> pd.DataFrame:
    """Join the results of all cells.

    A value is the mean over folds and seeds. Its 95 % interval comes from a bootstrap that redraws, in each fold,
    test patients within their class and seeds; all regimes share the draws, so that differences are paired. The p-value
    is that of tables/comparisons.csv, the one family of tests; metrics other than the primary one of the task (for two classes
    the AUC) have intervals only.

    Args:
        files: seed-<s>.json of all folds, classifiers and regimes.

    Raises:
        LddmError: a cell was tested on other videos than the rest of its fold.
    """
    return evaluate(files, section, seed)[0]


def comparisons(files: list[Path], section: ClassificationSettings, seed: int) -> pd.DataFrame:
    """The family of tests: `lddm.classification.comparisons.compare` for all cells.

    Args:
        files: seed-<s>.json of all folds, classifiers and regimes.
    """
    return evaluate(files, section, seed)[1]


def evaluate(files: list[Path], section: ClassificationSettings, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """classification.csv and comparisons.csv from the same draws."""
    return evaluate_cells(read_cells(files), section, seed)


def evaluate_cells(
    cells: dict[str, dict[str, Runs]], section: ClassificationSettings, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """As `evaluate`, for runs that have been read: classifier -> regime -> runs."""
    drawn = Draws(section.bootstrap, seed)
    rows, compared = [], []
    task = common_task(cells)
    for classifier, regimes in cells.items():
        values = {regime: run_draws(runs, drawn) for regime, runs in regimes.items()}
        primary = {regime: found[primary_of(task)] for regime, found in values.items()}
        tests = compare(classifier, regimes, partial(_between, primary, drawn), task)
        p_values = {row["regime"]: row["p_holm"] for row in tests if row["against"] == "real"}
        rows += _rows(classifier, regimes, values, p_values, drawn, task)
        compared += tests
    return pd.DataFrame(rows, columns=COLUMNS), pd.DataFrame(compared, columns=comparison_columns(task))


def common_task(cells: dict[str, dict[str, Runs]]) -> Task:
    """The task of all runs; binary without any.

    Raises:
        LddmError: they have several.
    """
    tasks = {task_of(run) for regimes in cells.values() for runs in regimes.values() for run in runs.values()}
    if len(tasks) > 1:
        listed = "; ".join(sorted(task.said() for task in tasks))
        raise LddmError(f"classifiers have different labels: {listed}", "run the rule classify again")
    return next(iter(tasks), Task())


def read_cells(files: list[Path]) -> dict[str, dict[str, Runs]]:
    """Classifier -> regime -> its runs, from seed-<s>.json files."""
    cells: dict[str, dict[str, Runs]] = {}
    for result in map(read_json, files):
        runs = cells.setdefault(result["classifier"], {}).setdefault(result["regime"], {})
        runs[result["fold"], result["seed"]] = result
    return cells


class Draws:
    """Bootstrap weights of the test videos of each fold and of its seeds, drawn once for all cells."""

    def __init__(self, resamples: int, seed: int):
        self.resamples, self.seed = resamples, seed
        self.videos: dict[int, tuple[list[str], np.ndarray]] = {}

    def weights(self, fold: int, predictions: pd.DataFrame) -> np.ndarray:
        """(1 + resamples, n): the first row counts each video once."""
        ids = predictions["id"].tolist()
        if fold not in self.videos:
            rng = np.random.default_rng([self.seed, fold])
            patients, labels = (predictions[name].to_numpy() for name in ("patient_id", "label"))
            classes = None if labels.dtype.kind == "f" else labels  # targets have no class to redraw within
            drawn = patient_weights(patients, self.resamples, rng, classes)
            self.videos[fold] = ids, np.concatenate([np.ones((1, len(ids)), dtype=drawn.dtype), drawn])
        known, weights = self.videos[fold]
        if known != ids:
            raise LddmError(f"fold {fold}: classifiers were tested on different videos", "run the rule classify again")
        return weights

    def seeds(self, fold: int, count: int) -> np.ndarray:
        """(1 + resamples, count): weight of each seed, summing to one."""
        drawn = seed_weights(count, self.resamples, np.random.default_rng([self.seed, fold, 1]))
        return np.concatenate([np.full((1, count), 1 / count), drawn])


def bootstrap(runs: Runs, drawn: Draws) -> dict[str, np.ndarray]:
    """Metric -> (1 + resamples,): the mean over folds and seeds, then its draws with other patients and seeds."""
    return {metric: combine(values, drawn) for metric, values in run_draws(runs, drawn).items()}


def run_draws(runs: Runs, drawn: Draws) -> dict[str, RunDraws]:
    """Metric -> the value of each run and its draws with other patients."""
    found: dict[str, RunDraws] = {}
    for key, result in sorted(runs.items()):
        table = pd.DataFrame(result["predictions"])
        for metric, values in run_scores(result, table, drawn.weights(key[0], table)).items():
            found.setdefault(metric, {})[key] = values
    return found


def difference(first: RunDraws, second: RunDraws, drawn: Draws) -> np.ndarray:
    """Draws of the mean difference over the runs that both have, (1 + resamples,)."""
    return combine({key: first[key] - second[key] for key in sorted(first.keys() & second.keys())}, drawn)


def _between(values: dict[str, RunDraws], drawn: Draws, first: str, second: str) -> np.ndarray:
    return difference(values[first], values[second], drawn)


def combine(values: RunDraws, drawn: Draws) -> np.ndarray:
    """Mean over folds and seeds and its draws, (1 + resamples,): other patients, and other seeds.

    Values of several seeds differ because the networks do and because each errs on other patients. Both are in their
    variance, from which seeds are drawn by Student's t; so the draws of patients keep only what all seeds share. Counted
    twice, the second part would make intervals of differences about half as wide again.
    """
    folds = sorted({fold for fold, _ in values})
    total = np.zeros(1 + drawn.resamples)
    for fold in folds:
        seeds = np.stack([draws for (f, _), draws in values.items() if f == fold])
        mean, count = seeds.mean(axis=0), len(seeds)
        apart, share = mean[1:] - mean[0], 1.0
        if count > 1 and (variance := float(np.nanvar(apart))) > 0:
            own = float(np.nanvar(seeds[:, 1:] - mean[1:], axis=1).sum()) / (count - 1)  # of one seed, by patients
            share = np.sqrt(max(0.0, 1 - own / count / variance))
        drawn_seeds = (drawn.seeds(fold, count)[1:] - 1 / count) @ seeds[:, 0]
        total += np.concatenate([mean[:1], mean[0] + share * apart + drawn_seeds]) / len(folds)
    return total


def _rows(
    classifier: str,
    regimes: dict[str, Runs],
    values: dict[str, dict[str, RunDraws]],
    p_values: dict[str, float],
    drawn: Draws,
    task: Task,
) -> list[dict[str, Any]]:
    rows = []
    for metric in metrics_of(task):
        least, most = bounds_of(metric, task)
        for regime, runs in regimes.items():
            n_test = {fold: len(result["predictions"]) for (fold, _), result in runs.items()}
            draws = combine(values[regime][metric], drawn)
            row = {
                "classifier": classifier,
                "regime": regime,
                "metric": metric,
                **_interval(draws.clip(least, most), "mean", "ci_low", "ci_high"),
                "n_folds": len(n_test),
                "n_seeds": len({number for _, number in runs}),
                "n_test": sum(n_test.values()),
                "p_value": p_values.get(regime) if metric == primary_of(task) else None,
            }
            if regime != "real" and "real" in values:
                row |= _interval(
                    difference(values[regime][metric], values["real"][metric], drawn),
                    "delta_vs_real",
                    "delta_ci_low",
                    "delta_ci_high",
                )
            rows.append(row)
    return rows


def _interval(draws: np.ndarray, value: str, low: str, high: str) -> dict[str, float]:
    limits = np.nanpercentile(draws[1:], [2.5, 97.5])
    return {value: float(draws[0]), low: float(limits[0]), high: float(limits[1])}
