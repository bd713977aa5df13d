"""quality.csv: the scores of all generators and folds, one row per number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from lddm.errors import LddmError
from lddm.files import read_json
from lddm.report.memorisation import CONTROL
from lddm.report.style import in_order

QUALITY = [
    "fold",
    "generator",
    "source",
    "metric",
    "features",
    "reference",
    "value",
    "ci_low",
    "ci_high",
    "n_real",
    "n_synthetic",
    "better",
    "floor",
    "sees_motion",
    "protocol",
]


SEARCHES = ("copy_rate", "motion_copy_rate")


def quality_table(files: list[Path]) -> pd.DataFrame:
    """Concatenate the rows of all generators and folds; absent metrics have no row, and the page gives the reasons.

    Controls of the copy searches are included; those of other memorisation metrics are only in memorisation.csv.

    Raises:
        LddmError: a file is not a list of rows.
    """
    rows = []
    for path in files:
        content = read_json(path)
        if not isinstance(content, list) or any(not set(QUALITY) <= set(row) for row in content):
            raise LddmError(f"{path} contains no quality rows", "run the rule score again")
        rows += [row for row in content if row["value"] is not None and _has_place(row)]
    table = pd.DataFrame(rows, columns=QUALITY)
    rank = {name: place for place, name in enumerate(in_order(table["generator"].tolist()))}
    order = table.assign(rank=table["generator"].map(rank))
    return order.sort_values(["metric", "source", "reference", "fold", "rank"], kind="stable")[QUALITY]


def _has_place(row: dict[str, Any]) -> bool:
    return row["metric"] in SEARCHES or not str(row["reference"]).startswith(CONTROL)
