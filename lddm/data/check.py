"""What a folder of raw data would become: its files, patients, classes, and why some are left out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml
from rich.progress import track

from lddm.data.duplicates import cluster_duplicates
from lddm.data.index import SOURCES
from lddm.data.preprocess import clips_of, prepare_file
from lddm.data.sources.base import COLUMNS
from lddm.errors import LddmError
from lddm.settings.data import (
    BusiSource,
    BusvSource,
    FolderSource,
    IndexSettings,
    PocusSource,
    PreprocessSettings,
    Source,
)

FEW_PATIENTS = 10


@dataclass(frozen=True)
class Checked:
    """What was found.

    Attributes:
        kind: which source reads the folder.
        videos: the completed index, a row a file.
        clips: a row a clip; empty if no video is usable.
        advice: what to mend, in plain words.
        config: the lines of a config that use the folder.
    """

    kind: str
    videos: pd.DataFrame
    clips: pd.DataFrame
    advice: list[str]
    config: str


def recognise(path: Path) -> str:
    """Which source reads a folder, told by its layout.

    Raises:
        LddmError: none does.
    """
    if not path.is_dir():
        raise LddmError(f"{path} is no folder", "pass the folder of one data set")
    if (path / "dataset_metadata.csv").is_file():
        return "pocus"
    if (path / "rawframes").is_dir():
        return "busv"
    if (path / "Dataset_BUSI_with_GT").is_dir():
        return "busi"
    if any(child.is_dir() and not child.name.startswith(".") for child in path.iterdir()):
        return "folder"
    raise LddmError(
        f"{path} has no folders of classes", "expected <class>/<files>, or a layout of docs/data.md (busi, busv, pocus)"
    )


def check_data(path: Path, patients: str | None = None) -> Checked:
    """Read all of a folder as the pipeline would, with default settings, and say what comes of it.

    Args:
        path: the folder of one data set.
        patients: for `folder`, the CSV of patients below it.
    """
    kind = recognise(path)
    source: Source
    root, folder = path.resolve().parent, path.resolve().name
    classes = ["benign", "malignant"]
    if kind == "folder":
        source = FolderSource(folder=folder, patients=patients)
        classes = sorted(c.name for c in path.iterdir() if c.is_dir() and not c.name.startswith("."))
    elif kind == "pocus":
        source = PocusSource(folder=folder)
        classes = list(PocusSource().task)
    else:
        source = BusvSource(folder=folder) if kind == "busv" else BusiSource(folder=f"{folder}/Dataset_BUSI_with_GT")
    two = (classes + ["(no second class)"])[:2]
    sources = IndexSettings(sources=[source], classes=two)
    rows = SOURCES[kind].rows(source, root, classes)
    index = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("id").reset_index(drop=True)
    if index.empty:
        raise LddmError(f"{path} holds no video, image or DICOM file", "see docs/data.md for what is read")
    settings, videos, clips, hashes = PreprocessSettings(), [], [], []
    for row in track(index.astype(object).where(index.notna(), None).to_dict("records"), description="reading"):
        done = prepare_file(row, sources, settings, root, seed=0)
        stored = {"first_frame": 0 if len(done.frames) else -1, "stored_frames": len(done.frames)}
        videos.append(row | done.about | stored)
        hashes.append(done.hashes)
        if row["kind"] == "video" and len(done.frames):
            clips += clips_of(videos[-1], done, settings)
    videos = cluster_duplicates(pd.DataFrame(videos), hashes, settings.duplicate_frames)
    clips = pd.DataFrame(clips, columns=["id", "excluded"])
    advice = _advice(kind, videos, clips, classes, patients)
    return Checked(kind, videos, clips, advice, _config(kind, root, folder, two, patients))


def _advice(
    kind: str, videos: pd.DataFrame, clips: pd.DataFrame, classes: list[str], patients: str | None
) -> list[str]:
    usable = videos[videos["excluded"].isna()]
    found = []
    if len(classes) != 2:
        found.append(
            f"{len(classes)} class folders ({', '.join(classes)}); a study has two: name them in index.classes"
        )
    moving = usable[usable["kind"] == "video"]
    if moving.empty:
        found.append("no usable video: this folder can only be a pool of stills, beside a source of videos")
    for name in classes:
        count = moving.loc[moving["class_name"] == name, "patient_id"].nunique()
        if 0 < count < FEW_PATIENTS:
            found.append(
                f"class {name}: videos of {count} patients; with fewer than {FEW_PATIENTS} little can be concluded"
            )
        if count == 0 and not moving.empty:
            found.append(f"class {name}: no usable video")
    if kind == "folder" and patients is None and (usable["patient_id"] == usable["id"]).any():
        found.append(
            "patients are unknown, so each file counts as one; if a patient has several files, write a CSV with the columns "
            "file, patient_id and pass it with --patients, or test results will be too good"
        )
    clusters = usable["cluster"].dropna()
    if len(clusters):
        found.append(
            f"{len(clusters)} files are near-duplicates in {clusters.nunique()} clusters; splits keep them together"
        )
    lost = int(clips["excluded"].notna().sum()) if len(clips) else 0
    if lost:
        found.append(f"{lost} of {len(clips)} clips have a scene cut, leave their view or stand still and are left out")
    return found


def _config(kind: str, root: Path, folder: str, classes: list[str], patients: str | None) -> str:
    """As YAML, which quotes names that it would take for something else, e.g. a class `no`."""
    source = {"kind": kind, "folder": folder if kind != "busi" else f"{folder}/Dataset_BUSI_with_GT"}
    config = {
        "experiment": re.sub(r"[^a-z0-9_.-]+", "-", folder.lower()).strip("-._") or "mine",
        **({} if root == Path("data").resolve() else {"data_root": str(root)}),
        "index": {"classes": classes, "sources": [source | ({"patients": patients} if patients else {})]},
    }
    return yaml.safe_dump(config, sort_keys=False, default_flow_style=None, allow_unicode=True, width=1000).rstrip()
