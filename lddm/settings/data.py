"""Settings of the rules `index`, `preprocess` and `split`."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from lddm.settings.base import Section
from lddm.settings.measured_sources import BluesSource, CamusSource, EchonetDynamicSource, pair_of
from lddm.task import Task


class PhantomSource(Section):
    """Simulated B-mode breast phantom (lddm.data.sources.phantom); no download."""

    kind: Literal["phantom"] = "phantom"
    videos: int = Field(720, ge=1, description="labelled videos, one per simulated patient")
    stills: int = Field(320, ge=0, description="labelled still images of other simulated patients")
    frames: int = Field(17, ge=2, description="frames per video; 17 make one clip")
    size: int = Field(64, ge=32, description="height and width in pixels")
    fps: float = Field(10.0, gt=0, description="frame rate in Hz")
    appearance: float = Field(
        0.2,
        ge=0,
        le=1,
        description="share of lesions whose appearance follows their class; the others look like a random class, so a still "
        "does not show the class at 0 and shows it at 1",
    )
    motion: float = Field(
        1.0,
        ge=0,
        le=1,
        description="share of lesions whose stiffness follows their class; at 0 motion does not show it",
    )
    stiffness: tuple[float, float] = Field(
        (0.4, 4.0),
        description="Young's modulus of lesions relative to gland, lowest and highest, for tasks other than binary; "
        "classes divide the range evenly on a logarithmic scale, from soft to stiff",
    )

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, given: Any) -> Any:
        """Accept a list, since YAML has no tuples."""
        if isinstance(given, dict) and isinstance(given.get("stiffness"), list):
            return given | {"stiffness": pair_of(given["stiffness"])}
        return given

    @model_validator(mode="after")
    def _positive(self):
        if not 0 < self.stiffness[0] < self.stiffness[1]:
            raise ValueError("stiffness: expected two positive numbers, the lower one first")
        return self


class BusiSource(Section):
    """BUSI breast ultrasound images (Al-Dhabyani et al. 2020), three class folders."""

    kind: Literal["busi"] = "busi"
    folder: str = Field("busi/Dataset_BUSI_with_GT", description="below data_root")


class PocusSource(Section):
    """Open COVID-19 lung ultrasound collection (Born et al. 2021), videos and stills with metadata."""

    kind: Literal["pocus"] = "pocus"
    folder: str = Field("pocus", description="below data_root; holds dataset_metadata.csv")
    task: dict[str, list[str]] = Field(
        {"regular": ["regular"], "pneumonia": ["bacterial pneumonia"]},
        description="our class name -> labels of the metadata (case and spelling variants are merged); other labels are excluded",
    )
    probes: list[Literal["convex", "linear"]] = Field(["convex"], description="probe types to keep")


class BusvSource(Section):
    """BUSV breast ultrasound videos (CVA-Net release, Lin et al. 2022)."""

    kind: Literal["busv"] = "busv"
    folder: str = Field("busv", description="below data_root; holds rawframes/ and the JSON annotations")
    fps: float = Field(30.0, gt=0, description="frame rate in Hz; the release does not state one (ASSUME)")


class FolderSource(Section):
    """Your own data: <folder>/<class>/<video, image or DICOM files>, with an optional patients CSV and targets CSV."""

    kind: Literal["folder"] = "folder"
    folder: str = Field("folder", description="below data_root")
    patients: str | None = Field(
        None, description="CSV below the folder with columns file, patient_id; see docs/data.md"
    )
    targets: str | None = Field(
        None, description="for regression: CSV below the folder with the columns file and index.target.name"
    )
    fps: float = Field(25.0, gt=0, description="frame rate in Hz for files that do not state one")
    licence: str = Field("unknown", description="licence of the files, stored in the index")


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
    """Target of a regression."""

    name: str = Field(
        "target", min_length=1, description="name of the target, and of its column in tables that come with the data"
    )
    unit: str = Field("", description="unit, e.g. %; empty = none")
    range: tuple[float, float] = Field(
        (0.0, 1.0), description="lowest and highest value; files outside the range are excluded, with the reason"
    )

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, given: Any) -> Any:
        """Accept a list and integers: YAML has no tuples and writes whole numbers without a point."""
        if isinstance(given, dict) and isinstance(given.get("range"), list):
            return given | {"range": pair_of(given["range"])}
        return given

    @model_validator(mode="after")
    def _ordered(self):
        if self.range[0] >= self.range[1]:
            raise ValueError(f"range: expected the lower value first, got {self.range[0]:g} and {self.range[1]:g}")
        return self


class IndexSettings(Section):
    """Index of the raw files and their labels."""

    task: Literal["binary", "classes", "ordinal", "regression"] = Field(
        "binary",
        description="kind of label: binary = one of two classes; classes = one of up to 20; ordinal = the same, ordered from "
        "low to high; regression = a number (target)",
    )

    sources: list[Source] = Field([PhantomSource()], min_length=1, description="sources of videos and still images")
    classes: list[str] = Field(
        ["benign", "malignant"],
        max_length=20,
        description="class names; the position is the label; the last of two is the positive class, the last of ordered classes "
        "the highest; empty for regression",
    )
    target: TargetSettings | None = Field(None, description="target of a regression; null for classes")

    @model_validator(mode="before")
    @classmethod
    def _no_classes(cls, given: Any) -> Any:
        """Replace the default classes, which config.yaml contains, by none for regression."""
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
            raise ValueError(f"task {self.task}: target is for task regression only; remove it")
        if self.task == "binary" and len(self.classes) != 2:
            raise ValueError(
                f"task binary: expected two classes, got {len(self.classes)}; set task to classes or ordinal, or list only two "
                "(files of the others are listed in the index with the reason)"
            )
        if not regression and len(self.classes) < 2:
            raise ValueError(f"task {self.task}: expected at least two classes, got {len(self.classes)}")
        return self

    @property
    def labels(self) -> Task:
        """The task as a `Task`, as tables and models use it."""
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
    """Conversion of raw files to memory-mapped frames and clips."""

    size: int = Field(64, ge=16, description="height and width in pixels of the frames on which generators are trained")
    stored_size: int | None = Field(
        None,
        ge=16,
        description="height and width of stored frames, a multiple of size: generators are trained on frames downsampled to size "
        "and output videos of stored_size, which scores and classifiers use; null = size",
    )
    fit: Literal["pad", "crop"] = Field(
        "pad", description="make frames square by black borders (pad) or by a central crop (crop)"
    )
    fps: float = Field(
        10.0,
        gt=0,
        description="target frame rate in Hz; if the native rate is not a multiple of it, neighbouring frames are blended",
    )
    allow_slower: bool = Field(
        False,
        description="keep videos slower than 0.9 times fps at their own rate; false = exclude them, since their motion would "
        "look faster",
    )
    clip_length: int = Field(16, ge=1, description="T: frames of a clip after x0")
    clip_hop: int = Field(17, ge=1, description="frames between the starts of two clips of a video")
    max_clips: int = Field(8, ge=1, description="maximum number of clips per video, spread evenly")
    max_frames: int = Field(2000, ge=17, description="maximum number of raw frames read from a file")
    min_side: int = Field(32, ge=8, description="files with a shorter side in pixels are excluded")
    min_brightness: float = Field(2.0, ge=0, description="mean grey level (0-255) below which a file counts as black")
    scene_cut_correlation: float = Field(
        0.5,
        ge=-1,
        le=1,
        description="correlation of two consecutive frames (over 8 x 8 cells, 1 = identical) below which a clip has a scene cut",
    )
    view_change_correlation: float = Field(
        -1.0,
        ge=-1,
        le=1,
        description="correlation of any two frames of a clip below which the probe has moved to another view; -1 = off",
    )
    frozen_threshold: float = Field(
        2e-4,
        ge=0,
        description="mean absolute frame difference (share of the grey-level range) below which a clip is frozen",
    )
    duplicate_frames: int = Field(
        4,
        ge=1,
        description="distinct frames that two videos must share to be duplicates; files with fewer must share all of theirs",
    )


class SplitSettings(Section):
    """Stratified folds, grouped by patient and by cluster of near-duplicates."""

    folds: int = Field(3, ge=2, description="number of folds; each is the test set once")
    folds_to_run: int = Field(1, ge=1, description="number of folds that the pipeline runs, starting with the first")
    val_fraction: float = Field(
        0.15, gt=0, lt=0.5, description="share of the non-test patients used for model selection"
    )
    max_labelled_videos: int | None = Field(
        None,
        ge=4,
        description="training videos whose labels may be used, the same number per class; the others are unlabelled for the "
        "generators and unused by the classifiers; null = all",
    )
    validation_labels: Literal["extra", "within_budget"] = Field(
        "extra",
        description="labels of validation videos: extra = used in addition to those of training videos (early stopping, decision "
        "threshold); within_budget = none are used, so that max_labelled_videos and classification.real_videos count all "
        "labelled videos: classifiers train for all of their steps and decide at a probability of 0.5",
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
