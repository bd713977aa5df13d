"""Files that are not data: system files, masks, unsupported file types."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePath

import numpy as np
from PIL import Image

from lddm.data.sources.base import printable
from lddm.io.recording import MAX_PIXELS
from lddm.io.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES

CLUTTER = {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information", "lost+found"}
MASK_WORDS = r"(mask|masks|segmentation|segmentations|seg|groundtruth|ground[ _-]truth|gt|annotation|annotations)"
MASK_NAME = re.compile(rf"^(?P<image>.+?)[ _.-]+{MASK_WORDS}([ _.-]*\d+)?$")
LABEL_NAME = re.compile(r"^(?P<image>.+?)[ _.-]+(label|labels|labelmap|lesion|roi|contour|outline)([ _.-]*\d+)?$")
MASK_FOLDER = re.compile(rf"^((.+[ _-])?{MASK_WORDS})$")
SPLIT_FOLDER = re.compile(
    r"^(train|training|val|valid|validation|dev|test|testing|holdout|held[ _-]?out)"
    r"([ _-]?(set|data|split|part|fold|images|videos|files|cases))?[ _-]?\d*$"
)
DICOM_SUFFIXES = {".dcm", ".dicom", ".ima"}
BLACK_AND_WHITE = 0.995  # share of the pixels of a mask that are black or white; JPEG blurs its edges


def is_clutter(path: PurePath) -> bool:
    """Whether a path below a source's folder leads through a hidden or system file or folder."""
    return any(part.startswith((".", "~$")) or part.casefold() in CLUTTER for part in path.parts)


def is_split_folder(name: str) -> bool:
    """Whether a folder is named like a part of a split (train, val, test) and is therefore not a class."""
    return SPLIT_FOLDER.match(name.casefold()) is not None


def is_mask_folder(name: str) -> bool:
    """Whether a folder name indicates masks."""
    return MASK_FOLDER.match(name.casefold()) is not None


def find_masks(images: Iterable[Path]) -> set[Path]:
    """Masks among images: `<image>_mask.png` or `_lesion.png` beside `<image>.png`, files in mask folders, two-valued images."""
    images = list(images)
    stems = {(path.parent, path.stem.casefold()) for path in images}
    masks = set()
    for path in images:
        stem = path.stem.casefold()
        named = MASK_NAME.match(stem) or LABEL_NAME.match(stem)
        beside = named is not None and (path.parent, named["image"]) in stems
        if beside or is_mask_folder(path.parent.name) or is_two_valued(path):
            masks.add(path)
    return masks


def is_mask_name(path: Path) -> bool:
    """Whether a file is named like a mask or lies in a mask folder."""
    return bool(MASK_NAME.match(path.stem.casefold()) or is_mask_folder(path.parent.name))


def why_not_read(path: Path) -> str:
    """Why a file is not read."""
    suffix = "".join(path.suffixes[-2:]).lower() if path.name.lower().endswith(".gz") else path.suffix.lower()
    suffix = printable(suffix)
    if suffix in VIDEO_SUFFIXES | IMAGE_SUFFIXES:
        return "not read: it lies outside the folders that the source reads"
    if suffix in DICOM_SUFFIXES:
        return "not read: it has no DICOM header"
    return f"not read: not a video, image or DICOM file ({suffix or 'no suffix'})"


def is_two_valued(path: Path) -> bool:
    """Whether an image consists almost only of black and white pixels; False if it cannot be read."""
    try:
        with Image.open(path) as image:
            if getattr(image, "n_frames", 1) > 1 or image.width * image.height > MAX_PIXELS:
                return False
            if image.mode.startswith(("I", "F")):
                return False
            grey = np.asarray(image.convert("L"))
    except Exception:  # a damaged image: the reader gives the reason
        return False
    white = float((grey > 239).mean())
    return 0 < white < 1 and white + float((grey < 16).mean()) >= BLACK_AND_WHITE
