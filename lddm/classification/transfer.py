"""transfer.csv: train on real and test on synthetic videos (TRTS), and the reverse (TSTR).

TSTR measures what a classifier learns from synthetic videos alone (regime `lddm_only`). TRTS measures whether a classifier of
real videos recognises the intended class of synthetic videos (Esteban et al. 2017). For TRTS the first frames of the test
patients are animated with their true labels, so the class may also be visible in the real first frame; the repeated still
(`static`) is the control for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from lddm.classification.comparisons import Runs
from lddm.classification.measures import bounds_of, primary_of
from lddm.classification.regimes import Clips
from lddm.classification.table import common_task, estimates, read_cells, run_values
from lddm.data.synthetic import load_synthetic
from lddm.errors import LddmError
from lddm.settings.evaluation import ClassificationSettings
from lddm.statistics.resampling import PatientDraws

COLUMNS = [
    "classifier",
    "scheme",
    "trained_on",
    "tested_on",
    "metric",
    "mean",
    "ci_low",
    "ci_high",
    "delta_vs_real",
    "delta_ci_low",
    "delta_ci_high",
    "n_folds",
    "n_seeds",
    "n_test",
]
ONLY = "lddm_only"  # regime of TSTR


def animated_test_clips(manifests: Sequence[Path], test: pd.DataFrame) -> dict[str, Clips]:
    """Synthetic videos of the test clips, one per clip, prepared for a classifier: generator -> videos.

    Args:
        manifests: shards of the source `heldout` of any number of generators.
        test: test clips of the fold.

    Raises:
        LddmError: a generator lacks a test clip.
    """
    frames, table = load_synthetic(manifests)
    found = {}
    for generator, part in table.reset_index().groupby("generator", sort=True):
        first = part[part["sample"] == part["sample"].min()].drop_duplicates("clip_id").set_index("clip_id")
        if missing := set(test["clip_id"]) - set(first.index):
            raise LddmError(
                f"{generator}: no synthetic video of test clip '{min(missing)}'", "run the rule synthesize again"
            )
        rows = first.loc[test["clip_id"], "index"].to_numpy()
        found[str(generator)] = Clips(frames[rows], test["label"].to_numpy(), test)
    return found


def transfer_table(files: list[Path], section: ClassificationSettings, seed: int) -> pd.DataFrame:
    """Primary metric by training set and test set, with differences to training and testing on real videos (TRTR).

    Args:
        files: seed-<s>.json of all folds, classifiers and regimes.

    Returns:
        Columns `COLUMNS`; intervals as in classification.csv, differences paired by patients and seeds. No rows without the
        regime `real`.
    """
    drawn = PatientDraws(section.bootstrap, seed)
    cells = read_cells(files)
    task = common_task(cells)
    metric, rows = primary_of(task), []
    measured = partial(estimates, bounds=bounds_of(metric, task), seed=seed)
    for classifier, regimes in cells.items():
        if "real" not in regimes:
            continue
        real = run_values(regimes["real"], drawn)[metric]
        rows.append(_names(classifier, "TRTR", "real", "real") | measured(real, None, regimes["real"]))
        for generator, runs in _tested(regimes["real"]).items():
            values = run_values(runs, drawn)[metric]
            rows.append(_names(classifier, "TRTS", "real", generator) | measured(values, real, runs))
        if ONLY in regimes:
            values = run_values(regimes[ONLY], drawn)[metric]
            rows.append(_names(classifier, "TSTR", "lddm", "real") | measured(values, real, regimes[ONLY]))
    return pd.DataFrame(rows, columns=COLUMNS).assign(metric=metric)


def _names(classifier: str, scheme: str, trained_on: str, tested_on: str) -> dict[str, Any]:
    return {"classifier": classifier, "scheme": scheme, "trained_on": trained_on, "tested_on": tested_on}


def _tested(runs: Runs) -> dict[str, Runs]:
    """Replace the predictions for real videos by those for synthetic ones: generator -> runs."""
    found: dict[str, Runs] = {}
    for key, result in runs.items():
        for generator, predictions in result.get("synthetic_predictions", {}).items():
            found.setdefault(generator, {})[key] = result | {"predictions": predictions}
    return found
