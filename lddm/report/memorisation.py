"""memorisation.csv: each memorisation metric of the generators, with positive and negative controls.

If a control fails, the metric is not reliable on these data, and its value for a generator must not be interpreted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lddm.files import read_json
from lddm.report.style import in_order

MEMORISATION = [
    "fold",
    "metric",
    "features",
    "kind",
    "videos",
    "source",
    "reference",
    "value",
    "ci_low",
    "ci_high",
    "p_value",
    "floor",
    "n_real",
    "n_synthetic",
    "expected",
    "holds",
    "reason",
]
CONTROL = "control: "
FOUND, NOT_FOUND = 0.95, 0.10  # smallest detected share of memorised videos, largest detected share of unseen ones
ATTACKED = 0.9  # smallest AUC of membership inference against an overfitted denoiser
Row = dict[str, Any]


@dataclass(frozen=True)
class Expected:
    """Expected result of a control, in words and as a test of its row."""

    words: str
    holds: Callable[[Row], bool]


def _holds(value: float, row: Row) -> bool:
    return row["ci_low"] <= value <= row["ci_high"]


RATE = (
    Expected(f"at least {FOUND:.2f}", lambda row: row["value"] >= FOUND),
    Expected(f"at most {NOT_FOUND:.2f}", lambda row: row["value"] <= NOT_FOUND),
)
# The criterion is the interval, not the p-value: with patients in both sets, the permutation test also detects differences other
# than copies, such as slight blur (on the phantom p = 0.02 for blurred unseen clips, relative to held-out ones).
NO_COPY = (
    Expected("interval below 0", lambda row: row["ci_high"] < 0),
    Expected("interval not below 0", lambda row: row["ci_high"] >= 0),
)
EXPECTED: dict[str, tuple[Expected, Expected]] = {  # for positive and for negative controls
    "copy_rate": RATE,
    "motion_copy_rate": RATE,
    "nearer_to_train": (
        Expected("interval above 0.5", lambda row: row["ci_low"] > 0.5),
        Expected("0.5 in the interval", lambda row: _holds(0.5, row)),
    ),
    "authenticity": (
        Expected(f"at most {1 - FOUND:.2f}", lambda row: row["value"] <= 1 - FOUND + 1e-9),
        Expected("floor in the interval", lambda row: _holds(row["floor"], row)),
    ),
    "data_copying": NO_COPY,
    "data_copying_relative": NO_COPY,
    "membership_auc": (
        Expected(f"at least {ATTACKED:.2f}", lambda row: row["value"] >= ATTACKED),
        Expected("0.5 in the interval", lambda row: _holds(0.5, row)),
    ),
}
POSITIVE = ("memorised", "overfitted")  # prefixes of the names of positive controls
KINDS = ("generator", "positive control", "negative control")


def memorisation_table(files: list[Path]) -> pd.DataFrame:
    """One row per metric, fold, and generator or control; a row without a value has a reason.

    Args:
        files: quality JSON files of all folds and generators.
    """
    rows = [_row(row) for path in files for row in read_json(path) if row["metric"] in EXPECTED]
    table = pd.DataFrame(rows, columns=MEMORISATION)
    if table.empty:
        return table
    order = table.assign(
        metric_rank=table["metric"].map({name: place for place, name in enumerate(EXPECTED)}),
        kind_rank=table["kind"].map({name: place for place, name in enumerate(KINDS)}),
        rank=table["videos"].map({name: place for place, name in enumerate(in_order(table["videos"].tolist()))}),
    )
    by = ["metric_rank", "features", "fold", "kind_rank", "source", "rank"]
    return order.sort_values(by, kind="stable").reset_index(drop=True)[MEMORISATION]


def _row(row: Row) -> Row:
    reference = str(row["reference"])
    told = {key: row.get(key) for key in MEMORISATION}
    told["reason"] = row.get("reason", "")
    if not reference.startswith(CONTROL):
        return told | {"kind": "generator", "videos": row["generator"], "expected": "", "holds": None}
    name = reference.removeprefix(CONTROL)
    positive = name.startswith(POSITIVE)
    expected = EXPECTED[row["metric"]][0 if positive else 1]
    return told | {
        "kind": KINDS[1 if positive else 2],
        "videos": name,
        "reference": "train",
        "expected": expected.words,
        "holds": None if row["value"] is None else bool(expected.holds(row)),
    }


def controls_hold(table: pd.DataFrame, metric: str) -> tuple[int, int]:
    """Number of controls of a metric that hold, and number of its controls."""
    known = table[(table["metric"] == metric) & (table["kind"] != KINDS[0]) & table["holds"].notna()]
    return int(known["holds"].map(lambda held: str(held) == "True").sum()), len(known)
