"""Matching of the rows of the patients CSV to files, by normalised path."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field

import pandas as pd

from lddm.data.identity import known, normalise
from lddm.data.patients_csv import SHOWN
from lddm.data.sources.skipped import DICOM_SUFFIXES
from lddm.errors import LddmError
from lddm.io.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES

SUFFIXES = VIDEO_SUFFIXES | IMAGE_SUFFIXES | DICOM_SUFFIXES


@dataclass(frozen=True)
class Matches:
    """Patients of files according to a CSV.

    Attributes:
        patients: position of a file -> its patient, as written in the CSV.
        unknown: positions of files whose row names no patient (empty, n/a, unknown).
        rows_without_file: file names in the CSV that match no file.
        rows: number of rows.
        converted: rows that name a file with the suffix of another format, with the file matched to each.
    """

    patients: dict[int, str]
    unknown: set[int]
    rows_without_file: list[str]
    rows: int
    converted: list[str] = field(default_factory=list)


def match_patients(
    table: pd.DataFrame, files: Sequence[str], name: str = "the patients CSV", folders: Sequence[bool] = ()
) -> Matches:
    """Match the rows of a patients CSV to files.

    A row and a file match if their paths are equal or one ends with the other, compared without drive and `./`, with
    stripped names and `/` for `\\`; first as written, then in one Unicode form, then in lower case, then ignoring a suffix
    that only one of them has. The remaining rows may name a file before its conversion: a video or DICOM file matches a
    video or DICOM file, an image or DICOM file matches an image or DICOM file. An image never matches a video.

    Args:
        table: from `read_patients`.
        files: paths below the source's folder.
        name: name of the CSV, for messages.
        folders: which of `files` are frame folders; a row may also name one of their frames.

    Raises:
        LddmError: a row matches several files, a file has two patients, or no row matches.
    """
    finders = [_Finder(files, _raw), _Finder(files, _parts), _Finder(files, _folded)]
    finders += [_Finder(files, _stems, of_rows=_folded), _Finder(files, _folded, of_rows=_dicom_stems)]
    if any(folders):  # frames extracted from a video
        finders.append(_Finder(files, _folded, of_rows=_stems, only=folders))
    owner: dict[int, tuple[str, str]] = {}
    unknown: set[int] = set()
    lost: list[str] = []
    converted: list[str] = []

    def found(written: str, patient: str, places: list[int]) -> None:
        if len(places) > 1:
            shown = ", ".join(files[i] for i in places[:SHOWN])
            raise LddmError(
                f"{name}: '{written}' matches {len(places)} files: {shown}", "use the path below the folder"
            )
        (place,) = places
        key = known(normalise(patient))
        if not key:
            unknown.add(place)
        elif owner.setdefault(place, (key, patient))[0] != key:
            raise LddmError(f"{name} assigns {files[place]} to two patients", "keep one row per file")

    left = []
    for written, patient in table.itertuples(index=False):
        places = next((places for finder in finders if (places := finder.find(written))), [])
        if not places and any(folders):
            places = [i for i in finders[2].find("/".join(_parts(written)[:-1])) if folders[i]]
        if places:
            found(written, patient, places)
        else:
            left.append((written, patient))
    taken = set(owner) | unknown
    conversions = [_Finder(files, _moving), _Finder(files, _still)]
    for written, patient in left:
        places = next((places for finder in conversions if (places := finder.find(written))), [])
        if places and taken.isdisjoint(places):
            found(written, patient, places)
            converted.append(f"{written} for {files[places[0]]}")
        else:
            lost.append(written or "(empty)")
    if len(lost) == len(table):
        raise LddmError(
            f"{name}: none of its {len(table)} rows matches a readable file; the first row names '{lost[0]}', "
            f"the first file is '{files[0] if files else '(none)'}'",
            "the column file must contain the path below the source's folder, or a file name that occurs once",
        )
    spelling: dict[str, str] = {}
    for key, patient in owner.values():
        spelling.setdefault(key, " ".join(patient.split()))
    return Matches(
        {i: spelling[key] for i, (key, _) in owner.items()}, unknown - set(owner), lost, len(table), converted
    )


Form = Callable[[str], tuple[str, ...]]


class _Finder:
    """Index of files by the last part of their normalised path."""

    def __init__(self, files: Sequence[str], form: Form, of_rows: Form | None = None, only: Sequence[bool] = ()):
        self.form, self.of_rows, self.files = form, of_rows or form, files
        self.by_name: dict[str, list[tuple[int, tuple[str, ...]]]] = defaultdict(list)
        for place, file in enumerate(files):
            parts = form(file)
            if parts and (not only or only[place]):
                self.by_name[parts[-1]].append((place, parts))

    def find(self, written: str) -> list[int]:
        """Positions of matching files: those with the longest common path and, among these, an exact match if there is one."""
        row = self.of_rows(written)
        if not row:
            return []
        fits: dict[int, list[int]] = defaultdict(list)
        for place, parts in self.by_name.get(row[-1], []):
            common = min(len(row), len(parts))
            if row[-common:] == parts[-common:]:
                fits[common].append(place)
        best = fits[max(fits)] if fits else []
        return [place for place in best if self.form(self.files[place]) == row] or best


def _raw(path: str) -> tuple[str, ...]:
    text = re.sub(r"^(file:/*)?[A-Za-z]:(?=/)", "", path.strip().strip("\"'").replace("\\", "/"))
    return tuple(part for part in (part.strip() for part in text.split("/")) if part not in ("", "."))


def _parts(path: str) -> tuple[str, ...]:
    return tuple(unicodedata.normalize("NFC", part) for part in _raw(path))


def _folded(path: str) -> tuple[str, ...]:
    return tuple(unicodedata.normalize("NFKC", part).casefold() for part in _parts(path))


def _stems(path: str, suffixes: Set[str] = SUFFIXES) -> tuple[str, ...]:
    """Folded, without the suffix of a video, image or DICOM file; other text after a dot belongs to the name."""
    parts = _folded(path)
    stem, dot, suffix = parts[-1].rpartition(".") if parts else ("", "", "")
    return (*parts[:-1], stem) if stem and dot + suffix in suffixes else parts


def _dicom_stems(path: str) -> tuple[str, ...]:
    return _stems(path, DICOM_SUFFIXES)


def _moving(path: str) -> tuple[str, ...]:
    """The stem of a file that may be a video; empty for other files."""
    stems = _stems(path, VIDEO_SUFFIXES | DICOM_SUFFIXES)
    return stems if stems != _folded(path) else ()


def _still(path: str) -> tuple[str, ...]:
    """The stem of a file that may be an image; empty for other files."""
    stems = _stems(path, IMAGE_SUFFIXES | DICOM_SUFFIXES)
    return stems if stems != _folded(path) else ()
