"""Anyone's data: <folder>/<class>/<videos, images or DICOM files>, plus an optional CSV of patients."""

from __future__ import annotations

import logging
from pathlib import Path

from lddm.data.dicom import is_dicom, look
from lddm.data.recording import Recording
from lddm.data.sources.base import file_row, label_of, read_csv, read_recording, safe_path, source_folder
from lddm.data.video_io import IMAGE_SUFFIXES, VIDEO_SUFFIXES, UnreadableFile
from lddm.errors import LddmError
from lddm.settings.data import FolderSource

logger = logging.getLogger(__name__)


def rows(settings: FolderSource, data_root: Path, classes: list[str]) -> list[dict]:
    """Index rows of all files; what is no video, image or DICOM file is left out with a line in the log."""
    folder = source_folder(data_root, settings.folder)
    patients = _patients(folder, settings.patients)
    table = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        for path in sorted(place.rglob("*")):
            if path.is_dir():
                continue
            try:
                safe_path(data_root, path.relative_to(data_root).as_posix())
                kind, patient = _look(path)
            except UnreadableFile as error:
                reason = f"unreadable: {error.message}"
                table.append(file_row("folder", path, data_root, kind="video", sha256="", excluded=reason))
                continue
            if kind is None:
                logger.info("folder: %s is no video, image or DICOM file", path.name)
                continue
            relative = path.relative_to(folder).as_posix()
            patient = patients.get(relative, patients.get(path.name, patient))
            values = label_of(place.name, classes)
            fps = settings.fps if kind == "video" else float("nan")
            table.append(
                file_row(
                    "folder",
                    path,
                    data_root,
                    kind=kind,
                    patient_id=patient,
                    fps=fps,
                    licence=settings.licence,
                    **values,
                )
            )
    return table


def read(row: dict, settings: FolderSource, data_root: Path, max_frames: int) -> Recording:
    """The recording, with the configured frame rate if the file states none."""
    return read_recording(safe_path(data_root, row["path"]), max_frames).assume_rate(settings.fps)


def _look(path: Path) -> tuple[str | None, str | None]:
    """Kind and hashed patient of a file, by content for DICOM and by suffix otherwise."""
    if is_dicom(path):
        many, patient = look(path)
        return "video" if many else "image", patient
    suffix = path.suffix.lower()
    return ("image" if suffix in IMAGE_SUFFIXES else "video" if suffix in VIDEO_SUFFIXES else None), None


def _patients(folder: Path, name: str | None) -> dict[str, str]:
    """File (path below the folder, or its name) -> patient."""
    if name is None:
        return {}
    table = read_csv(folder / name, ("file", "patient_id"), "it is named by index.sources[].patients; see docs/data.md")
    known = table[table["patient_id"].str.strip() != ""]  # who is not known counts as somebody else, file by file
    if (known.groupby("file")["patient_id"].nunique() > 1).any():
        twice = known["file"][known["file"].duplicated()].iloc[0]
        raise LddmError(f"{folder / name} gives {twice} to two patients", "keep one row a file")
    return dict(zip(known["file"], "folder-patient-" + known["patient_id"].str.strip(), strict=True))
