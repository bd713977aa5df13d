"""EchoNet-Dynamic: apical four-chamber videos with ejection fractions (Ouyang et al., Nature 580:252-256, 2020).

    Videos/<FileName>.avi
    FileList.csv         FileName, EF, ESV, EDV, ..., FPS, NumberOfFrames, Split
    VolumeTracings.csv   FileName, X1, Y1, X2, Y2, Frame: tracings of the ventricle at end-diastole and end-systole (optional)

The release is for research only, by agreement with Stanford University. Each video shows a different patient.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lddm.data.sources.base import file_row, read_csv, read_recording, safe_path, source_folder
from lddm.data.sources.measured import is_still_patient, span_columns
from lddm.data.targets import parse_number, target_columns
from lddm.errors import LddmError
from lddm.io.recording import Recording
from lddm.settings.data import EchonetDynamicSource
from lddm.task import Task

LICENCE = "Stanford University Dataset Research Use Agreement"
TRACINGS = ("FileName", "X1", "Y1", "X2", "Y2", "Frame")
HINT = "copy FileList.csv of the release beside Videos"


def rows(settings: EchonetDynamicSource, data_root: Path, classes: list[str]) -> list[dict]:
    """Index rows of all videos, with the class of their value."""

    def label(value: float) -> dict[str, Any]:
        return span_columns(value, settings.spans, classes, settings.measure)

    return _rows(settings, data_root, settings.measure, label)


def target_rows(settings: EchonetDynamicSource, data_root: Path, task: Task) -> list[dict]:
    """Index rows of all videos, with the target from the column of that name in FileList.csv, e.g. EF."""
    return _rows(settings, data_root, task.name, lambda value: target_columns(value, task, "no value in FileList.csv"))


def read(row: dict, settings: EchonetDynamicSource, data_root: Path, max_frames: int) -> Recording:
    """The video from its traced end-diastole, or only that frame for a still; starts at frame 0 if there is no tracing."""
    path = safe_path(data_root, row["path"])
    recording = read_recording(path, max_frames)
    first = (
        end_diastole(data_root / settings.folder / "VolumeTracings.csv", path.stem)
        if settings.from_end_diastole
        else None
    )
    if first is None or first >= len(recording.frames):
        recording = recording.noted("no tracing: starts at frame 0") if settings.from_end_diastole else recording
        first = 0
    return recording.part(first, first + 1 if row["kind"] == "image" else len(recording.frames))


def end_diastole(tracings: Path, name: str) -> int | None:
    """The frame with the larger traced area in a video; None if the video is not traced.

    A tracing is a long axis and short chords (X1, Y1)-(X2, Y2) across it. For chords at equal distances the area is
    proportional to the sum of their lengths times the axis.

    Raises:
        LddmError: the table lacks a column or contains a value that is not a number.
    """
    return _end_diastoles(tracings, tracings.stat().st_mtime_ns).get(name) if tracings.is_file() else None


@functools.lru_cache(maxsize=1)
def _end_diastoles(tracings: Path, changed: int) -> dict[str, int]:
    """Video -> end-diastolic frame. Cached: the table has hundreds of thousands of rows and is used for each video."""
    table = read_csv(tracings, TRACINGS, "copy VolumeTracings.csv of the release again")
    names = table["FileName"].str.removesuffix(".avi")
    try:
        x1, y1, x2, y2, frames = (table[column].astype(float) for column in TRACINGS[1:])
        chords = pd.DataFrame({"name": names, "frame": frames.astype(int), "length": np.hypot(x2 - x1, y2 - y1)})
    except ValueError as error:
        raise LddmError(f"{tracings}: {error}", "copy VolumeTracings.csv of the release again") from error
    each = chords.groupby(["name", "frame"])["length"]
    axis, count = each.first(), each.size()
    area = (axis * (each.sum() - axis) / (count - 1)).where(count > 1, 0.0)
    return {video: int(frame) for video, frame in area.groupby("name").idxmax()}


def _rows(settings: EchonetDynamicSource, data_root: Path, column: str, label) -> list[dict]:
    folder = source_folder(data_root, settings.folder)
    listed = read_csv(folder / "FileList.csv", ("FileName", column), HINT)
    table = []
    for number, (name, value) in enumerate(zip(listed["FileName"], listed[column], strict=True), start=2):
        path = folder / "Videos" / f"{name.removesuffix('.avi')}.avi"
        if not path.is_file():
            continue
        about = label(parse_number(value, f"{folder / 'FileList.csv'}: row {number}, {column}"))
        kind = "image" if is_still_patient(path.stem, settings.still_share) else "video"
        table.append(file_row("echonet_dynamic", path, data_root, kind=kind, licence=LICENCE, **about))
    if not table:
        raise LddmError(f"{folder / 'Videos'} contains none of the files in FileList.csv", "unpack the release there")
    return table
