"""Prediction task of a study: labels are classes, or numbers with a unit (regression).

In tables, the column `label` holds the class index (int64, -1 = unknown) or the target in its unit (float64, NaN = unknown).
This module converts labels to readable text and back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lddm.errors import LddmError

KINDS = ("binary", "classes", "ordinal", "regression")
LEVELS = 4  # quantile groups of a target, used where classes would be balanced or stratified


@dataclass(frozen=True)
class Task:
    """Prediction task and its labels.

    Attributes:
        kind: "binary" (two classes, the second is positive), "classes", "ordinal" (classes from low to high) or
            "regression" (a number).
        classes: class names; the index is the label. Empty for regression.
        name, unit: name and unit of the target, e.g. ("ejection fraction", "%").
        low, high: range of the target.
    """

    kind: str = "binary"
    classes: tuple[str, ...] = ("benign", "malignant")
    name: str = ""
    unit: str = ""
    low: float = 0.0
    high: float = 1.0

    @property
    def is_regression(self) -> bool:
        """Whether labels are numbers rather than classes."""
        return self.kind == "regression"

    @property
    def target_range(self) -> tuple[float, float] | None:
        """(low, high) of the target; None for classes."""
        return (self.low, self.high) if self.is_regression else None

    @property
    def unknown(self) -> float:
        """Value of an unknown label: NaN or -1."""
        return math.nan if self.is_regression else -1

    @property
    def dtype(self) -> type[np.generic]:
        """Dtype of labels in tables."""
        return np.float64 if self.is_regression else np.int64

    @classmethod
    def of_meta(cls, meta: Mapping[str, Any]) -> Task:
        """Build from the metadata of a frame store, model package or result; binary by default."""
        about = meta.get("task") or {"kind": "binary" if len(meta["classes"]) == 2 else "classes"}
        return cls(**({"classes": tuple(meta.get("classes", ()))} | about))

    def to_meta(self) -> dict[str, Any]:
        """Metadata keys `classes` and `task`, JSON values."""
        about: dict[str, Any] = {"kind": self.kind}
        if self.is_regression:
            about |= {"name": self.name, "unit": self.unit, "low": self.low, "high": self.high}
        return {"classes": list(self.classes), "task": about}

    def show(self, label: float) -> str:
        """Format a label for display: "malignant", "35.2 %" or "unknown"."""
        if self.is_regression:
            return "unknown" if math.isnan(label) else f"{label:.3g} {self.unit}".strip()
        return self.classes[int(label)] if label >= 0 else "unknown"

    def said(self) -> str:
        """Describe the task briefly: the class names, or name, unit and range of the target."""
        if not self.is_regression:
            return ", ".join(self.classes)
        return f"{self.name}, {self.low:g} to {self.high:g} {self.unit}".strip()

    def check(self, label: float | str | None) -> float:
        """Parse a class name, class index or target value into a label; None = unknown.

        Raises:
            LddmError: unknown class, or a target that is not a number within the range.
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
    """Names of `levels(labels)`, from low to high: class names, or the range of each quantile group with its unit."""
    if not task.is_regression:
        return list(task.classes)
    values, level = np.asarray(labels, dtype=float), levels(np.asarray(labels, dtype=float))
    groups = [values[level == one] for one in np.unique(level[level >= 0])]
    return [f"{task.name} {task.show(group.min())} to {task.show(group.max())}" for group in groups]


def levels(labels: np.ndarray, count: int = LEVELS) -> np.ndarray:
    """Strata for balancing and stratification: int64 (n,).

    Class labels are returned unchanged. Numbers (float dtype) are binned by quantile into at most `count` groups of equal
    size; equal numbers share a group, and NaN gives -1.
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
