"""What a label of a study is: one of some classes, or a number with a unit.

In tables a label is a number in the column `label`: the place of the class among the class names (int64, -1 = unknown), or
the target in its unit (float64, NaN = unknown). This module turns it into the words that people read, and back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lddm.errors import LddmError

KINDS = ("binary", "classes", "ordinal", "regression")
LEVELS = 4  # quantile groups of a target, wherever a class would be balanced


@dataclass(frozen=True)
class Task:
    """The labels of a study.

    Attributes:
        kind: "binary" (two classes, the last is the positive one), "classes", "ordinal" (classes from low to high) or
            "regression" (a number).
        classes: class names; the position is the label. Empty for a number.
        name, unit: of a number, e.g. ("ejection fraction", "%").
        low, high: range of a number.
    """

    kind: str = "binary"
    classes: tuple[str, ...] = ("benign", "malignant")
    name: str = ""
    unit: str = ""
    low: float = 0.0
    high: float = 1.0

    @property
    def is_regression(self) -> bool:
        """Whether a label is a number and not a class."""
        return self.kind == "regression"

    @property
    def target_range(self) -> tuple[float, float] | None:
        """(low, high) of a number, None for classes."""
        return (self.low, self.high) if self.is_regression else None

    @property
    def unknown(self) -> float:
        """The label of a file whose label is not known."""
        return math.nan if self.is_regression else -1

    @property
    def dtype(self) -> type[np.generic]:
        """Type of a label in tables."""
        return np.float64 if self.is_regression else np.int64

    @classmethod
    def of_meta(cls, meta: Mapping[str, Any]) -> Task:
        """The task that the meta of a frame store, a bundle or a result names; without one it is binary."""
        about = meta.get("task") or {"kind": "binary" if len(meta["classes"]) == 2 else "classes"}
        return cls(**({"classes": tuple(meta.get("classes", ()))} | about))

    def to_meta(self) -> dict[str, Any]:
        """The keys `classes` and `task`, as JSON."""
        about: dict[str, Any] = {"kind": self.kind}
        if self.is_regression:
            about |= {"name": self.name, "unit": self.unit, "low": self.low, "high": self.high}
        return {"classes": list(self.classes), "task": about}

    def show(self, label: float) -> str:
        """A label as people read it: "malignant", "35.2 %"; "unknown" where it is not known."""
        if self.is_regression:
            return "unknown" if math.isnan(label) else f"{label:.3g} {self.unit}".strip()
        return self.classes[int(label)] if label >= 0 else "unknown"

    def said(self) -> str:
        """The task in a few words: the class names, or the name, unit and range of the number."""
        if not self.is_regression:
            return ", ".join(self.classes)
        return f"{self.name}, {self.low:g} to {self.high:g} {self.unit}".strip()

    def check(self, label: float | str | None) -> float:
        """The label for a class name, a class number or a target; None = unknown.

        Raises:
            LddmError: no such class, or a target that is not a number within the range.
        """
        if label is None:
            return self.unknown
        if self.is_regression:
            return self._check_target(label)
        if isinstance(label, str):
            if label not in self.classes:
                raise LddmError(f"unknown class '{label}'", f"expected one of {', '.join(self.classes)}")
            return self.classes.index(label)
        if label != int(label) or not -1 <= label < len(self.classes):
            raise LddmError(f"label {label} is out of range", f"expected -1 (unknown) to {len(self.classes) - 1}")
        return int(label)

    def _check_target(self, target: float | str) -> float:
        expected = f"expected {self.name} from {self.low:g} to {self.high:g} {self.unit}".strip()
        try:
            number = float(target)
        except ValueError:
            raise LddmError(f"'{target}' is not a number: this study has no classes", expected) from None
        if not (math.isnan(number) or self.low <= number <= self.high):
            raise LddmError(f"{self.name} {self.show(number)} is out of range", expected)
        return number


def level_names(labels: np.ndarray, task: Task) -> list[str]:
    """Names of `levels(labels)`, from low to high: class names, or the span of the numbers of each group with its unit."""
    if not task.is_regression:
        return list(task.classes)
    values, level = np.asarray(labels, dtype=float), levels(np.asarray(labels, dtype=float))
    groups = [values[level == one] for one in np.unique(level[level >= 0])]
    return [f"{task.name} {task.show(group.min())} to {task.show(group.max())}" for group in groups]


def levels(labels: np.ndarray, count: int = LEVELS) -> np.ndarray:
    """What labels are balanced and stratified by: int64 (n,).

    Classes stand for themselves. Numbers (a float dtype) are grouped by quantile into at most `count` groups of the same
    size; equal numbers stay together, and NaN is -1.
    """
    values = np.asarray(labels)
    if not np.issubdtype(values.dtype, np.floating):
        return values.astype(np.int64)
    known = np.isfinite(values)
    out = np.full(len(values), -1, dtype=np.int64)
    if known.any():
        cuts = np.unique(np.quantile(values[known], np.arange(1, count) / count))
        out[known] = np.unique(np.searchsorted(cuts, values[known], side="right"), return_inverse=True)[1]
    return out
