"""Settings of quality, classification, report and tracking."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from lddm.settings.base import Section
from lddm.settings.models import Training

Regime = Literal[
    "real",
    "real+aug",
    "real+pseudo",
    "real+static",
    "real+motion_transfer",
    "real+gaussian",
    "real+cinn",
    "real+pixel",
    "real+lddm",
    "lddm_only",
]
ClassifierName = Literal[
    "strain", "tiny3d", "still", "c3d", "r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v2_s", "swin3d_t"
]


class PseudoLabelSettings(Section):
    """Labels of unlabelled training videos (split.max_labelled_videos), guessed from the labelled ones."""

    classifier: ClassifierName | None = Field(
        None, description="network that guesses, for all generators; null = unlabelled videos stay unlabelled"
    )
    ensemble_size: int = Field(5, ge=1, description="networks whose mean counts")
    share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="share of the unlabelled videos that are given a label, the most confident of each class",
    )
    training: Training = Training(
        steps=200, batch_size=16, learning_rate=1e-3, ema_decay=0.0, warmup_steps=10, val_every=40
    )

    @model_validator(mode="after")
    def _possible(self):
        if self.training.processes > 1:
            raise ValueError("training.processes: these classifiers train in one process")
        return self


class DomainNetworkSettings(Section):
    """The video network of the Fréchet distance in features of the domain, trained on real training videos."""

    width: int = Field(8, ge=4, multiple_of=4, description="channels of the first level")
    training: Training = Training(steps=300, batch_size=16, learning_rate=1e-3, ema_decay=0.0)


class QualitySettings(Section):
    """Scores of synthetic against real videos."""

    bootstrap: int = Field(200, ge=2, description="bootstrap resamples of the interval of a mean over videos")
    max_videos: int = Field(400, ge=2, description="videos of each set that are scored at the most")
    max_videos_pretrained: int = Field(
        120,
        ge=4,
        description="the same for large pretrained video networks (FVD, KVD, DT-FVD, CD-FVD, JEDi): I3D takes 2 to 3 s a "
        "video on one core",
    )
    max_videos_expensive: int = Field(
        8, ge=1, description="videos for measures that take seconds each (VIIDEO, ST-RRED)"
    )
    copy_threshold: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="largest copy rate of held-out real videos: the quantile of their distance ratio (to training over to "
        "held-out videos) below which a synthetic video may count as a copy",
    )


class ClassificationSettings(Section):
    """The ablation: what synthetic videos add to real ones."""

    classifiers: list[ClassifierName] = Field(["strain", "tiny3d"], min_length=1, description="networks")
    regimes: list[Regime] = Field(
        ["real", "real+aug", "real+static", "real+motion_transfer", "real+cinn", "real+lddm", "lddm_only"],
        min_length=1,
        description="what a classifier is trained on; 'real' is the reference of all differences",
    )
    regimes_by_classifier: dict[ClassifierName, list[Regime]] = Field(
        {}, description="networks that are tried under fewer regimes, e.g. {r3d_18: [real, real+lddm]}"
    )
    seeds: int = Field(3, ge=1, description="training seeds of each cell")
    real_videos: int | None = Field(
        16, ge=4, description="real training videos that the classifier may use; null = all"
    )
    synthetic_share: float = Field(0.5, gt=0, lt=1, description="share of synthetic clips in a batch of a mixed regime")
    exclude_copies: bool = Field(
        False, description="keep synthetic videos that copy a training video (quality.copy_threshold) out of training"
    )
    bootstrap: int = Field(20000, ge=10, description="patient-level bootstrap resamples")
    training: Training = Training(
        steps=200, batch_size=16, learning_rate=1e-3, ema_decay=0.0, warmup_steps=10, val_every=40
    )
    training_overrides: dict[ClassifierName, Training] = Field(
        {},
        description="what differs from `training` for some networks, e.g. {r3d_18: {steps: 400}}; the same in every regime",
    )

    @model_validator(mode="after")
    def _overlay(self):
        """Keys that an entry of `training_overrides` leaves out take the value of `training`."""
        for name, own in self.training_overrides.items():
            given = {key: getattr(own, key) for key in own.model_fields_set}
            self.training_overrides[name] = Training.model_validate(self.training.model_dump() | given)
        return self

    @model_validator(mode="after")
    def _possible(self):
        if any(training.processes > 1 for training in (self.training, *self.training_overrides.values())):
            raise ValueError("a classifier trains in one process; its seeds, regimes and folds are jobs of their own")
        if unknown := (self.regimes_by_classifier.keys() | self.training_overrides.keys()) - set(self.classifiers):
            raise ValueError(f"regimes_by_classifier, training_overrides: {min(unknown)} is not among the classifiers")
        return self

    def training_for(self, classifier: str) -> Training:
        """The training of one network."""
        return {str(name): own for name, own in self.training_overrides.items()}.get(classifier, self.training)

    def cells(self) -> list[tuple[str, str]]:
        """Pairs of network and regime that are trained."""
        return [
            (name, regime) for name in self.classifiers for regime in self.regimes_by_classifier.get(name, self.regimes)
        ]


class SweepSettings(Section):
    """The ablation again with other amounts: what synthetic videos add, as a function of how many real ones there are."""

    real_videos: list[int] = Field([], description="classification.real_videos, one after the other; [] = no sweep")
    synthetic_share: list[float] = Field([], description="classification.synthetic_share, likewise")
    classifiers: list[ClassifierName] = Field(["strain"], min_length=1, description="networks")
    regimes: list[Regime] = Field(
        ["real", "real+static", "real+lddm"], min_length=1, description="regimes; 'real' is the reference"
    )

    @model_validator(mode="after")
    def _possible(self):
        if any(count < 4 for count in self.real_videos):
            raise ValueError("sweep.real_videos: at least 4 each")
        if any(not 0 < share < 1 or round(share, 4) != share for share in self.synthetic_share):
            raise ValueError("sweep.synthetic_share: between 0 and 1, with at most four digits (they name files)")
        return self


class ReportSettings(Section):
    """Figures and the page."""

    strips: int = Field(4, ge=1, description="first frames shown as strips and loops")
    title: str = Field("LDDM: ultrasound image-to-video synthesis", description="title of the page")


class TrackingSettings(Section):
    """MLflow, the view of the records on disk."""

    enabled: bool = Field(True, description="send the records to MLflow")
    uri: str | None = Field(
        None, description="tracking server; null = results/mlflow.db; MLFLOW_TRACKING_URI goes first"
    )
