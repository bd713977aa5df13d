"""Shared code of the sources: index rows, safe paths, and reading the frames of a row."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lddm.errors import LddmError
from lddm.files import sha256
from lddm.io.dicom.read import is_dicom, read_dicom
from lddm.io.frame_folder import frame_folders as frame_folders
from lddm.io.frame_folder import read_frame_folder
from lddm.io.image import IMAGE_SUFFIXES, read_image
from lddm.io.recording import FrameRate, Recording, UnreadableFile
from lddm.io.video import read_video

COLUMNS = (
    "id",
    "source",
    "kind",
    "path",
    "label",
    "class_name",
    "patient_id",
    "fps",
    "n_frames",
    "height",
    "width",
    "sha256",
    "licence",
    "device",
    "cluster",
    "excluded",
)


def file_row(source: str, path: Path, data_root: Path, **values: Any) -> dict[str, Any]:
    """Index row of a file (or a folder of frames); `values` sets or overrides columns.

    The id is readable and unique: source, file name, and a hash of the path. Files that cannot be opened (a link that is
    broken or leads out of the data folder, a pipe, a name that is not UTF-8) are excluded, with the reason.
    """
    relative = path.relative_to(data_root).as_posix()
    name = re.sub(r"[^A-Za-z0-9]+", "-", path.stem).strip("-").lower()[:40]
    row = dict.fromkeys(COLUMNS)
    row |= {
        "id": f"{source}-{name}-{hashlib.sha256(os.fsencode(relative)).hexdigest()[:8]}",
        "source": source,
        "path": relative,
        "label": -1,
        "class_name": "",
        "fps": float("nan"),
        "n_frames": 0,
        "height": 0,
        "width": 0,
        "licence": "unknown",
        "device": "",
    }
    row |= values
    if row["patient_id"] is None:
        row["patient_id"] = row["id"]  # unknown: each file counts as one patient
    try:
        safe_path(data_root, relative)
    except UnreadableFile as error:
        row["excluded"] = row["excluded"] or f"unreadable: {error.message}"
        row["sha256"] = ""
    if row["sha256"] is None:
        row["sha256"] = content_hash(path)
    return {key: printable(value) if isinstance(value, str) else value for key, value in row.items()}


def printable(name: str) -> str:
    """A name as encodable text: bytes that are not UTF-8 are written as \\xff."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def content_hash(path: Path) -> str:
    """SHA-256 of a file, or of the names and hashes of a folder's files."""
    if path.is_file():
        return sha256(path)
    digest = hashlib.sha256()
    for file in sorted(path for path in path.iterdir() if path.is_file()):
        digest.update(f"{file.name} {sha256(file)}\n".encode())
    return digest.hexdigest()


def label_of(class_name: str, classes: list[str]) -> dict[str, Any]:
    """The columns label, class_name and excluded for a class name; a class that is not in `classes` is excluded.

    Names are compared in Unicode form NFC, because macOS stores folder names decomposed (NFD).
    """
    class_name = unicodedata.normalize("NFC", class_name)
    composed = [unicodedata.normalize("NFC", name) for name in classes]
    if class_name in composed:
        label = composed.index(class_name)
        return {"label": label, "class_name": classes[label]}
    reason = f"class '{class_name}' is not in index.classes"
    return {"label": -1, "class_name": class_name, "excluded": reason}


def read_csv(path: Path, columns: Sequence[str], hint: str) -> pd.DataFrame:
    """Read a table that came with the data; all cells are text, empty ones "".

    Raises:
        LddmError: the file is missing, is not a CSV in UTF-8, or lacks a column.
    """
    if not path.is_file():
        raise LddmError(f"{path} does not exist", hint)
    try:
        table = pd.read_csv(path, dtype=str, encoding="utf-8-sig", keep_default_na=False)
    except (ValueError, OSError) as error:  # pandas' own errors are ValueErrors
        raise LddmError(f"{path} is not a CSV in UTF-8: {error}", hint) from error
    missing = [column for column in columns if column not in table.columns]
    if missing:
        found = ", ".join(map(str, table.columns[:10]))
        raise LddmError(f"{path} lacks the columns {', '.join(missing)}; it has {found}", hint)
    return table


def source_folder(data_root: Path, folder: str) -> Path:
    """The source's folder below data_root; raises LddmError if it does not exist."""
    path = data_root / folder
    if not path.is_dir():
        raise LddmError(
            f"{path} does not exist", "put the data there (docs/data.md describes the layout), or set data_root"
        )
    return path


def safe_path(data_root: Path, relative: str) -> Path:
    """The file or folder of a row; paths and links that leave the data folder are refused, and so are pipes and sockets.

    The top folder of a source may itself be a link, because large data are often kept on another disk.
    """
    path, parts, shown = data_root / relative, Path(relative).parts, printable(relative)
    if shown != relative:
        raise UnreadableFile(f"the name {shown} is not UTF-8", "rename the file")
    if not parts or ".." in parts or Path(relative).is_absolute():
        raise UnreadableFile(f"{relative} lies outside the data folder", "copy the file into the data folder")
    try:
        target = path.resolve(strict=True)
        inside = any(target.is_relative_to(root.resolve()) for root in (data_root, data_root / parts[0]))
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "a circular link"
        raise UnreadableFile(f"{relative} cannot be opened: {reason}", "check the file") from error
    if not inside:
        raise UnreadableFile(f"{relative} lies outside the data folder", "copy the file into the data folder")
    if not (target.is_file() or target.is_dir()):  # opening a pipe would block
        raise UnreadableFile(f"{relative} is neither a file nor a folder", "remove it")
    return path


def read_recording(path: Path, max_frames: int) -> Recording:
    """Decode a video, an image, a DICOM file (distinguished by content and suffix) or a folder of numbered frames.

    Raises:
        UnreadableFile: the file cannot be decoded.
    """
    if path.is_dir():
        return read_frame_folder(path, max_frames)
    if path.stat().st_size == 0:
        raise UnreadableFile(f"{path.name} is empty", "copy the file again")
    if is_dicom(path):
        return read_dicom(path, max_frames)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return read_image(path, max_frames)
    return read_video(path, max_frames)


def read_file(path: Path, max_frames: int) -> tuple[np.ndarray, FrameRate]:
    """As `read_recording`: frames uint8 (T, H, W), and the frame rate, which includes the frame times."""
    recording = read_recording(path, max_frames)
    return recording.frames, recording.rate
