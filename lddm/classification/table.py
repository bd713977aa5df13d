"""classification.csv: the ablation in numbers, with intervals over patients and differences to `real`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lddm.classification.statistics import METRICS, holm, patient_weights, scores, two_sided
from lddm.errors import LddmError
from lddm.files import read_json
from lddm.settings.evaluation import ClassificationSettings

Runs = dict[tuple[int, int], dict[str, Any]]  # (fold, seed) -> content of seed-<s>.json

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
    test patients and seeds; all regimes share the draws, so that differences are paired. The p-value of a difference
    is two-sided and corrected by Holm over the regimes of a classifier and metric.

    Args:
        files: seed-<s>.json of all folds, classifiers and regimes.

    Raises:
        LddmError: a cell was tested on other videos than the rest of its fold.
    """
    drawn = Draws(section.bootstrap, seed)
    rows = []
    for classifier, regimes in read_cells(files).items():
        values = {regime: bootstrap(runs, drawn) for regime, runs in regimes.items()}
        rows += _rows(classifier, regimes, values)
    return pd.DataFrame(rows, columns=COLUMNS)


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
            drawn = patient_weights(predictions["patient_id"].to_numpy(), self.resamples, rng)
            self.videos[fold] = ids, np.concatenate([np.ones((1, len(ids))), drawn])
        known, weights = self.videos[fold]
        if known != ids:
            raise LddmError(f"fold {fold}: classifiers were tested on different videos", "run the rule classify again")
        return weights

    def seeds(self, fold: int, count: int) -> np.ndarray:
        """(1 + resamples, count): how often each seed counts, summing to one."""
        rng = np.random.default_rng([self.seed, fold, 1])
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=self.resamples) / count
        return np.concatenate([np.full((1, count), 1 / count), drawn])


def bootstrap(runs: Runs, drawn: Draws) -> dict[str, np.ndarray]:
    """Metric -> (1 + resamples,): the mean over folds and seeds, then its bootstrap draws."""
    folds = sorted({fold for fold, _ in runs})
    total = {metric: np.zeros(1 + drawn.resamples) for metric in METRICS}
    for fold in folds:
        seeds = sorted(s for f, s in runs if f == fold)
        share = drawn.seeds(fold, len(seeds))
        for place, number in enumerate(seeds):
            result = runs[fold, number]
            table = pd.DataFrame(result["predictions"])
            weights = drawn.weights(fold, table)
            values = scores(table["label"].to_numpy(), table["probability"].to_numpy(), result["threshold"], weights)
            for metric in METRICS:
                total[metric] += share[:, place] * values[metric] / len(folds)
    return total


def _rows(classifier: str, regimes: dict[str, Runs], values: dict[str, dict[str, np.ndarray]]) -> list[dict[str, Any]]:
    others = [regime for regime in regimes if regime != "real"]
    rows = []
    for metric in METRICS:
        differences = {r: values[r][metric] - values["real"][metric] for r in others} if "real" in values else {}
        raw = {regime: two_sided(d[1:]) for regime, d in differences.items()}
        corrected = dict(zip(raw, holm(np.array(list(raw.values()))), strict=True)) if raw else {}
        for regime, runs in regimes.items():
            n_test = {fold: len(result["predictions"]) for (fold, _), result in runs.items()}
            delta = differences.get(regime)
            rows.append(
                {
                    "classifier": classifier,
                    "regime": regime,
                    "metric": metric,
                    **_interval(values[regime][metric], "mean", "ci_low", "ci_high"),
                    "n_folds": len(n_test),
                    "n_seeds": len({number for _, number in runs}),
                    "n_test": sum(n_test.values()),
                    **(_interval(delta, "delta_vs_real", "delta_ci_low", "delta_ci_high") if delta is not None else {}),
                    "p_value": corrected.get(regime),
                }
            )
    return rows


def _interval(draws: np.ndarray, value: str, low: str, high: str) -> dict[str, float]:
    limits = np.nanpercentile(draws[1:], [2.5, 97.5])
    return {value: float(draws[0]), low: float(limits[0]), high: float(limits[1])}
