"""Detection of out-of-distribution stills, i.e. stills unlike the training stills of a model.

A model animates any image. The model package therefore stores the mean and standard deviation of simple statistics of its
training stills. The score of a new still is the root mean square of its standardised statistics; the still is out of
distribution if the score exceeds a quantile of the scores of the validation stills. The rule is deliberately simple: every
number can be inspected, and no label or network is involved. It detects images of another type, organ, scanner or
preprocessing. It does not detect every still for which the motion is poor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

KEY = "training_stills"  # key in bundle.json
QUANTILE = 0.99  # quantile of the scores of validation stills
SPREAD = 1e-3  # lower bound of the standard deviation of a statistic
NAMED = 3  # statistics named in a message


def statistics(stills: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics of stills uint8 (n, S, S) at model size: name -> float64 (n,).

    Grey levels are in 0..255, shares in [0, 1], correlations in [-1, 1]. "axial" is along columns (the beam direction),
    "lateral" along rows.
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
    """Describe training stills for `compare`: JSON for `KEY` of bundle.json; None for too few stills.

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
    """Comparison of a still with the training stills of a model.

    Attributes:
        score: root mean square of the standardised statistics.
        threshold: quantile of the scores of the validation stills.
        quantile: level of that quantile.
        differs_most: "NAME VALUE (training MEAN, sd SD)" of the statistics that differ most, in descending order.
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
        """Text of the warning.

        Args:
            trained_on: short description of the training data.
        """
        return (
            f"this still is out of distribution: it differs from the training stills of the model ({trained_on}). "
            f"Its score is {self.score:.2g}; {100 * self.quantile:g} % of the validation stills score below "
            f"{self.threshold:.2g}. It differs most in {'; '.join(self.differs_most)}. "
            "The motion may be implausible for the tissue shown."
        )


def compare(still: np.ndarray, about: Mapping[str, Any]) -> Comparison | None:
    """Compare a still uint8 (S, S), fitted to the model's square, with the training stills.

    Args:
        about: content of bundle.json.

    Returns:
        The comparison; None if the model package stores no statistics (earlier versions).
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
