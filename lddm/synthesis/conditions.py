"""Conversion of requested labels to the condition of a generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from lddm.data.attribute import Attribute
from lddm.task import Task


class Conditions:
    """Condition of a model: the label itself, or a measured attribute, of which a value is sampled for each label.

    Args:
        about: content of bundle.json.
        device: device of the generator.
    """

    def __init__(self, about: Mapping[str, Any], device: torch.device):
        self.task, self.device = Task.of_meta(about), device
        measured = about.get("condition")
        self.attribute = None if measured is None else Attribute.of_meta(measured)

    def of(self, labels: Sequence[float] | np.ndarray, seeds: Sequence[int]) -> np.ndarray:
        """Conditions (n,) for labels (n,) and video seeds (n,): the labels, or standardised values of the attribute."""
        if self.attribute is None:
            return np.asarray(labels)
        return np.array([self.attribute.draw(label, seed) for label, seed in zip(labels, seeds, strict=True)])

    def tensor(self, asked: np.ndarray) -> torch.Tensor:
        """Conditions (n,) as a tensor on the device: classes int64, numbers float32."""
        number = self.task.is_regression or self.attribute is not None
        return torch.from_numpy(np.array(asked, dtype=np.float32 if number else np.int64)).to(self.device)
