"""Settings of quality, classification, report and tracking."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

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


def _in_one_process(training: Training) -> Training:
    if training.processes > 1:
        raise ValueError("processes: expected 1, classifiers are trained in one process")
    return training


# Classifiers trained on a few labelled videos: those of pseudo-labels and of the attribute logit.
SmallTraining = Annotated[Training, AfterValidator(_in_one_process)]
SMALL_TRAINING = Training(steps=200, batch_size=16, learning_rate=1e-3, ema_decay=0.0, warmup_steps=10, val_every=40)


class PseudoLabelSettings(Section):
    """Pseudo-labels of unlabelled training videos (split.max_labelled_videos), predicted from the labelled ones."""

    classifier: ClassifierName | None = Field(
        None, description="network that predicts pseudo-labels, for all generators; null = no pseudo-labels"
    )
    ensemble_size: int = Field(5, ge=1, description="networks whose predictions are averaged")
    share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="share of the unlabelled videos that receive a pseudo-label, the most confident of each class",
    )
    training: SmallTraining = SMALL_TRAINING


class DomainNetworkSettings(Section):
    """Video network for the Fréchet distance in domain features, trained on real training videos."""

    width: int = Field(8, ge=4, multiple_of=4, description="channels of the first level")
    training: Training = Training(steps=300, batch_size=16, learning_rate=1e-3, ema_decay=0.0)


class QualitySettings(Section):
    """Scores of synthetic videos relative to real ones."""

    bootstrap: int = Field(200, ge=2, description="bootstrap resamples for the interval of a mean over videos")
    max_videos: int = Field(400, ge=2, description="maximum number of videos per set that are scored")
    max_videos_pretrained: int = Field(
        120,
        ge=4,
        description="the same for large pretrained video networks (FVD, KVD, DT-FVD, CD-FVD, JEDi): I3D takes 2 to 3 s per "
        "video on one core",
    )
    max_videos_expensive: int = Field(
        8, ge=1, description="the same for measures that take seconds per video (VIIDEO, ST-RRED)"
    )
    copy_threshold: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="copy rate of held-out real videos: the quantile of their distance ratio (to training over to held-out "
        "videos) below which a synthetic video counts as a possible copy",
    )


class ClassificationSettings(Section):
    """Ablation: classifiers trained on real videos with and without synthetic ones."""

    classifiers: list[ClassifierName] = Field(["strain", "tiny3d"], min_length=1, description="networks")
    regimes: list[Regime] = Field(
        ["real", "real+aug", "real+static", "real+motion_transfer", "real+cinn", "real+lddm", "lddm_only"],
        min_length=1,
        description="training sets of the classifiers; 'real' is the reference of all differences",
    )
    regimes_by_classifier: dict[ClassifierName, list[Regime]] = Field(
        {}, description="networks that are trained with fewer regimes, e.g. {r3d_18: [real, real+lddm]}"
    )
    seeds: int = Field(3, ge=1, description="training seeds per network and regime")
    real_videos: int | None = Field(
        16, ge=4, description="number of real training videos available to the classifier; null = all"
    )
    synthetic_share: float = Field(0.5, gt=0, lt=1, description="share of synthetic clips in a batch of a mixed regime")
    exclude_copies: bool = Field(
        False, description="exclude synthetic videos that copy a training video (quality.copy_threshold) from training"
    )
    bootstrap: int = Field(20000, ge=10, description="patient-level bootstrap resamples")
    training: Training = Training(
        steps=200, batch_size=16, learning_rate=1e-3, ema_decay=0.0, warmup_steps=10, val_every=40
    )
    training_overrides: dict[ClassifierName, Training] = Field(
        {},
        description="exceptions from `training` for some networks, e.g. {r3d_18: {steps: 400}}; the same in every regime",
    )

    @model_validator(mode="after")
    def _overlay(self):
        """Fill keys that an entry of `training_overrides` omits with the value of `training`."""
        for name, own in self.training_overrides.items():
            given = {key: getattr(own, key) for key in own.model_fields_set}
            self.training_overrides[name] = Training.model_validate(self.training.model_dump() | given)
        return self

    @model_validator(mode="after")
    def _possible(self):
        if any(training.processes > 1 for training in (self.training, *self.training_overrides.values())):
            raise ValueError(
                "processes: expected 1, a classifier is trained in one process (seeds, regimes and folds are separate jobs)"
            )
        if unknown := (self.regimes_by_classifier.keys() | self.training_overrides.keys()) - set(self.classifiers):
            raise ValueError(f"regimes_by_classifier, training_overrides: {min(unknown)} is not among the classifiers")
        return self

    def training_for(self, classifier: str) -> Training:
        """Training settings of one network."""
        return {str(name): own for name, own in self.training_overrides.items()}.get(classifier, self.training)

    def cells(self) -> list[tuple[str, str]]:
        """(network, regime) pairs that are trained."""
        return [
            (name, regime) for name in self.classifiers for regime in self.regimes_by_classifier.get(name, self.regimes)
        ]


class SweepSettings(Section):
    """Ablation repeated for other numbers of real videos and shares of synthetic ones."""

    real_videos: list[int] = Field([], description="values of classification.real_videos; [] = none")
    synthetic_share: list[float] = Field([], description="values of classification.synthetic_share; [] = none")
    classifiers: list[ClassifierName] = Field(["strain"], min_length=1, description="networks")
    regimes: list[Regime] = Field(
        ["real", "real+static", "real+lddm"], min_length=1, description="regimes; 'real' is the reference"
    )

    @model_validator(mode="after")
    def _possible(self):
        if any(count < 4 for count in self.real_videos):
            raise ValueError("sweep.real_videos: expected values of at least 4")
        if any(not 0 < share < 1 or round(share, 4) != share for share in self.synthetic_share):
            raise ValueError(
                "sweep.synthetic_share: expected values between 0 and 1 with at most four digits (they name files)"
            )
        return self


class ReportSettings(Section):
    """Figures and the report page."""

    strips: int = Field(4, ge=1, description="number of first frames shown as film strips and loops")
    title: str = Field("LDDM: ultrasound image-to-video synthesis", description="title of the report page")


class TrackingSettings(Section):
    """MLflow tracking, a view of the records on disk."""

    enabled: bool = Field(True, description="send the records to MLflow")
    uri: str | None = Field(
        None, description="tracking server; null = results/mlflow.db; MLFLOW_TRACKING_URI takes precedence"
    )
