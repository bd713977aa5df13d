"""Settings of the condition of the generators: labels, or an attribute that is measured from each video."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from lddm.settings.base import Section
from lddm.settings.evaluation import ClassifierName
from lddm.settings.models import Training


class LogitSettings(Section):
    """The classifiers of attribute logit; a video's logit comes from those that did not see its patient (cross-fitting)."""

    classifier: ClassifierName = Field("strain", description="network")
    partitions: int = Field(
        4, ge=2, description="parts that the patients are dealt into; each part is read by classifiers of the others"
    )
    ensemble_size: int = Field(3, ge=1, description="networks of each part whose mean logit counts")
    training: Training = Training(
        steps=200, batch_size=16, learning_rate=1e-3, ema_decay=0.0, warmup_steps=10, val_every=40
    )

    @model_validator(mode="after")
    def _possible(self):
        if self.training.processes > 1:
            raise ValueError("training.processes: these classifiers train in one process")
        return self


class ConditionSettings(Section):
    """What generators are conditioned on beside x0: the label, or an attribute of the motion that stands for it."""

    attribute: Literal["strain_ratio", "divergence", "features", "logit", "soft_label"] | None = Field(
        None,
        description="measured from every training video; labelled ones say which values a label has. strain_ratio: strain "
        "beside the centre over that of the centre; divergence: change of area; features: a principal component of the domain "
        "network's; logit: of cross-fitted classifiers; soft_label: probability of pseudo_labels; null = the label itself",
    )
    component: int = Field(
        0, ge=0, description="features: which principal component; logit of more than two classes: which class; from 0"
    )
    smoothing: float = Field(
        0.5,
        ge=0,
        le=1,
        description="p(attribute | label) from the labelled videos: 0 = their values, 1 = a normal distribution, in between a "
        "kernel density of the same mean and variance",
    )
    logit: LogitSettings = LogitSettings()
