"""Settings of the rules `index`, `preprocess` and `split`."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from lddm.settings.base import Section
from lddm.settings.measured_sources import BluesSource, CamusSource, EchonetDynamicSource, pair_of
from lddm.task import Task


class PhantomSource(Section):
    """A simulated B-mode breast phantom (lddm.data.sources.phantom): no download."""

    kind: Literal["phantom"] = "phantom"
    videos: int = Field(720, ge=1, description="labelled videos, one for each simulated patient")
    stills: int = Field(320, ge=0, description="labelled still images of other simulated patients")
    frames: int = Field(17, ge=2, description="frames of a video; 17 is one clip")
    size: int = Field(64, ge=32, description="height and width in pixels")
    fps: float = Field(10.0, gt=0, description="frame rate in Hz")
    appearance: float = Field(
        0.2,
        ge=0,
        le=1,
        description="share of lesions whose look follows their class; the others look like a random class, so 0 hides "
        "the class from a still and 1 shows it",
    )
    motion: float = Field(
        1.0, ge=0, le=1, description="share of lesions whose stiffness follows their class; 0 hides the class in motion"
    )
    stiffness: tuple[float, float] = Field(
        (0.4, 4.0),
        description="Young's modulus of lesions relative to gland, lowest and highest, where it has more than the two levels "
        "of a binary task; classes divide it evenly on a logarithmic scale, from soft to stiff",
    )

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, given: Any) -> Any:
        """YAML has lists, not tuples."""
        if isinstance(given, dict) and isinstance(given.get("stiffness"), list):
            return given | {"stiffness": pair_of(given["stiffness"])}
        return given

    @model_validator(mode="after")
    def _positive(self):
        if not 0 < self.stiffness[0] < self.stiffness[1]:
            raise ValueError("stiffness: expected two positive numbers, the lower one first")
        return self


class BusiSource(Section):
    """BUSI breast ultrasound images (Al-Dhabyani et al. 2020), folder of three classes."""

    kind: Literal["busi"] = "busi"
    folder: str = Field("busi/Dataset_BUSI_with_GT", description="below data_root")


class PocusSource(Section):
    """Open COVID-19 lung ultrasound collection (Born et al. 2021), videos and stills with metadata."""

    kind: Literal["pocus"] = "pocus"
    folder: str = Field("pocus", description="below data_root; holds dataset_metadata.csv")
    task: dict[str, list[str]] = Field(
        {"regular": ["regular"], "pneumonia": ["bacterial pneumonia"]},
        description="our class name -> labels of the metadata (case and spelling variants are folded); the others are excluded",
    )
    probes: list[Literal["convex", "linear"]] = Field(["convex"], description="probe types to keep")


class BusvSource(Section):
    """BUSV breast ultrasound videos (CVA-Net release, Lin et al. 2022)."""

    kind: Literal["busv"] = "busv"
    folder: str = Field("busv", description="below data_root; holds rawframes/ and the JSON annotations")
    fps: float = Field(30.0, gt=0, description="frame rate in Hz; the release does not state one (ASSUME)")


class FolderSource(Section):
    """Anyone's data: <folder>/<class>/<video, image or DICOM files>, plus an optional CSV of patients, and one of targets."""

    kind: Literal["folder"] = "folder"
    folder: str = Field("folder", description="below data_root")
    patients: str | None = Field(
        None, description="CSV below the folder with columns file, patient_id; see docs/data.md"
    )
    targets: str | None = Field(
        None, description="for a regression: CSV below the folder with the columns file and index.target.name"
    )
    fps: float = Field(25.0, gt=0, description="frame rate in Hz for files that do not state one")
    licence: str = Field("unknown", description="licence of the files, carried into the index")


Source = Annotated[
    PhantomSource
    | BusiSource
    | PocusSource
    | BusvSource
    | FolderSource
    | BluesSource
    | CamusSource
    | EchonetDynamicSource,
    Field(discriminator="kind"),
]


class TargetSettings(Section):
    """The number of a regression."""

    name: str = Field(
        "target", min_length=1, description="what it is; tables that come with the data have a column of this name"
    )
    unit: str = Field("", description="its unit, e.g. %; empty = none")
    range: tuple[float, float] = Field(
        (0.0, 1.0), description="lowest and highest value; files with others are left out, with the reason"
    )

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, given: Any) -> Any:
        """YAML has lists, not tuples, and whole numbers without a point."""
        if isinstance(given, dict) and isinstance(given.get("range"), list):
            return given | {"range": pair_of(given["range"])}
        return given

    @model_validator(mode="after")
    def _ordered(self):
        if self.range[0] >= self.range[1]:
            raise ValueError(f"range: expected the lower value first, got {self.range[0]:g} and {self.range[1]:g}")
        return self


class IndexSettings(Section):
    """Which raw files there are, and what they show."""

    task: Literal["binary", "classes", "ordinal", "regression"] = Field(
        "binary",
        description="what a label is: binary = one of two classes; classes = one of up to 20; ordinal = the same, ordered from "
        "low to high; regression = a number (target)",
    )

    sources: list[Source] = Field(
        [PhantomSource()], min_length=1, description="where videos and still images come from"
    )
    classes: list[str] = Field(
        ["benign", "malignant"],
        max_length=20,
        description="class names; the position is the label; of two, the last is the positive class; of ordered ones, the last "
        "is the highest; none for a regression",
    )
    target: TargetSettings | None = Field(None, description="the number of a regression; null for classes")

    @model_validator(mode="before")
    @classmethod
    def _no_classes(cls, given: Any) -> Any:
        """A regression has no classes, so their default, which config.yaml holds, does not apply."""
        usual = cls.model_fields["classes"].default
        if isinstance(given, dict) and given.get("task") == "regression" and given.get("classes", usual) == usual:
            return given | {"classes": []}
        return given

    @model_validator(mode="after")
    def _fits_task(self):
        regression = self.task == "regression"
        if regression and (self.target is None or self.classes):
            raise ValueError("task regression: expected target with name, unit and range, and no classes")
        if not regression and self.target is not None:
            raise ValueError(f"task {self.task}: target is for task regression, leave it out")
        if self.task == "binary" and len(self.classes) != 2:
            raise ValueError(
                f"task binary: expected two classes, got {len(self.classes)}; set task to classes or ordinal, or name two and "
                "leave the others out (their files are listed in the index with the reason)"
            )
        if not regression and len(self.classes) < 2:
            raise ValueError(f"task {self.task}: expected at least two classes, got {len(self.classes)}")
        return self

    @property
    def labels(self) -> Task:
        """The task, as tables and models have it."""
        if self.target is None:
            return Task(self.task, tuple(self.classes))
        low, high = self.target.range
        return Task("regression", (), self.target.name, self.target.unit, low, high)

    @model_validator(mode="after")
    def _distinct(self):
        if len({unicodedata.normalize("NFC", name) for name in self.classes}) != len(self.classes):
            raise ValueError("classes must be distinct")
        return self


class PreprocessSettings(Section):
    """From raw files to memory-mapped frames and clips."""

    size: int = Field(64, ge=16, description="height and width in pixels of the frames that generators are trained on")
    stored_size: int | None = Field(
        None,
        ge=16,
        description="height and width of stored frames, a multiple of size: generators are trained on frames reduced to size and "
        "make videos of stored_size, which scores and classifiers see; null = size",
    )
    fit: Literal["pad", "crop"] = Field(
        "pad", description="square by black borders (pad) or by the central square (crop)"
    )
    fps: float = Field(
        10.0,
        gt=0,
        description="target frame rate in Hz; where the native rate is not a multiple of it, neighbouring frames are blended",
    )
    allow_slower: bool = Field(
        False,
        description="keep videos slower than 0.9 fps with their own rate; false = leave them out, since their motion would "
        "look faster",
    )
    clip_length: int = Field(16, ge=1, description="T: frames of a clip that follow x0")
    clip_hop: int = Field(17, ge=1, description="frames between the starts of two clips of a video")
    max_clips: int = Field(8, ge=1, description="clips of a video at the most, spread evenly")
    max_frames: int = Field(2000, ge=17, description="raw frames of a file that are read at the most")
    min_side: int = Field(32, ge=8, description="files with a shorter side in pixels are excluded")
    min_brightness: float = Field(2.0, ge=0, description="mean grey level (0-255) below which a file counts as black")
    scene_cut_correlation: float = Field(
        0.5,
        ge=-1,
        le=1,
        description="likeness of two frames in a row (correlation over 8 x 8 cells, 1 = the same) below which a clip has a "
        "scene cut",
    )
    view_change_correlation: float = Field(
        -1.0,
        ge=-1,
        le=1,
        description="likeness of any two frames of a clip below which the probe was moved to another view; -1 = never",
    )
    frozen_threshold: float = Field(
        2e-4, ge=0, description="clips whose mean absolute frame difference (share of the range) is lower are frozen"
    )
    duplicate_frames: int = Field(
        4,
        ge=1,
        description="distinct frames that two videos must share to be duplicates; all of them, of files with fewer",
    )


class SplitSettings(Section):
    """Patient- and cluster-wise stratified folds."""

    folds: int = Field(3, ge=2, description="number of folds; the test part is one of them")
    folds_to_run: int = Field(1, ge=1, description="folds that the pipeline really runs, from the first on")
    val_fraction: float = Field(0.15, gt=0, lt=0.5, description="share of the non-test patients used for model choice")
    max_labelled_videos: int | None = Field(
        None,
        ge=4,
        description="training videos whose label anything may know, as many of each class; the others are unlabelled for the "
        "generators and no use to the classifiers; null = all",
    )
    min_patients: int = Field(
        4,
        ge=1,
        description="patients that each class (or quartile of the target) needs in train, and one in val and test; of a class "
        "with 1 nothing can be concluded",
    )

    @model_validator(mode="after")
    def _within(self):
        if self.folds_to_run > self.folds:
            raise ValueError("folds_to_run must not exceed folds")
        return self
