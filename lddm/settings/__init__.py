"""Typed, closed settings: one section for each stage of the pipeline."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import AfterValidator, Field

from lddm.settings.base import Section
from lddm.settings.condition import ConditionSettings
from lddm.settings.data import IndexSettings, PreprocessSettings, SplitSettings
from lddm.settings.evaluation import (
    ClassificationSettings,
    DomainNetworkSettings,
    PseudoLabelSettings,
    QualitySettings,
    ReportSettings,
    SweepSettings,
    TrackingSettings,
)
from lddm.settings.models import (
    AutoencoderSettings,
    CinnSettings,
    DiffusionSettings,
    GaussianSettings,
    PixelSettings,
    SynthesisSettings,
)


def _expanded(path: str) -> str:
    """Expand ~ and $VARIABLES in a path; unset variables stay unchanged."""
    return os.path.expanduser(os.path.expandvars(path))


Folder = Annotated[str, AfterValidator(_expanded)]


class Settings(Section):
    """All settings of one experiment, one section per stage in pipeline order."""

    experiment: str = Field(
        "phantom",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="name; all output goes to results/<experiment>/",
    )
    seed: int = Field(0, ge=0, description="seed from which all others are derived")
    data_root: Folder = Field("data", description="folder of the raw data, with the layout of docs/data.md")
    weights_dir: Folder = Field(
        "weights", description="folder of pretrained feature networks; a metric is absent if its network is"
    )
    index: IndexSettings = IndexSettings()
    preprocess: PreprocessSettings = PreprocessSettings()
    split: SplitSettings = SplitSettings()
    pseudo_labels: PseudoLabelSettings = PseudoLabelSettings()
    condition: ConditionSettings = ConditionSettings()
    autoencoder: AutoencoderSettings = AutoencoderSettings()
    diffusion: DiffusionSettings = DiffusionSettings()
    cinn: CinnSettings = CinnSettings()
    gaussian: GaussianSettings = GaussianSettings()
    pixel: PixelSettings = PixelSettings()
    synthesis: SynthesisSettings = SynthesisSettings()
    domain_network: DomainNetworkSettings = DomainNetworkSettings()
    quality: QualitySettings = QualitySettings()
    classification: ClassificationSettings = ClassificationSettings()
    sweep: SweepSettings = SweepSettings()
    report: ReportSettings = ReportSettings()
    tracking: TrackingSettings = TrackingSettings()
