"""Regression targets of files, from a CSV that comes with them."""

from __future__ import annotations

import math
from pathlib import Path, PurePosixPath
from typing import Any

from lddm.data.sources.base import read_csv
from lddm.errors import LddmError
from lddm.task import Task


def read_targets(path: Path, task: Task) -> dict[str, float]:
    """File, as named in the CSV -> target; NaN for an empty cell.

    Args:
        path: a CSV with the columns `file` and the name of the target.

    Raises:
        LddmError: the CSV is missing, lacks a column, or contains a value that is not a number.
    """
    hint = f"it needs the columns file and {task.name} ({task.said()}), one row per file"
    table = read_csv(path, ("file", task.name), hint)
    return {
        file.strip().replace("\\", "/"): parse_number(value, f"{path}: row {number}, {task.name}")
        for number, (file, value) in enumerate(zip(table["file"], table[task.name], strict=True), start=2)
    }


def parse_number(text: str, where: str) -> float:
    """Parse a number of a table that came with the data; NaN for an empty cell and for n/a.

    Raises:
        LddmError: the text is not a number.
    """
    if text.strip().lower() in ("", "n/a", "na", "nan", "unknown"):
        return math.nan
    try:
        return float(text.strip().replace(",", "."))
    except ValueError:
        raise LddmError(f"{where}: '{text}' is not a number", "leave unknown values empty") from None


def target_columns(target: float, task: Task, reason: str) -> dict[str, Any]:
    """The columns label, class_name and excluded of an index row.

    Args:
        target: NaN = unknown.
        reason: why it is unknown, for the column `excluded`.
    """
    if math.isnan(target):
        return {"label": math.nan, "class_name": "", "excluded": f"no {task.name}: {reason}"}
    return {"label": target, "class_name": ""}


def find_target(targets: dict[str, float], file: str, rows: int) -> float:
    """The target of a file, looked up by path or, if the name is unique, by name; NaN if there is none.

    Args:
        targets: from `read_targets`.
        file: path below the source's folder.
        rows: number of files with this name; a row with only a name is used if there is one such file.
    """
    if file in targets:
        return targets[file]
    name = PurePosixPath(file).name
    return targets.get(name, math.nan) if rows == 1 else math.nan
