"""Classes and targets from a value that a release states for each patient or file."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from lddm.data.sources.base import label_of

Spans = Mapping[str, tuple[float, float]]


def span_columns(value: float, spans: Spans, classes: list[str], measure: str) -> dict[str, Any]:
    """The columns label, class_name and excluded of an index row for a value.

    Args:
        value: NaN = unknown.
        spans: class name -> range, lower bound included, upper bound excluded.
        classes: class names of the study.
        measure: name of the value, for the exclusion reason.
    """
    if math.isnan(value):
        return {"label": -1, "class_name": "", "excluded": f"no {measure}"}
    for name, (low, high) in spans.items():
        if low <= value < high:
            return label_of(name, classes)
    return {"label": -1, "class_name": "", "excluded": f"{measure} {value:g} is in no class of the source"}


def is_still_patient(patient: str, share: float) -> bool:
    """Whether a patient contributes a still instead of a video: true for a fixed `share` of them, by a hash of the name."""
    number = int.from_bytes(hashlib.sha256(patient.encode()).digest()[:8], "big")
    return number < share * 2**64
