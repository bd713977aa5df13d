"""The CSV of patients: read in the dialects that spreadsheets write, and matched to files by normalised path."""

from __future__ import annotations

import csv
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lddm.data.identity import known, normalise
from lddm.errors import LddmError

HINT = "it needs the columns file and patient_id, one row per file; see docs/data.md"
SHOWN = 5
SHORTENED = re.compile(r"\d([.,]\d+)?[eE]\+\d+")  # 1.23457E+11
SUFFIX = re.compile(r"\.([a-z][a-z0-9]{1,4}|3gp|3g2)$")  # of a file name; the numbers at the end of a UID are none


@dataclass(frozen=True)
class Matches:
    """What a CSV says of the files.

    Attributes:
        patients: position of a file -> its patient as the CSV writes it.
        unknown: positions of files whose row names no patient (empty, n/a, unknown).
        rows_without_file: the CSV's file names that match no file.
        rows: number of rows.
    """

    patients: dict[int, str]
    unknown: set[int]
    rows_without_file: list[str]
    rows: int


def read_patients(path: Path) -> pd.DataFrame:
    """The columns file and patient_id as text, one row per row of the CSV.

    Comma, semicolon, tab or vertical bar separate the columns; UTF-8, UTF-16 with a byte order mark and Windows-1252
    are read; column names may differ in case, blanks and underscores.

    Raises:
        LddmError: it is missing, not a table, lacks a column or has no row.
    """
    if not path.is_file():
        raise LddmError(f"{path} does not exist", f"name it by its path below the source's folder; {HINT}")
    text = _decode(path)
    lines = text.lstrip("\ufeff").splitlines()
    if lines and re.fullmatch(r'"?sep=.+"?', lines[0].strip(), re.IGNORECASE):  # Excel's own first line
        lines = lines[1:]
    while lines and not lines[0].strip(" ,;\t|"):
        lines = lines[1:]
    header = lines[0] if lines else ""
    found: dict[str, int] = {}
    separator = ","
    for candidate in ",;\t|":
        names = [_column(cell) for cell in next(csv.reader([header], delimiter=candidate), [])]
        found = {name: names.index(name) for name in ("file", "patientid") if name in names}
        if len(found) == 2:
            separator = candidate
            break
    else:
        shown = header[:80] if header.isprintable() else "no text"
        raise LddmError(f"{path} lacks the columns file, patient_id; it has {shown or 'nothing'}", HINT)
    try:
        cells = list(csv.reader(lines, delimiter=separator, strict=True))[1:]
    except csv.Error as error:
        raise LddmError(f"{path} is not a CSV: {error}", HINT) from error
    rows = []
    for number, row in enumerate(cells, start=2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) <= max(found.values()):
            raise LddmError(f"{path}: row {number} has {len(row)} columns, expected {len(names)}", HINT)
        patient = _number(_cell(row[found["patientid"]]))
        if SHORTENED.fullmatch(patient):
            raise LddmError(
                f"{path}: row {number} has the patient '{patient}', a long number that a spreadsheet has shortened",
                "format the column as text and enter the numbers again; several patients may look the same now",
            )
        rows.append((_cell(row[found["file"]]), patient))
    if not rows:
        raise LddmError(f"{path} has no row below its column names", HINT)
    return pd.DataFrame(rows, columns=["file", "patient_id"])


def match_patients(
    table: pd.DataFrame, files: Sequence[str], name: str = "the CSV of patients", folders: Sequence[bool] = ()
) -> Matches:
    """Which row belongs to which file.

    A row and a file match if their paths are equal or one ends with the other, compared in one Unicode form without
    drive, `./` and blanks at the ends of names, with `/` for `\\`; first as written, then in lower case, then without
    suffix.

    Args:
        table: what `read_patients` gave.
        files: paths below the source's folder.
        name: of the CSV, for messages.
        folders: which of `files` are folders of frames; a row may also name one of their frames.

    Raises:
        LddmError: a row fits several files, a file has two patients, or no row matches.
    """
    finders = [_Finder(files, form) for form in (_parts, _folded, _stems)]
    owner: dict[int, tuple[str, str]] = {}
    unknown: set[int] = set()
    lost: list[str] = []
    for written, patient in table.itertuples(index=False):
        places = next((found for finder in finders if (found := finder.find(written))), [])
        if not places and any(folders):
            places = [i for i in finders[1].find("/".join(_parts(written)[:-1])) if folders[i]]
        if len(places) > 1:
            shown = ", ".join(files[i] for i in places[:SHOWN])
            raise LddmError(f"{name}: '{written}' fits {len(places)} files: {shown}", "give the path below the folder")
        if not places:
            lost.append(written or "(empty)")
            continue
        (place,) = places
        key = known(normalise(patient))
        if not key:
            unknown.add(place)
        elif owner.setdefault(place, (key, patient))[0] != key:
            raise LddmError(f"{name} gives {files[place]} to two patients", "keep one row per file")
    if len(lost) == len(table):
        raise LddmError(
            f"{name}: none of its {len(table)} rows matches a file that is read; the first names '{lost[0]}', "
            f"the first file is '{files[0] if files else '(none)'}'",
            "the column file holds the path below the source's folder, or a file name that occurs once",
        )
    spelling: dict[str, str] = {}
    for key, patient in owner.values():
        spelling.setdefault(key, " ".join(patient.split()))
    return Matches({i: spelling[key] for i, (key, _) in owner.items()}, unknown - set(owner), lost, len(table))


def listed(names: Iterable[str], most: int = SHOWN) -> str:
    """The first names and how many more there are."""
    names = [os.fsencode(name).decode("utf-8", "backslashreplace") for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


class _Finder:
    """Files by the last part of their path, in one normal form."""

    def __init__(self, files: Sequence[str], form):
        self.form, self.files = form, files
        self.by_name: dict[str, list[tuple[int, tuple[str, ...]]]] = defaultdict(list)
        for place, file in enumerate(files):
            parts = form(file)
            if parts:
                self.by_name[parts[-1]].append((place, parts))

    def find(self, written: str) -> list[int]:
        """Positions of the files that fit; the longest common path wins, and of several the one that is all of a path."""
        row = self.form(written)
        if not row:
            return []
        fits: dict[int, list[int]] = defaultdict(list)
        for place, parts in self.by_name.get(row[-1], []):
            common = min(len(row), len(parts))
            if row[-common:] == parts[-common:]:
                fits[common].append(place)
        best = fits[max(fits)] if fits else []
        return [place for place in best if self.form(self.files[place]) == row] or best


def _parts(path: str) -> tuple[str, ...]:
    text = unicodedata.normalize("NFC", path.strip().strip("\"'")).replace("\\", "/")
    text = re.sub(r"^(file:/*)?[A-Za-z]:(?=/)", "", text)
    return tuple(part for part in (part.strip() for part in text.split("/")) if part not in ("", "."))


def _folded(path: str) -> tuple[str, ...]:
    return tuple(unicodedata.normalize("NFKC", part).casefold() for part in _parts(path))


def _stems(path: str) -> tuple[str, ...]:
    parts = _folded(path)
    return (*parts[:-1], SUFFIX.sub("", parts[-1])) if parts else ()


def _decode(path: Path) -> str:
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    elif b"\0" in content:
        encodings = []
    else:
        encodings = ["utf-8-sig", "cp1252"]  # the second is what Excel writes on Windows
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeError:
            continue
        if "\0" not in text:
            return text
    raise LddmError(f"{path} is not a CSV in UTF-8, UTF-16 or Windows-1252", HINT)


def _column(name: str) -> str:
    return re.sub(r"[\s_\"-]+", "", unicodedata.normalize("NFKC", name)).casefold()


def _cell(text: str) -> str:
    """A cell without the signs that keep a spreadsheet from reading it as a number: ="007" and '007."""
    text = text.strip()
    return re.sub(r"^(=\"(?P<quoted>.*)\"|'(?P<text>[^']*))$", r"\g<quoted>\g<text>", text).strip()


def _number(patient: str) -> str:
    """Spreadsheets write whole numbers of a column with gaps as 7.0, or 7,0 where the comma is the decimal sign."""
    return re.sub(r"^(\d+)[.,]0+$", r"\1", patient)
