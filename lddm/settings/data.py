"""Settings of the rules `index`, `preprocess` and `split`."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Literal

from pydantic import Field, model_validator

from lddm.settings.base import Section


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
    """Anyone's data: <folder>/<class>/<video, image or DICOM files>, plus an optional CSV of patients."""

    kind: Literal["folder"] = "folder"
    folder: str = Field("folder", description="below data_root")
    patients: str | None = Field(
        None, description="CSV below the folder with columns file, patient_id; see docs/data.md"
    )
    fps: float = Field(25.0, gt=0, description="frame rate in Hz for files that do not state one")
    licence: str = Field("unknown", description="licence of the files, carried into the index")


Source = Annotated[PhantomSource | BusiSource | PocusSource | BusvSource | FolderSource, Field(discriminator="kind")]


class IndexSettings(Section):
    """Which raw files there are, and what they show."""

    sources: list[Source] = Field(
        [PhantomSource()], min_length=1, description="where videos and still images come from"
    )
    classes: list[str] = Field(
        ["benign", "malignant"],
        min_length=2,
        max_length=2,
        description="class names; the position is the label, the last is the positive class",
    )

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
    clip_length: int = Field(16, ge=2, description="T: frames of a clip that follow x0")
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
        description="training videos whose label anything may know, half of each class; the others are unlabelled for the "
        "generators and no use to the classifiers; null = all",
    )
    min_patients: int = Field(4, ge=2, description="patients that each class needs in train, and one in val and test")

    @model_validator(mode="after")
    def _within(self):
        if self.folds_to_run > self.folds:
            raise ValueError("folds_to_run must not exceed folds")
        return self
