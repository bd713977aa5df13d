"""Settings of the condition of the generators: labels, or an attribute measured from each video."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lddm.settings.base import Section
from lddm.settings.evaluation import SMALL_TRAINING, ClassifierName, SmallTraining


class LogitSettings(Section):
    """Classifiers for attribute logit; each patient is predicted by classifiers not trained on this patient (cross-fitting)."""

    classifier: ClassifierName = Field("strain", description="network")
    partitions: int = Field(
        4, ge=2, description="partitions of the patients; each is predicted by classifiers trained on the others"
    )
    ensemble_size: int = Field(3, ge=1, description="networks per partition, whose logits are averaged")
    training: SmallTraining = SMALL_TRAINING


class ConditionSettings(Section):
    """Condition of the generators in addition to x0: the label, or an attribute of the motion instead of it."""

    attribute: Literal["strain_ratio", "divergence", "features", "logit", "soft_label"] | None = Field(
        None,
        description="attribute measured from every training video; labelled videos determine its distribution given the label. "
        "strain_ratio: strain of the surroundings over that of the centre; divergence: change of area; features: a principal "
        "component of the features of the domain network; logit: logit of cross-fitted classifiers; soft_label: probability "
        "predicted by pseudo_labels; null = the label itself",
    )
    component: int = Field(
        0,
        ge=0,
        description="index from 0, of the principal component (features) or of the class (logit with more than two classes)",
    )
    smoothing: float = Field(
        0.5,
        ge=0,
        le=1,
        description="estimate of p(attribute | label) from the labelled videos: 0 = their values, 1 = a normal distribution, in "
        "between a kernel density with the same mean and variance",
    )
    logit: LogitSettings = LogitSettings()
