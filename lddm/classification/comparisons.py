"""comparisons.csv: which regime is better than which, and how sure that is.

Each regime stands against `real`. LDDM stands against every other source of videos too, most of all against the
repeated stills: the same labelled images, so that what is left can only be the motion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from lddm.classification.measures import primary_of, primary_value
from lddm.classification.statistics import auc_influence, bootstrap_p_value, delong
from lddm.statistics.multiple_testing import holm
from lddm.task import Task

Runs = dict[tuple[int, int], dict[str, Any]]  # (fold, seed) -> content of seed-<s>.json

ALPHA = 0.05
BINARY = Task()


def comparison_columns(task: Task = BINARY) -> list[str]:
    """Columns of comparisons.csv; the difference is that of the primary metric of the task."""
    return [
        "classifier",
        "regime",
        "against",
        f"delta_{primary_of(task)}",
        "ci_low",
        "ci_high",
        "p_bootstrap",
        "p_delong",
        "p_holm",
        "p_sign",
        "runs_better",
        "n_runs",
        "n_test",
        "n_patients",
        "verdict",
    ]


def compare(
    classifier: str, regimes: dict[str, Runs], draws: Callable[[str, str], np.ndarray], task: Task = BINARY
) -> list[dict[str, Any]]:
    """Compare the primary metric (for two classes the AUC) on the same test videos, fold by fold and seed by seed.

    One row per pair of regimes. `p_bootstrap`: two-sided, patients and seeds redrawn. `p_delong`: patients as the only chance,
    the trained networks as they are; empty unless there are two classes. `p_holm`: the larger of both, corrected by Holm over
    the comparisons of a classifier; the verdict is about this one. `p_sign`: "<=" where the bootstrap has too few resamples to
    tell how much smaller it is, else "=". `runs_better`: in how many of the pairs of fold and seed the regime has the higher
    value.

    Args:
        draws: of two regimes, the difference of their values and its bootstrap draws, (1 + resamples,).
        task: what a label is.
    """
    delta = f"delta_{primary_of(task)}"
    rows = [
        {"classifier": classifier, "regime": regime, "against": against}
        | _compare(regimes[regime], regimes[against], draws(regime, against), task)
        for regime, against in _pairs(list(regimes))
    ]
    corrected = holm(np.array([np.nanmax([row["p_bootstrap"], row["p_delong"]]) for row in rows]))
    for row, p in zip(rows, corrected, strict=True):
        bound = row.pop("at_floor") and not row["p_bootstrap"] < row["p_delong"]
        row |= {"p_holm": p, "p_sign": "<=" if bound else "=", "verdict": _verdict(row[delta], p)}
    return rows


def _pairs(regimes: list[str]) -> list[tuple[str, str]]:
    pairs = [(regime, "real") for regime in regimes if regime != "real"] if "real" in regimes else []
    if "real+lddm" in regimes:
        pairs += [
            ("real+lddm", other)
            for other in regimes
            if other not in ("real", "real+lddm") and not other.startswith("lddm_only")
        ]
    return pairs


def _compare(first: Runs, second: Runs, draws: np.ndarray, task: Task) -> dict[str, Any]:
    common = sorted(set(first) & set(second))
    folds = sorted({fold for fold, _ in common})
    variance, better, patients, videos = 0.0, 0, 0, 0
    for fold in folds:
        runs = [key for key in common if key[0] == fold]
        tables = [[pd.DataFrame(cell[key]["predictions"]) for cell in (first, second)] for key in runs]
        members = tables[0][0]["patient_id"].to_numpy()
        if task.kind == "binary":
            influence = np.mean([_influence(a) - _influence(b) for a, b in tables], axis=0)
            variance += delong(influence, members) ** 2 / len(folds) ** 2
        better += sum(primary_value(task, a) > primary_value(task, b) for a, b in tables)
        patients, videos = patients + len(set(members)), videos + len(members)
    low, high = np.nanpercentile(draws[1:], [2.5, 97.5])
    return {
        f"delta_{primary_of(task)}": float(draws[0]),
        "ci_low": float(low),
        "ci_high": float(high),
        "p_bootstrap": bootstrap_p_value(draws[1:]),
        "at_floor": bool((draws[1:] > 0).all() or (draws[1:] < 0).all()),
        "p_delong": _normal_p(float(draws[0]), float(np.sqrt(variance))) if task.kind == "binary" else np.nan,
        "runs_better": better,
        "n_runs": len(common),
        "n_test": videos,
        "n_patients": patients,
    }


def _influence(table: pd.DataFrame) -> np.ndarray:
    return auc_influence(table["label"].to_numpy(), table["probability"].to_numpy())


def _normal_p(difference: float, error: float) -> float:
    if not np.isfinite(error):
        return 1.0  # a class with one test video: nothing can be said
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * norm.sf(abs(difference) / error))


def _verdict(difference: float, p: float) -> str:
    return "not distinguishable" if p >= ALPHA else "better" if difference > 0 else "worse"
