"""A measured attribute of videos as the condition of generators, and which values of it a label has.

Any number that can be measured without a label tells a generator how a training video moves. A few labelled videos then say
which values go with a label, p(attribute | label), and a still of that label is animated for a value drawn from there. Few labels
are thus spent on one number, and not on a whole motion.
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

LIMIT = 3.0  # standard deviations; values beyond are taken for it. ASSUME: one odd clip must not stretch the range of the others
STREAM = 1  # of the random numbers of a video: its noise has its own


@dataclass(frozen=True)
class AttributePrior:
    """p(attribute | label), from labelled training clips.

    Of a class it is a kernel density of its clips' values that keeps their mean and variance: values are shrunk towards their
    mean as much as the kernel widens them (West 1993, J. R. Statist. Soc. B 55:409). Of a number it is a straight line through
    the clips and that density of their residuals, the same for all numbers. ASSUME both: a few labels say no more.

    Attributes:
        labels, values: of labelled clips; values are standardised.
        weights: of the clips, sum 1: a video with many clips counts as much as one with few.
        smoothing: width of the kernel in standard deviations, 0 to 1; see `ConditionSettings.smoothing`.
        numbers: a label is a number.
        exact: the attribute of a label is the label itself (soft labels); nothing is estimated.
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
        """Estimate from clips.

        Args:
            labels: (n,), known.
            values: (n,), standardised.
            videos: of each clip, n names.

        Raises:
            LddmError: a class has fewer than two labelled videos, or there are fewer than three numbers.
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
        """The mean value of a known label."""
        return self._fitted(label)[0]

    def draw(self, label: float, rng: np.random.Generator) -> float:
        """A value for a label; NaN for an unknown one."""
        if np.isnan(label) or (label < 0 and not self.numbers):
            return np.nan
        if self.exact:
            return label
        centre, residuals, weights = self._fitted(label)
        chosen = residuals[rng.choice(len(residuals), p=weights)]
        width = self.smoothing * np.sqrt(weights @ residuals**2)
        return float(centre + np.sqrt(1 - self.smoothing**2) * chosen + width * rng.normal())

    def explained(self) -> float:
        """Share of the variance of the values that the labels explain, in the clips that it is estimated from."""
        values, weights = np.array(self.values), np.array(self.weights)
        rest = values - np.array([self.centre(label) for label in self.labels])
        spread = values - weights @ values
        return float(1 - (weights @ rest**2) / (weights @ spread**2))

    def _fitted(self, label: float) -> tuple[float, np.ndarray, np.ndarray]:
        """Centre of a label, and the residuals and weights (m,) of the clips that stand for it."""
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
        name: as in `ConditionSettings.attribute`.
        what: in words, with the unit.
        mean, std: of the training clips; a standardised value is (measured - mean) / std.
        low, high: range of standardised values; others are limited to it.
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
        """Labels of the generators: standardised values."""
        return Task("regression", (), self.name, "", self.low, self.high)

    def draw(self, label: float, seed: int) -> float:
        """A standardised value for a label, the same for the same seed; NaN for an unknown label."""
        value = self.prior.draw(float(label), np.random.default_rng([seed, STREAM]))
        return float(np.clip(value, self.low, self.high))

    def said(self) -> str:
        """In a few words, for people."""
        span = f"{self.what}, {self.low:g} to {self.high:g}"
        return span if self.prior.exact else f"{span} standard deviations around {self.mean:.3g}"

    def to_meta(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def of_meta(cls, meta: Mapping[str, Any]) -> Attribute:
        """What `to_meta` gave."""
        prior = dict(meta["prior"])
        labels, values, weights = (tuple(prior.pop(key)) for key in ("labels", "values", "weights"))
        return cls(**{**meta, "prior": AttributePrior(labels, values, weights, **prior)})


def save_attribute(path: Path, attribute: Attribute, values: Mapping[str, float]) -> None:
    """Write an attribute and the standardised value of each train and val clip, by clip id."""
    write_json(path, {"attribute": attribute.to_meta(), "clips": dict(values)})


def load_attribute(path: Path) -> tuple[Attribute, dict[str, float]]:
    """Read what `save_attribute` wrote.

    Raises:
        LddmError: it is missing or something else.
    """
    with reading(path, "measure_attribute"):
        found = read_json(path)
        return Attribute.of_meta(found["attribute"]), found["clips"]
