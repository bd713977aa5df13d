"""Out-of-distribution stills: does a still look like those that a model was trained on?

A model animates whatever it is given. The bundle therefore keeps the mean and standard deviation of simple statistics of its
training stills. The score of a new still is the root mean square of its standardised statistics; a still whose score exceeds a
quantile of the validation stills is out of distribution. The rule is deliberately simple: each number can be looked up, and
it uses no label and no network. It finds images of another kind, organ, machine or preparation. It does not find every still
that a model animates badly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

KEY = "training_stills"  # of bundle.json
QUANTILE = 0.99  # of the scores of validation stills
SPREAD = 1e-3  # smallest standard deviation of a statistic: one that never varies says little
NAMED = 3  # statistics that a message names


def statistics(stills: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics of stills uint8 (n, S, S), as the networks see them: name -> float64 (n,).

    Grey levels are 0 to 255; shares and correlations lie within -1 to 1. "axial" is along columns, in the direction of the
    beam, "lateral" along rows.
    """
    grey = stills.astype(np.float64)  # (n, S, S)
    third, eighth = grey.shape[1] // 3, max(1, grey.shape[1] // 8)
    ends = (slice(None, eighth), slice(-eighth, None))
    corners = [grey[:, rows, columns].mean(axis=(1, 2)) for rows in ends for columns in ends]
    axial, lateral = (np.diff(grey, axis=axis) for axis in (1, 2))
    contrast = grey.std(axis=(1, 2))
    return {
        "mean grey level": grey.mean(axis=(1, 2)),
        "contrast": contrast,
        "median grey level": np.median(grey, axis=(1, 2)),
        "share of black pixels": (stills <= 8).mean(axis=(1, 2)),
        "share of white pixels": (stills >= 247).mean(axis=(1, 2)),
        "grey level of the upper third": grey[:, :third].mean(axis=(1, 2)),
        "grey level of the lower third": grey[:, -third:].mean(axis=(1, 2)),
        "grey level of the darkest corner": np.min(corners, axis=0),
        "axial detail": np.abs(axial).mean(axis=(1, 2)),
        "lateral detail": np.abs(lateral).mean(axis=(1, 2)),
        "axial correlation": 1 - (axial**2).mean(axis=(1, 2)) / (2 * contrast**2 + 1),
        "lateral correlation": 1 - (lateral**2).mean(axis=(1, 2)) / (2 * contrast**2 + 1),
    }


def describe(train: np.ndarray, validation: np.ndarray) -> dict[str, Any] | None:
    """Describe training stills for `compare`: JSON for `KEY` of bundle.json; None where there are too few stills.

    Args:
        train, validation: uint8 (n, S, S).
    """
    if min(len(train), len(validation)) < 2:
        return None
    values = statistics(train)
    known = {name: {"mean": float(v.mean()), "std": max(float(v.std()), SPREAD)} for name, v in values.items()}
    threshold = float(np.quantile(_scores(known, validation), QUANTILE))
    counts = {"train": len(train), "validation": len(validation), "quantile": QUANTILE}
    return counts | {"threshold": threshold, "statistics": known}


@dataclass(frozen=True)
class Comparison:
    """A still beside the training stills of a model.

    Attributes:
        score: root mean square of the standardised statistics.
        threshold: the quantile of the scores of validation stills.
        quantile: which.
        differs_most: "NAME VALUE (training MEAN, sd SD)" of the statistics that differ most, the largest difference first.
    """

    score: float
    threshold: float
    quantile: float
    differs_most: tuple[str, ...]

    @property
    def is_out_of_distribution(self) -> bool:
        """Whether the score exceeds the threshold."""
        return self.score > self.threshold

    def said(self, trained_on: str) -> str:
        """The warning, for a person.

        Args:
            trained_on: what the model was trained on.
        """
        return (
            f"this still is out of distribution: it differs from the stills that the model was trained on ({trained_on}). "
            f"Its score is {self.score:.2g}, and {100 * self.quantile:g} % of the validation stills score below "
            f"{self.threshold:.2g}. It differs most in {'; '.join(self.differs_most)}. "
            "The motion may not suit the tissue shown."
        )


def compare(still: np.ndarray, about: Mapping[str, Any]) -> Comparison | None:
    """Compare a still uint8 (S, S), fitted to the square of the model, with its training stills.

    Args:
        about: of the bundle. A bundle of an earlier version has no statistics; then there is nothing to compare with.

    Returns:
        None for a bundle without statistics.
    """
    described = about.get(KEY)
    if described is None:
        return None
    known = described["statistics"]
    values = {name: float(v[0]) for name, v in statistics(still[None]).items() if name in known}
    distances = {name: abs(value - known[name]["mean"]) / known[name]["std"] for name, value in values.items()}
    order = sorted(distances, key=lambda name: -distances[name])[:NAMED]
    said = tuple(
        f"{name} {values[name]:.3g} (training {known[name]['mean']:.3g}, sd {known[name]['std']:.2g})" for name in order
    )
    score = float(_scores(known, still[None])[0])
    return Comparison(score, described["threshold"], described["quantile"], said)


def _scores(known: Mapping[str, Mapping[str, float]], stills: np.ndarray) -> np.ndarray:
    """Scores float64 (n,) of stills uint8 (n, S, S)."""
    values = statistics(stills)
    standardised = [(values[name] - one["mean"]) / one["std"] for name, one in known.items() if name in values]
    return np.sqrt(np.mean(np.square(standardised), axis=0))
