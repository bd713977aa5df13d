"""Advice on a folder of raw data, in sentences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lddm.data.identity import Identity
from lddm.data.layout import Layout, class_folders
from lddm.data.patient_groups import name_counts
from lddm.data.patients_csv import listed, read_patients
from lddm.data.sources.base import printable
from lddm.data.sources.skipped import is_mask_folder, is_split_folder
from lddm.data.splits import make_splits
from lddm.errors import LddmError
from lddm.settings.data import PreprocessSettings, Source, SplitSettings

FEW_PATIENTS = 10


def advise(
    layout: Layout,
    videos: pd.DataFrame,
    studied: pd.DataFrame,
    clips: pd.DataFrame,
    classes: Sequence[str],
    two: Sequence[str],
    passed: dict[Path, str],
    notes: Sequence[str],
    identities: Sequence[Identity | None],
    source: Source,
) -> list[str]:
    """All advice for a folder.

    Args:
        layout: layout of the folder.
        videos: the completed index.
        studied: its rows of the two classes of the study, with their labels.
        clips: one row per clip.
        classes: names of the class folders.
        two: the classes of the study.
        passed: files without a row -> reason.
        notes: notes from listing the folder.
        identities: identities of the DICOM files.
        source: the source that read the folder.
    """
    usable = videos[videos["excluded"].isna()]
    found = _of_classes(layout, usable, classes, two)
    found += notes
    found += _of_patients(layout, usable, identities, source)
    found += _of_split(studied, found)
    found += _of_passed(passed)
    found += _of_reading(videos)
    clusters = usable["cluster"].dropna()
    if len(clusters):
        found.append(
            f"{len(clusters)} files are near-duplicates in {clusters.nunique()} clusters; splits keep them together"
        )
    lost = int(clips["excluded"].notna().sum()) if len(clips) else 0
    if lost:
        found.append(
            f"{lost} of {len(clips)} clips are excluded: they have a scene cut, leave their view or are frozen"
        )
    return found


def _of_classes(layout: Layout, usable: pd.DataFrame, classes: Sequence[str], two: Sequence[str]) -> list[str]:
    found = []
    if layout.not_classes:
        found.append(
            f"{', '.join(layout.not_classes)} look like a split, not like classes: move their files to the class folders, or "
            "leave them unused"
        )
    split = sorted({p.name for place in _class_places(layout) for p in class_folders(place) if is_split_folder(p.name)})
    if split:
        found.append(
            f"class folders contain the folders {', '.join(split)}: LDDM splits patients itself and ignores this split"
        )
    names: dict[str, list[str]] = {}
    for name in classes:
        names.setdefault(name.casefold(), []).append(name)
    for twins in names.values():
        if len(twins) > 1:
            found.append(f"the class folders {', '.join(twins)} differ only in case: if they are one class, merge them")
    inner = _same_folders_inside(layout)
    if inner:
        found.append(
            f"each of the folders {', '.join(classes)} contains the folders {', '.join(inner)}: if those are the classes and "
            "the outer ones e.g. hospitals, arrange the files as <class>/<hospital>/<files>"
        )
    if len(classes) > 2:
        found.append(
            f"{len(classes)} class folders ({', '.join(classes)}): the config uses the two with the most patients "
            f"({', '.join(two)}); choose others in index.classes, or list all of them and set index.task to classes (or to "
            "ordinal, if they are ordered from low to high)"
        )
    if len(classes) < 2:
        found.append(f"{len(classes)} class folders ({', '.join(classes)}); a study needs at least two: add another")
    moving = usable[usable["kind"] == "video"]
    if moving.empty:
        found.append(
            "no usable video: this folder can only serve as a pool of stills, together with a source of videos"
        )
    for name in classes:
        count = moving.loc[moving["class_name"] == name, "patient_id"].nunique()
        if 0 < count < FEW_PATIENTS:
            found.append(
                f"class {name}: videos of {count} patients; with fewer than {FEW_PATIENTS} little can be concluded"
            )
        if count == 0 and not moving.empty:
            found.append(f"class {name}: no usable video")
    return found


def _class_places(layout: Layout) -> list[Path]:
    """The class folders of layout `folder`; empty for other layouts."""
    if layout.kind != "folder":
        return []
    return [place for place in class_folders(layout.place) if not is_split_folder(place.name)]


def _same_folders_inside(layout: Layout) -> list[str]:
    """Names of the subfolders of each class folder, if they are the same in all, few, and not numbered like patients."""
    places = _class_places(layout)
    names = [sorted(inner.name for inner in class_folders(place)) for place in places]
    if len(places) < 2 or any(name != names[0] for name in names):
        return []
    told = [name for name in names[0] if not is_split_folder(name) and not is_mask_folder(name)]
    numbered = any(letter.isdigit() for name in told for letter in name)
    return told if 2 <= len(told) <= 5 and not numbered else []


def _of_patients(
    layout: Layout, usable: pd.DataFrame, identities: Sequence[Identity | None], source: Source
) -> list[str]:
    found = []
    unknown = usable[usable["patient_id"] == usable["id"]]
    patients = getattr(source, "patients", None)
    if layout.kind == "folder" and len(unknown):
        found.append(
            f"patients are unknown for {len(unknown)} of {len(usable)} files, so each of these counts as one patient; if a "
            "patient has several files, list them in a CSV with the columns file, patient_id"
            + ("" if patients else " and pass it with --patients")
            + "; otherwise test results will be too optimistic"
        )
        if patients is None and (there := _csv_there(layout.place)):
            found.append(f"{there} has the columns file and patient_id: pass --patients {there}")
    sizes = usable["patient_id"].value_counts()
    largest = usable[usable["patient_id"] == sizes.index[0]] if len(sizes) else usable
    if len(largest) > max(2, len(usable) / 2) and largest["class_name"].nunique() > 1:
        found.append(
            f"one patient has {len(largest)} of {len(usable)} files, in several classes: the ID may be a placeholder"
        )
    several_names, several_ids = name_counts(identities)
    if several_names or several_ids:
        found.append(
            f"{several_names} patient IDs have several names, {several_ids} names have several patient IDs (DICOM headers): "
            "files of one ID count as one patient; check whether an ID or a name is a placeholder"
        )
    return found


def _csv_there(place: Path) -> str | None:
    for path in sorted(place.glob("*.csv")):
        try:
            read_patients(path)
        except (LddmError, OSError):
            continue
        return path.name
    return None


def _of_split(studied: pd.DataFrame, said: Sequence[str]) -> list[str]:
    """The error that the default split would raise, if any."""
    moving = studied[studied["excluded"].isna() & (studied["kind"] == "video")]
    if moving["label"].nunique() < 2:
        return []
    try:
        make_splits(studied, SplitSettings(), 0)
    except LddmError as error:
        return [f"the run would stop: {error.message}; {error.hint}"]
    return []


def _of_passed(passed: dict[Path, str]) -> list[str]:
    unread = [path for path, reason in passed.items() if reason.startswith("not read")]
    found = [
        f"{count} files are skipped: {reason}"
        for reason, count in Counter(passed.values()).most_common()
        if not reason.startswith("not read")
    ]
    if unread:
        kinds = Counter(_suffix(path) for path in unread).most_common()
        shown = ", ".join(f"{kind} ({count})" for kind, count in kinds)
        found.append(f"{len(unread)} files are not read: {shown}; --list names them")
    return found


def _of_reading(videos: pd.DataFrame) -> list[str]:
    """Assumptions made while reading files, with the names of the files."""
    found = []
    if "notes" in videos:
        by_kind: dict[str, list[tuple[str, str]]] = {}
        for path, text in zip(videos["path"], videos["notes"].fillna(""), strict=True):
            for note in filter(None, str(text).split("; ")):
                by_kind.setdefault(re.sub(r"[\d.]+", "0", note), []).append((note, path))
        for noted in by_kind.values():  # notes that differ only in numbers are merged
            found.append(f"{len(noted)} files: {noted[0][0]} ({listed((name for _, name in noted), 3)})")
        return found
    settings = PreprocessSettings()
    moving = videos[videos["kind"] == "video"]
    slow = moving[moving["fps"].astype(float) < 0.9 * settings.fps]
    if len(slow):
        names = list(slow["path"])
        found.append(f"{len(slow)} videos are slower than the target of {settings.fps:g} Hz: {listed(names, 3)}")
    cut = moving[moving["n_frames"] >= settings.max_frames]
    if len(cut):
        names = list(cut["path"])
        found.append(f"only the first {settings.max_frames} frames are read of {len(cut)} videos: {listed(names, 3)}")
    return found


def _suffix(path: Path) -> str:
    name = printable(path.name.lower())
    return "".join(Path(name).suffixes[-2:]) if name.endswith(".gz") else Path(name).suffix or "no suffix"
