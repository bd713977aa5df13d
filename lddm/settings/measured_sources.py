"""Settings of sources whose classes or targets are derived from values stated in a release."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from lddm.settings.base import Section


def pair_of(given: Any) -> Any:
    """Convert a YAML list to a tuple of floats; leave anything else to the type check."""
    if not isinstance(given, list):
        return given
    return tuple(float(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in given)


class BluesSource(Section):
    """COVID-BLUES lung ultrasound videos (Wiedemann et al. 2025); nothing derived from its pixels may be redistributed."""

    kind: Literal["blues"] = "blues"
    folder: str = Field("blues", description="below data_root; holds lus_videos/ and severity.csv")
    column: str = Field(
        "Severity Score", description="column of severity.csv or clinical_variables.csv that defines the classes"
    )
    task: dict[str, list[str]] = Field(
        {"healthy": ["0"], "severe": ["2", "3"]},
        description="our class name -> values of the column; videos with other values are excluded",
    )


class MeasuredSource(Section):
    """A release with measured values, used as classes or as a target."""

    still_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of patients whose end-diastolic frame is used as a still and whose video is dropped, chosen by name",
    )
    spans: dict[str, tuple[float, float]] = Field(
        {},
        description="for classes: our class name -> range of the measure, lower bound included, upper bound excluded",
    )

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, given: Any) -> Any:
        """Accept lists and integers: YAML has no tuples and writes whole numbers without a point."""
        if isinstance(given, dict) and isinstance(given.get("spans"), dict):
            return given | {"spans": {name: pair_of(value) for name, value in given["spans"].items()}}
        return given


class CamusSource(MeasuredSource):
    """CAMUS echocardiography (Leclerc et al. 2019): half sequences of the release, or pairs of end-diastole and end-systole."""

    kind: Literal["camus"] = "camus"
    folder: str = Field("camus", description="below data_root; holds one folder per patient, or images/ and areas.csv")
    views: list[Literal["2CH", "4CH"]] = Field(["2CH", "4CH"], min_length=1, description="views to keep")
    measure: str = Field(
        "EF", description="key of the .cfg files (EF) or column of areas.csv that defines the classes; see spans"
    )
    fps: float = Field(
        50.0, gt=0, description="frame rate in Hz of half sequences whose .cfg does not state one (ASSUME)"
    )
    pair_fps: float = Field(
        3.0, gt=0, description="frame rate in Hz of a pair: systole lasts about a third of a second"
    )


class EchonetDynamicSource(MeasuredSource):
    """EchoNet-Dynamic echocardiography (Ouyang et al. 2020): AVI, FileList.csv and VolumeTracings.csv."""

    kind: Literal["echonet_dynamic"] = "echonet_dynamic"
    folder: str = Field("EchoNet-Dynamic", description="below data_root; holds Videos/ and FileList.csv")
    measure: str = Field("EF", description="column of FileList.csv that defines the classes; see spans")
    from_end_diastole: bool = Field(
        True, description="start at the traced end-diastole, so that the cardiac phase of x0 is known"
    )
