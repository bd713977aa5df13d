"""COVID-BLUES: lung ultrasound videos of one probe (Wiedemann et al., IEEE JBHI 29(9):6301-6310, 2025).

    lus_videos/patient_<ID>_<point>[_2].mp4
    severity.csv             one row per video: Severity Score 0-3, A-lines, B-lines, comments
    clinical_variables.csv   one row per patient (optional); -99 and empty cells are unknown

Licence CC BY-NC-ND 4.0: numbers may be published, but nothing derived from the pixels may be redistributed or shown.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd

from lddm.data.sources.base import file_row, label_of, read_csv, read_recording, safe_path, source_folder
from lddm.data.targets import parse_number, target_columns
from lddm.errors import LddmError
from lddm.io.recording import Recording
from lddm.settings.data import BluesSource
from lddm.task import Task

LICENCE = "CC BY-NC-ND 4.0"
NAME = re.compile(r"patient_(?P<patient>\d+)_(?P<point>[LR]\d)(_\d+)?")
HINT = "copy the CSV files of the release beside lus_videos"


def rows(settings: BluesSource, data_root: Path, classes: list[str]) -> list[dict]:
    """Index rows of all videos, with the class that `task` assigns to their value; videos without a value are excluded."""
    task = {_fold(value): name for name, values in settings.task.items() for value in values}

    def label(value: str) -> dict[str, Any]:
        if not value:
            return {"excluded": f"no {settings.column}"}
        return label_of(task.get(value, value), classes)

    return _rows(settings, data_root, settings.column, label)


def target_rows(settings: BluesSource, data_root: Path, task: Task) -> list[dict]:
    """Index rows of all videos, with the target from the column of that name in severity.csv or clinical_variables.csv."""

    def label(value: str) -> dict[str, Any]:
        number = parse_number("" if value == "-99" else value, f"{settings.folder}, {task.name}")
        return target_columns(number, task, "no value in the table")

    return _rows(settings, data_root, task.name, label)


def read(row: dict, settings: BluesSource, data_root: Path, max_frames: int) -> Recording:
    """The unmodified video; preprocessing drops black frames at its beginning."""
    return read_recording(safe_path(data_root, row["path"]), max_frames)


def _rows(settings: BluesSource, data_root: Path, column: str, label) -> list[dict]:
    folder = source_folder(data_root, settings.folder)
    of_video, values = _column(folder, column)
    table = []
    for path in sorted((folder / "lus_videos").glob("*.mp4")):
        name = NAME.fullmatch(path.stem)
        if name is None:
            table.append(
                file_row(
                    "blues", path, data_root, kind="video", excluded="file name does not match those of the release"
                )
            )
            continue
        key = path.stem if of_video else name["patient"]
        patient = f"blues-patient-{name['patient']}"
        about = label(values[key]) if key in values else {"excluded": "no row in the table"}
        table.append(file_row("blues", path, data_root, kind="video", licence=LICENCE, patient_id=patient, **about))
    if not table:
        raise LddmError(f"{folder / 'lus_videos'} contains no .mp4 file", "unpack the release there; see docs/data.md")
    return table


def _column(folder: Path, column: str) -> tuple[bool, dict[str, str]]:
    """Whether the column is per video (else per patient), and its normalised cells by video or patient."""
    videos = read_csv(folder / "severity.csv", ("video_file",), HINT)
    if column in videos:
        return True, _cells(videos, "video_file", column)
    patients = read_csv(folder / "clinical_variables.csv", ("patient_id", column), HINT)
    return False, _cells(patients, "patient_id", column)


def _cells(table: pd.DataFrame, key: str, column: str) -> dict[str, str]:
    return {name.strip(): _fold(value) for name, value in zip(table[key], table[column], strict=True)}


def _fold(value: str) -> str:
    """Strip, convert to lower case, and write 2.0 as 2."""
    return re.sub(r"^(-?\d+)\.0$", r"\1", value.strip().lower())
