"""BUSI: breast ultrasound images in three folders (Al-Dhabyani et al., Data in Brief 28:104863, 2020).

Patients are not identified, so each image counts as one patient; near-duplicates are clustered later. The full release
contains masks beside the images; they are skipped.
"""

from __future__ import annotations

from pathlib import Path

from lddm.data.sources.base import file_row, label_of, read_recording, safe_path, source_folder
from lddm.data.sources.skipped import is_clutter, is_mask_name
from lddm.io.recording import Recording
from lddm.io.video import IMAGE_SUFFIXES
from lddm.settings.data import BusiSource

LICENCE = "not stated by the authors (CC0 on copies)"
CLASSES = ("benign", "malignant", "normal")


def rows(settings: BusiSource, data_root: Path, classes: list[str]) -> list[dict]:
    """Index rows of all images."""
    folder = source_folder(data_root, settings.folder)
    table = []
    for place in sorted(folder.iterdir()):
        if not place.is_dir() or place.name.lower() not in CLASSES:
            continue
        for path in sorted(place.iterdir()):
            if path.suffix.lower() in IMAGE_SUFFIXES and not is_mask_name(path) and not is_clutter(Path(path.name)):
                values = label_of(place.name.lower(), classes)
                table.append(file_row("busi", path, data_root, kind="image", n_frames=1, licence=LICENCE, **values))
    return table


def read(row: dict, settings: BusiSource, data_root: Path, max_frames: int) -> Recording:
    """The image as one frame."""
    return read_recording(safe_path(data_root, row["path"]), max_frames)
