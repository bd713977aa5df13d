"""Users' own data: <folder>/<class>/<videos, images or DICOM files>, with an optional patients CSV."""

from __future__ import annotations

import logging
import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from lddm.data.identity import Identity, read_identity
from lddm.data.patients import assign_patients
from lddm.data.patients_csv import listed, read_patients
from lddm.data.patients_match import match_patients
from lddm.data.pseudonyms import data_key
from lddm.data.sources.base import file_row, frame_folders, label_of, read_recording, safe_path, source_folder
from lddm.data.sources.skipped import find_masks, is_clutter, is_mask_name, is_two_valued, why_not_read
from lddm.data.targets import find_target, read_targets, target_columns
from lddm.errors import LddmError
from lddm.io.dicom.read import is_cine, is_dicom
from lddm.io.frame_folder import ABOUT, FEWEST, nearly_frame_folders
from lddm.io.image import frame_count, is_moving_gif
from lddm.io.recording import Recording
from lddm.io.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES, UnreadableFile
from lddm.settings.data import FolderSource
from lddm.task import Task

logger = logging.getLogger(__name__)

SERIES = 8  # minimum number of single-frame DICOM files of one series that look like the frames of a loop


@dataclass
class Survey:
    """Content of a source's folder.

    Attributes:
        rows: index rows; `identity` is the Identity of a DICOM file, None for other files.
        passed_over: files without a row -> reason.
        notes: sentences about patients and files, for the user.
    """

    rows: list[dict] = field(default_factory=list)
    passed_over: dict[Path, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def rows(settings: FolderSource, data_root: Path, classes: list[str]) -> list[dict]:
    """Index rows of all files. The log counts skipped files and patients without a match."""
    found = survey(settings, data_root, classes)
    for reason, count in Counter(found.passed_over.values()).most_common():
        logger.info("%s: %d files skipped: %s", settings.folder, count, reason)
    for note in found.notes:
        logger.warning("%s: %s", settings.folder, note)
    return found.rows


def target_rows(settings: FolderSource, data_root: Path, task: Task) -> list[dict]:
    """Index rows of all files in folders of any name, with the targets of the source's CSV.

    Raises:
        LddmError: no CSV is configured, it is invalid, or it names no existing file.
    """
    if settings.targets is None:
        raise LddmError(
            f"index.task regression: source folder '{settings.folder}' has no targets CSV",
            f"set its key targets to a CSV with the columns file and {task.name}",
        )
    folder = source_folder(data_root, settings.folder)
    targets = read_targets(folder / settings.targets, task)
    table = rows(settings, data_root, sorted(place.name for place in folder.iterdir() if place.is_dir()))
    files = [(data_root / row["path"]).relative_to(folder).as_posix() for row in table]
    names = Counter(PurePosixPath(file).name for file in files)
    for row, file in zip(table, files, strict=True):
        target = find_target(targets, file, names[PurePosixPath(file).name])
        row |= target_columns(target, task, f"not in {settings.targets}") | (
            {"excluded": row["excluded"]} if row["excluded"] else {}
        )
    if table and all(math.isnan(row["label"]) for row in table):
        raise LddmError(
            f"{folder / settings.targets} names none of the {len(table)} files", f"use paths relative to {folder}"
        )
    return table


def survey(
    settings: FolderSource, data_root: Path, classes: list[str], key: Callable[[], bytes] | None = None
) -> Survey:
    """List a folder: rows, skipped files, and notes about patients.

    Args:
        key: returns the key of DICOM pseudonyms; None = the key of the raw data, created if it is missing.

    Raises:
        LddmError: a missing folder, or an invalid patients CSV.
    """
    folder = source_folder(data_root, settings.folder)
    table = read_patients(folder / settings.patients) if settings.patients is not None else None
    found, taken = Survey(), []
    places = sorted(path for path in folder.iterdir() if path.is_dir())
    forms = Counter(unicodedata.normalize("NFC", place.name) for place in places)
    for name, count in forms.items():
        if count > 1:
            found.notes.append(f"{count} folders are named {name}, in different Unicode forms: they are one class")
    for place in places:
        for path in _data_files(place, folder, data_root, found):
            try:
                safe_path(data_root, path.relative_to(data_root).as_posix())
                kind, who = _sniff(path)
            except UnreadableFile as error:
                values = label_of(place.name, classes) | {"sha256": "", "excluded": f"unreadable: {error.message}"}
                found.rows.append(file_row("folder", path, data_root, kind="video", **values))
                continue
            if kind is None:
                found.passed_over[path] = why_not_read(path)
            else:
                taken.append((path, place.name, kind, who))
    frames = [path.relative_to(folder).as_posix() for path, *_ in taken if path.is_dir()]
    if frames:
        found.notes.append(f"{len(frames)} folders of numbered images are read as one video each: {listed(frames)}")
    files = [path.relative_to(folder).as_posix() for path, *_ in taken]
    matches = None
    if table is not None:
        matches = match_patients(table, files, settings.patients or "", [path.is_dir() for path, *_ in taken])
    patients = assign_patients(files, [who for *_, who in taken], matches, key or (lambda: data_key(data_root)))
    found.notes += patients.notes + _series_notes(taken)
    for (path, class_name, kind, who), patient in zip(taken, patients.names, strict=True):
        values = label_of(class_name, classes) | {"licence": settings.licence, "patient_id": patient}
        fps = settings.fps if kind == "video" else float("nan")
        row = file_row("folder", path, data_root, kind=kind, fps=fps, **values)
        found.rows.append(row | {"identity": who if patient else None, "device": who.device if who else ""})
    found.rows.sort(key=lambda row: row["path"])
    return found


def read(row: dict, settings: FolderSource, data_root: Path, max_frames: int) -> Recording:
    """The recording; its frame rate is the configured one if the file states none."""
    return read_recording(safe_path(data_root, row["path"]), max_frames).assume_rate(settings.fps)


def _data_files(place: Path, folder: Path, data_root: Path, found: Survey) -> list[Path]:
    """Potential data files of a class folder, and folders of numbered frames; skipped files are added to `found`."""
    everything = sorted(place.rglob("*"))
    links = [path for path in everything if path.is_dir() and path.is_symlink()]
    found.passed_over |= dict.fromkeys(links, "a link to a folder, which is not followed (copy the folder)")
    paths = [path for path in everything if not path.is_dir()]
    clutter = {path for path in paths if is_clutter(path.relative_to(folder))}
    found.passed_over |= dict.fromkeys(sorted(clutter), "a hidden or system file")
    paths = [path for path in paths if path not in clutter]
    images = [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES and _may_be_opened(path, data_root)]
    videos = frame_folders(images)
    if place in videos:  # stills of several patients may be numbered too
        found.notes.append(
            f"the {len(videos.pop(place))} numbered images in {place.name} are read as stills; if they are frames of a "
            "video, move them to a separate folder below it"
        )
    masks = find_masks(path for path in images if path.parent not in videos)
    for frames in videos.values():
        if is_mask_name(frames[0]) or is_two_valued(frames[0]):
            masks |= set(frames)
    videos = {video: frames for video, frames in videos.items() if masks.isdisjoint(frames)}
    rest = [path for path in images if path not in masks and path.parent not in videos]
    for missed, reason in nearly_frame_folders(rest).items():
        found.notes.append(
            f"the numbered images in {missed.relative_to(folder).as_posix()} look like the frames of a video but are read "
            f"as stills, because {reason}; move the frames of one loop, and no other files, to a separate folder"
        )
    of_videos = {frame for frames in videos.values() for frame in frames}
    of_videos |= {video / ABOUT for video in videos}
    found.passed_over |= dict.fromkeys(sorted(masks), "a mask, not an ultrasound image")
    rest = [path for path in paths if path not in masks and path not in of_videos]
    return sorted([*rest, *videos])


def _may_be_opened(path: Path, data_root: Path) -> bool:
    """Whether a path is a file inside the data folder."""
    try:
        return safe_path(data_root, path.relative_to(data_root).as_posix()).is_file()
    except UnreadableFile:
        return False


def _sniff(path: Path) -> tuple[str | None, Identity | None]:
    """Kind and identity of a file or frame folder: by content for DICOM and images, otherwise by suffix."""
    if path.is_dir():
        if any(frame.is_symlink() for frame in path.iterdir()):
            raise UnreadableFile("frames are links, which may lead out of the data folder", "copy the files")
        return "video", None
    if is_dicom(path):
        return "video" if is_cine(path) else "image", read_identity(path)
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        try:
            return "video" if frame_count(path) >= FEWEST else "image", None
        except UnreadableFile:
            return "image", None  # the reader gives the reason
    if suffix == ".gif" and not is_moving_gif(path):
        return "image", None
    return "video" if suffix in VIDEO_SUFFIXES else None, None


def _series_notes(taken: list[tuple[Path, str, str, Identity | None]]) -> list[str]:
    """Note if the frames of a loop seem to be stored as single DICOM files."""
    series: dict[tuple[Path, str], int] = defaultdict(int)
    for path, _, kind, who in taken:
        if kind == "image" and who is not None and who.series:
            series[path.parent, who.series] += 1
    long = [place for (place, _), count in series.items() if count >= SERIES]
    if not long:
        return []
    return [
        f"{len(long)} DICOM series consist of single-frame files (e.g. in {long[0].name}) and are read as stills; if they "
        "are the frames of loops, export them as multi-frame files or as numbered PNG files in one folder per loop"
    ]
