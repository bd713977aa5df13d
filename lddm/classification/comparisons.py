"""comparisons.csv: paired comparisons of regimes with confidence intervals and tests.

Each regime is compared with `real`. LDDM is also compared with every other source of videos, in particular with repeated
stills: both use the same labelled images, so that only motion can explain a difference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from lddm.classification.measures import bounds_of, difference_bounds, primary_of, primary_value
from lddm.statistics.auc import auc_standard_error, delong_components
from lddm.statistics.estimate import Estimate, Run
from lddm.statistics.p_values import bootstrap_p_value, holm, normal_p_value, verdict
from lddm.task import Task

Runs = dict[Run, dict[str, Any]]  # content of seed-<s>.json

BINARY = Task()


def comparison_columns(task: Task = BINARY) -> list[str]:
    """Columns of comparisons.csv; the difference is in the primary metric of the task."""
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
    classifier: str, regimes: dict[str, Runs], between: Callable[[str, str], Estimate], task: Task = BINARY
) -> list[dict[str, Any]]:
    """Compare the primary metric (for two classes the AUC) on the same test videos, fold by fold and seed by seed.

    One row per pair of regimes. `p_bootstrap`: two-sided; patients, seeds and trainings of the generators (if several) are
    random. `p_delong`: patients are random, the trained networks fixed; empty unless there are two classes. `p_sign`: "<=" if
    the bootstrap has too few resamples to resolve a smaller p-value, else "=". `runs_better`: number of pairs of runs in which
    the regime has the higher value. `one_family` adds `p_holm` and `verdict`.

    Args:
        between: returns the estimated difference of two regimes.
        task: prediction task.
    """
    return [
        {"classifier": classifier, "regime": regime, "against": against}
        | _compare(regimes[regime], regimes[against], between(regime, against), task)
        for regime, against in _pairs(list(regimes))
    ]


def one_family(*tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """Correct all tests that are reported together as one family, in place.

    `p_holm` is the larger of `p_bootstrap` and `p_delong`, Holm-corrected over the rows of all tables, and determines the
    verdict. The tables of scores receive it for each regime against `real`.

    Args:
        tables: pairs of a table of scores and a table of comparisons, for the ablation and for its sweep.
    """
    compared = [tests for _, tests in tables]
    larger = [tests[["p_bootstrap", "p_delong"]].max(axis=1).to_numpy() for tests in compared]
    corrected = holm(np.concatenate(larger)) if larger else np.array([])
    start = 0
    for scored, tests in tables:
        tests["p_holm"] = corrected[start : start + len(tests)]
        start += len(tests)
        if tests.empty:
            continue
        delta = next(column for column in tests if str(column).startswith("delta_"))
        tests["verdict"] = [verdict(*row) for row in zip(tests[delta], tests["p_holm"], strict=True)]
        keys = [name for name in ("real_videos", "synthetic_share", "classifier", "regime") if name in scored]
        found = tests[tests["against"] == "real"].set_index(keys)["p_holm"]
        primary = (scored["metric"] == delta.removeprefix("delta_")) & (scored["regime"] != "real")
        scored["p_value"] = [
            found.get(key if len(keys) > 1 else key[0]) if tested else None
            for key, tested in zip(scored[keys].itertuples(index=False, name=None), primary, strict=True)
        ]


def _pairs(regimes: list[str]) -> list[tuple[str, str]]:
    pairs = [(regime, "real") for regime in regimes if regime != "real"] if "real" in regimes else []
    if "real+lddm" in regimes:
        pairs += [
            ("real+lddm", other)
            for other in regimes
            if other not in ("real", "real+lddm") and not other.startswith("lddm_only")
        ]
    return pairs


def _compare(first: Runs, second: Runs, between: Estimate, task: Task) -> dict[str, Any]:
    common = sorted(set(first) & set(second))
    folds = sorted({run[0] for run in common})
    variance, better, patients, videos = 0.0, 0, 0, 0
    for fold in folds:
        runs = [key for key in common if key[0] == fold]
        tables = [[pd.DataFrame(cell[key]["predictions"]) for cell in (first, second)] for key in runs]
        members = tables[0][0]["patient_id"].to_numpy()
        if task.kind == "binary":
            components = np.mean([_components(a) - _components(b) for a, b in tables], axis=0)
            variance += auc_standard_error(components, members) ** 2 / len(folds) ** 2
        better += sum(primary_value(task, a) > primary_value(task, b) for a, b in tables)
        patients, videos = patients + len(set(members)), videos + len(members)
    draws = between.draws()[1:]
    low, high = between.interval(*difference_bounds(*bounds_of(primary_of(task), task)))
    by_bootstrap = bootstrap_p_value(draws)
    by_delong = normal_p_value(between.value, float(np.sqrt(variance))) if task.kind == "binary" else np.nan
    at_floor = bool((draws > 0).all() or (draws < 0).all())
    return {
        f"delta_{primary_of(task)}": between.value,
        "ci_low": float(low),
        "ci_high": float(high),
        "p_bootstrap": by_bootstrap,
        "p_delong": by_delong,
        "p_sign": "<=" if at_floor and not by_bootstrap < by_delong else "=",
        "runs_better": better,
        "n_runs": len(common),
        "n_test": videos,
        "n_patients": patients,
    }


def _components(table: pd.DataFrame) -> np.ndarray:
    return delong_components(table["label"].to_numpy(), table["probability"].to_numpy())
