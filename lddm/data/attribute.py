"""A measured attribute of videos as the condition of generators, and its distribution given the label.

The attribute is a number that describes the motion of a video and can be measured without labels, so that generators can be
trained on all videos. The few labelled videos are used only to estimate p(attribute | label). A still with a label is animated
for a value sampled from that distribution. Few labels thus suffice, since they determine one number instead of a whole motion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lddm.errors import LddmError
from lddm.files import read_json, reading, write_json
from lddm.task import Task

LIMIT = 3.0  # standard deviations at which values are clipped. ASSUME: a single outlier must not stretch the range of the others
STREAM = 1  # random stream of the attribute of a video; its noise has another one


@dataclass(frozen=True)
class AttributePrior:
    """p(attribute | label), from labelled training clips.

    For a class: a kernel density estimate from the values of its clips that preserves their mean and variance, since values are
    shrunk towards their mean to compensate for the kernel (West 1993, J. R. Statist. Soc. B 55:409). For a numeric label:
    linear regression, with that density of the residuals at all values. ASSUME: few labels do not support richer models.

    Attributes:
        labels, values: labels and standardised values of the labelled clips.
        weights: weights of the clips, with sum 1; each video has the same total weight.
        smoothing: kernel width in standard deviations, 0 to 1; see `ConditionSettings.smoothing`.
        numbers: whether labels are numbers.
        exact: whether the attribute is the label itself (soft labels), so that nothing is estimated.
    """

    labels: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()
    smoothing: float = 0.5
    numbers: bool = False
    exact: bool = False

    @classmethod
    def fit(
        cls, labels: np.ndarray, values: np.ndarray, videos: Sequence[str], smoothing: float, task: Task
    ) -> AttributePrior:
        """Estimate the distribution from labelled clips.

        Args:
            labels: (n,), known labels.
            values: (n,), standardised values.
            videos: video of each clip, n ids.

        Raises:
            LddmError: a class has fewer than two labelled videos, or there are fewer than three numeric labels.
        """
        hint = "label more videos (split.max_labelled_videos), or set condition.attribute null"
        names = np.asarray(videos)
        if task.is_regression:
            if (count := len(np.unique(labels))) < 3:
                raise LddmError(f"p(attribute | {task.name}) needs 3 labelled numbers, there are {count}", hint)
        else:
            for label, name in enumerate(task.classes):
                if (count := len(np.unique(names[labels == label]))) < 2:
                    raise LddmError(f"p(attribute | {name}) needs 2 labelled training videos, there are {count}", hint)
        _, video, clips = np.unique(names, return_inverse=True, return_counts=True)
        weights = 1 / (len(clips) * clips[video])
        known, given, each = (tuple(float(v) for v in column) for column in (labels, values, weights))
        return cls(known, given, each, smoothing, task.is_regression)

    def centre(self, label: float) -> float:
        """Conditional mean of the attribute for a known label."""
        return self._fitted(label)[0]

    def draw(self, label: float, rng: np.random.Generator) -> float:
        """Sample a value for a label; NaN for an unknown label."""
        if np.isnan(label) or (label < 0 and not self.numbers):
            return np.nan
        if self.exact:
            return label
        centre, residuals, weights = self._fitted(label)
        chosen = residuals[rng.choice(len(residuals), p=weights)]
        width = self.smoothing * np.sqrt(weights @ residuals**2)
        return float(centre + np.sqrt(1 - self.smoothing**2) * chosen + width * rng.normal())

    def explained(self) -> float:
        """Share of the variance of the values explained by the labels, on the clips used for the estimate."""
        values, weights = np.array(self.values), np.array(self.weights)
        rest = values - np.array([self.centre(label) for label in self.labels])
        spread = values - weights @ values
        return float(1 - (weights @ rest**2) / (weights @ spread**2))

    def _fitted(self, label: float) -> tuple[float, np.ndarray, np.ndarray]:
        """Conditional mean for a label, and the residuals and weights (m,) of the clips used for its density."""
        labels, values, weights = (np.array(column) for column in (self.labels, self.values, self.weights))
        if self.numbers:
            slope, at_zero = np.polyfit(labels, values, 1, w=np.sqrt(weights))
            return float(at_zero + slope * label), values - at_zero - slope * labels, weights
        same = labels == label
        weights = weights[same] / weights[same].sum()
        centre = weights @ values[same]
        return float(centre), values[same] - centre, weights


@dataclass(frozen=True)
class Attribute:
    """A measured attribute, standardised for generators.

    Attributes:
        name: a value of `ConditionSettings.attribute`.
        what: description with the unit.
        mean, std: mean and standard deviation over the training clips; a standardised value is (measured - mean) / std.
        low, high: range of standardised values, to which all values are clipped.
        prior: p(attribute | label).
    """

    name: str
    what: str
    mean: float
    std: float
    low: float
    high: float
    prior: AttributePrior

    @property
    def task(self) -> Task:
        """Task of the generators, whose labels are standardised values."""
        return Task("regression", (), self.name, "", self.low, self.high)

    def draw(self, label: float, seed: int) -> float:
        """Sample a standardised value for a label, determined by the seed; NaN for an unknown label."""
        value = self.prior.draw(float(label), np.random.default_rng([seed, STREAM]))
        return float(np.clip(value, self.low, self.high))

    def said(self) -> str:
        """Short description for display."""
        span = f"{self.what}, {self.low:g} to {self.high:g}"
        return span if self.prior.exact else f"{span} standard deviations around {self.mean:.3g}"

    def to_meta(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    @classmethod
    def of_meta(cls, meta: Mapping[str, Any]) -> Attribute:
        """Inverse of `to_meta`."""
        prior = dict(meta["prior"])
        labels, values, weights = (tuple(prior.pop(key)) for key in ("labels", "values", "weights"))
        return cls(**{**meta, "prior": AttributePrior(labels, values, weights, **prior)})


def save_attribute(path: Path, attribute: Attribute, values: Mapping[str, float]) -> None:
    """Write an attribute and the standardised value of each train and val clip, by clip id."""
    write_json(path, {"attribute": attribute.to_meta(), "clips": dict(values)})


def load_attribute(path: Path) -> tuple[Attribute, dict[str, float]]:
    """Read a file written by `save_attribute`.

    Raises:
        LddmError: the file is missing or not such a file.
    """
    with reading(path, "measure_attribute"):
        found = read_json(path)
        return Attribute.of_meta(found["attribute"]), found["clips"]
