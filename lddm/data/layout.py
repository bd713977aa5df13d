"""Detection of the source that reads a folder of raw data, from its layout."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from lddm.data.sources.busi import CLASSES as BUSI_CLASSES
from lddm.data.sources.skipped import is_clutter, is_mask_folder, is_split_folder
from lddm.errors import LddmError

BUSI_IMAGE = re.compile(r"^(benign|malignant|normal) \(\d+\)(_mask(_\d+)?)?\.png$", re.IGNORECASE)


@dataclass(frozen=True)
class Layout:
    """A folder that a source can read.

    Attributes:
        kind: kind of the source: busi, busv, pocus or folder.
        place: value of the source's setting `folder`: the given folder or one below it.
        classes: names of the class folders, for `folder`.
        not_classes: folders beside them that are named like parts of a split.
    """

    kind: str
    place: Path
    classes: tuple[str, ...] = ()
    not_classes: tuple[str, ...] = ()


def recognise(path: Path) -> Layout:
    """Detect the layout of a folder.

    Raises:
        LddmError: no source can read the folder.
    """
    if not path.is_dir():
        raise LddmError(f"{path} is not a folder", "pass the folder of one data set")
    if (path / "dataset_metadata.csv").is_file():
        return Layout("pocus", path)
    if (path / "rawframes").is_dir():
        return Layout("busv", path)
    folders = class_folders(path)
    for place in (path / "Dataset_BUSI_with_GT", path, *folders):
        if place.name == "Dataset_BUSI_with_GT" and place.is_dir() or _is_busi(place):
            return Layout("busi", place)
    classes = [place for place in folders if not is_split_folder(place.name) and not is_mask_folder(place.name)]
    parts = tuple(dict.fromkeys(unicodedata.normalize("NFC", p.name) for p in folders if is_split_folder(p.name)))
    if parts and len(classes) < 2:
        raise LddmError(
            f"{path}: {', '.join(parts)} look like a split, not like classes",
            "arrange the files as <class>/<files>, e.g. benign/... and malignant/...; LDDM splits patients itself, and "
            "detects a patient in two of these folders",
        )
    if not classes:
        raise LddmError(
            f"{path} has no class folders",
            "expected <class>/<files>, or a layout of docs/data.md (busi, busv, pocus)",
        )
    if len(classes) == 1 and len(inner := class_folders(classes[0])) > 1 and not _has_files(classes[0]):
        names = ", ".join(place.name for place in inner)
        raise LddmError(
            f"{path} has one folder, {classes[0].name}, whose subfolders {names} may be the classes",
            f"check {classes[0]}",
        )
    merged = dict.fromkeys(unicodedata.normalize("NFC", place.name) for place in classes)  # two forms are one class
    return Layout("folder", path, tuple(merged), parts)


def class_folders(path: Path) -> list[Path]:
    """Folders directly below `path` that may be classes, without hidden and system folders."""
    return sorted(child for child in path.iterdir() if child.is_dir() and not is_clutter(Path(child.name)))


def _is_busi(path: Path) -> bool:
    """Whether a folder, of any name, contains the class folders of BUSI with images named as in the release."""
    folders = class_folders(path) if path.is_dir() else []
    named = [place for place in folders if place.name.lower() in BUSI_CLASSES]
    if len(named) < 2 or len(named) < len(folders):
        return False
    files = [child for place in named for child in place.iterdir() if not is_clutter(Path(child.name))]
    return bool(files) and all(BUSI_IMAGE.match(file.name) for file in files)


def _has_files(path: Path) -> bool:
    return any(child.is_file() and not is_clutter(Path(child.name)) for child in path.iterdir())
