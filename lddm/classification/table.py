"""classification.csv: the ablation in numbers, with intervals over patients and differences to `real`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lddm.classification.comparisons import COLUMNS as COMPARED
from lddm.classification.comparisons import Runs, compare
from lddm.classification.statistics import METRICS, patient_weights, scores, seed_weights
from lddm.errors import LddmError
from lddm.files import read_json
from lddm.settings.evaluation import ClassificationSettings

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
    is that of tables/comparisons.csv, the one family of tests; metrics other than the AUC have intervals only.

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
    drawn = Draws(section.bootstrap, seed)
    rows, compared = [], []
    for classifier, regimes in read_cells(files).items():
        values = {regime: run_draws(runs, drawn) for regime, runs in regimes.items()}
        auc = {regime: found["auc"] for regime, found in values.items()}
        tests = compare(classifier, regimes, partial(_between, auc, drawn))
        p_values = {row["regime"]: row["p_holm"] for row in tests if row["against"] == "real"}
        rows += _rows(classifier, regimes, values, p_values, drawn)
        compared += tests
    return pd.DataFrame(rows, columns=COLUMNS), pd.DataFrame(compared, columns=COMPARED)


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
            drawn = patient_weights(patients, self.resamples, rng, labels)
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
    found: dict[str, RunDraws] = {metric: {} for metric in METRICS}
    for key, result in sorted(runs.items()):
        table = pd.DataFrame(result["predictions"])
        labels, probability, patients = (table[name].to_numpy() for name in ("label", "probability", "patient_id"))
        weights = drawn.weights(key[0], table)
        for metric, values in scores(labels, probability, result["threshold"], weights, patients).items():
            found[metric][key] = values
    return found


def difference(first: RunDraws, second: RunDraws, drawn: Draws) -> np.ndarray:
    """Draws of the mean difference over the runs that both have, (1 + resamples,)."""
    return combine({key: first[key] - second[key] for key in sorted(first.keys() & second.keys())}, drawn)


def _between(values: dict[str, RunDraws], drawn: Draws, first: str, second: str) -> np.ndarray:
    return difference(values[first], values[second], drawn)


def combine(values: RunDraws, drawn: Draws) -> np.ndarray:
    """Mean over folds and seeds and its draws, (1 + resamples,): other patients, and other seeds.

    The values of a few seeds on the same test patients differ by chance of the patients as well, which the draws of
    patients hold already. Only what is left of their variance is drawn for the seeds; counted twice, it would make
    intervals of differences about half as wide again.
    """
    folds = sorted({fold for fold, _ in values})
    total = np.zeros(1 + drawn.resamples)
    for fold in folds:
        seeds = np.stack([draws for (f, _), draws in values.items() if f == fold])
        mean, count = seeds.mean(axis=0), len(seeds)
        total += mean / len(folds)
        if count > 1 and (variance := float(seeds[:, 0].var(ddof=1))) > 0:
            by_patients = float(np.nanvar(seeds[:, 1:] - mean[1:], axis=1).sum()) / (count - 1)
            share = np.sqrt(max(0.0, 1 - by_patients / variance))
            total += share * (drawn.seeds(fold, count) - 1 / count) @ seeds[:, 0] / len(folds)
    return total


def _rows(
    classifier: str,
    regimes: dict[str, Runs],
    values: dict[str, dict[str, RunDraws]],
    p_values: dict[str, float],
    drawn: Draws,
) -> list[dict[str, Any]]:
    rows = []
    for metric in METRICS:
        least, most = {"log_loss": (0.0, np.inf), "ece": (-1.0, 1.0)}.get(metric, (0.0, 1.0))
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
                "p_value": p_values.get(regime) if metric == "auc" else None,
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
