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
    """A path with ~ and $VARIABLES filled in; a variable that is not set stays as it is."""
    return os.path.expanduser(os.path.expandvars(path))


Folder = Annotated[str, AfterValidator(_expanded)]


class Settings(Section):
    """All settings of one experiment; a key for each stage, in the order of the pipeline."""

    experiment: str = Field(
        "phantom",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="name; everything lands in results/<experiment>/",
    )
    seed: int = Field(0, ge=0, description="the one seed that all others are derived from")
    data_root: Folder = Field("data", description="folder of the raw data, laid out as docs/data.md says")
    weights_dir: Folder = Field(
        "weights", description="folder of pretrained feature networks; absent ones leave a metric absent"
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
