"""What the sources share: the form of an index row, safe paths, and the way from a row back to its frames."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np

from lddm.data.dicom import decode_dicom, is_dicom
from lddm.data.video_io import IMAGE_SUFFIXES, UnreadableFile, decode_image, decode_video
from lddm.errors import LddmError
from lddm.files import sha256

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
    "cluster",
    "excluded",
)


def file_row(source: str, path: Path, data_root: Path, **values: Any) -> dict[str, Any]:
    """An index row of a file (or a folder of frames); `values` sets or overrides columns.

    The id is readable and unique: the source, the file's name, and a hash of its place.
    """
    relative = path.relative_to(data_root).as_posix()
    name = re.sub(r"[^A-Za-z0-9]+", "-", path.stem).strip("-").lower()[:40]
    row = dict.fromkeys(COLUMNS)
    row |= {
        "id": f"{source}-{name}-{hashlib.sha256(relative.encode()).hexdigest()[:8]}",
        "source": source,
        "path": relative,
        "label": -1,
        "class_name": "",
        "fps": float("nan"),
        "n_frames": 0,
        "height": 0,
        "width": 0,
        "licence": "unknown",
    }
    row |= values
    if row["patient_id"] is None:
        row["patient_id"] = row["id"]  # unknown: each file counts as a patient of its own
    if row["sha256"] is None:
        row["sha256"] = content_hash(path)
    return row


def content_hash(path: Path) -> str:
    """SHA-256 of a file, or of the names and hashes of a folder's files."""
    if path.is_file():
        return sha256(path)
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()):
        digest.update(f"{file.name} {sha256(file)}\n".encode())
    return digest.hexdigest()


def label_of(class_name: str, classes: list[str]) -> dict[str, Any]:
    """The columns label, class_name and excluded for a class name; a class that is not asked for is excluded."""
    if class_name in classes:
        return {"label": classes.index(class_name), "class_name": class_name}
    reason = f"class '{class_name}' is not in index.classes"
    return {"label": -1, "class_name": class_name, "excluded": reason}


def source_folder(data_root: Path, folder: str) -> Path:
    """The source's folder, which must exist and lie below data_root."""
    path = data_root / folder
    if not path.is_dir():
        raise LddmError(f"{path} does not exist", "put the data there as docs/data.md says, or set data_root")
    return path


def safe_path(data_root: Path, relative: str) -> Path:
    """The file of a row; a path or a link that leaves the data is refused.

    The top folder of a source may itself be a link, as people keep large data on another disk.
    """
    path, parts = data_root / relative, Path(relative).parts
    if not parts or ".." in parts or Path(relative).is_absolute():
        raise UnreadableFile(f"{relative} lies outside the data folder", "copy the file into the data folder")
    try:
        target = path.resolve(strict=True)
        inside = any(target.is_relative_to(root.resolve()) for root in (data_root, data_root / parts[0]))
    except (OSError, RuntimeError) as error:
        raise UnreadableFile(f"{relative} cannot be opened: {error}", "check the file") from error
    if not inside:
        raise UnreadableFile(f"{relative} lies outside the data folder", "copy the file into the data folder")
    return path


def read_file(path: Path, max_frames: int) -> tuple[np.ndarray, float]:
    """Frames uint8 (T, H, W) and frame rate of a video, image or DICOM file, told apart by content and suffix."""
    if path.stat().st_size == 0:
        raise UnreadableFile(f"{path.name} is empty", "copy the file again")
    if is_dicom(path):
        return decode_dicom(path, max_frames)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return decode_image(path)[None], float("nan")
    return decode_video(path, max_frames)
