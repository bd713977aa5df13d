"""Reader of the patients CSV, in the dialects that spreadsheets write."""

from __future__ import annotations

import csv
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from lddm.errors import LddmError

HINT = "it needs the columns file and patient_id, one row per file; see docs/data.md"
SHOWN = 5
SHORTENED = re.compile(r"\d([.,]\d+)?[eE]\+\d+")  # 1.23457E+11
COLUMNS = ("file", "patientid")
SPREADSHEET_ERROR = re.compile(r"#(N/A|REF!|NAME\?|VALUE!|DIV/0!|NUM!|NULL!|SPILL!|CALC!|#+)", re.IGNORECASE)
THOUSANDS = re.compile(r"(\d{1,3})[.,]000")  # 1,000 is one thousand, or one with three decimals


def read_patients(path: Path) -> pd.DataFrame:
    """The columns file and patient_id as text, one row per row of the CSV.

    Columns are separated by comma, semicolon, tab or vertical bar; UTF-8, UTF-16 with a byte order mark and Windows-1252
    are read; column names may differ in case, spaces and underscores.

    Raises:
        LddmError: the file is missing, is not a table, lacks a column or has no row.
    """
    if not path.is_file():
        raise LddmError(f"{path} does not exist", f"use its path below the source's folder; {HINT}")
    text = _decode(path).lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    lines = [f"{line}\n" for line in text.split("\n")]
    if lines and re.fullmatch(r'"?sep=.+"?', lines[0].strip(), re.IGNORECASE):  # first line written by Excel
        lines = lines[1:]
    while lines and not lines[0].strip(" ,;\t|\n"):
        lines = lines[1:]
    separator, names = _separator(lines, path)
    columns = [_the_column(names, name) for name in COLUMNS]
    try:
        cells = list(csv.reader(lines, delimiter=separator, strict=True))[1:]
    except csv.Error as error:
        raise LddmError(f"{path} is not a CSV: {error}", HINT) from error
    rows = []
    for number, row in enumerate(cells, start=2):
        if not any(cell.strip() for cell in row):
            continue
        if (
            len(row) < len(names)
            and len(row) <= max(max(places) for places in columns)
            or any(cell.strip() for cell in row[len(names) :])
        ):
            raise LddmError(
                f"{path}: row {number} has {len(row)} columns, expected {len(names)}",
                "put names that contain the separator in double quotes",
            )
        file, patient = (_agreed(row, places, f"{path}: row {number}") for places in columns)
        patient = "" if SPREADSHEET_ERROR.fullmatch(patient) else _number(patient)
        if SHORTENED.fullmatch(patient):
            raise LddmError(
                f"{path}: row {number} has the patient '{patient}', a long number that a spreadsheet has shortened",
                "format the column as text and enter the numbers again; different patients may have become identical",
            )
        rows.append((file, patient))
    if not rows:
        raise LddmError(f"{path} has no rows below the column names", HINT)
    _check_thousands({patient for _, patient in rows}, path)
    return pd.DataFrame(rows, columns=["file", "patient_id"])


def listed(names: Iterable[str], most: int = SHOWN) -> str:
    """The first names, and the number of remaining ones."""
    names = [os.fsencode(name).decode("utf-8", "backslashreplace") for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _decode(path: Path) -> str:
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        encodings = ["utf-32"]
    elif content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    elif b"\0" in content:  # without a byte order mark: zero bytes follow (LE) or precede (BE) Latin letters
        odd, even = content[1::2].count(0), content[::2].count(0)
        encodings = ["utf-16-le"] if odd > 10 * even else ["utf-16-be"] if even > 10 * odd else []
    else:
        encodings = ["utf-8-sig", "cp1252"]  # Excel on Windows writes cp1252
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeError:
            continue
        if "\0" not in text and (b"\0" not in content or "file" in text.casefold()):
            return text
    raise LddmError(f"{path} is not a CSV in UTF-8, UTF-16 or Windows-1252", HINT)


def _separator(lines: list[str], path: Path) -> tuple[str, list[str]]:
    """The column separator, and the normalised column names, which may contain line breaks."""
    for candidate in ",;\t|":
        names = [_column(cell) for cell in next(csv.reader(lines, delimiter=candidate), [])]
        if all(name in names for name in COLUMNS):
            return candidate, names
    header = lines[0].rstrip("\n") if lines else ""
    shown = header[:80] if header.isprintable() else "no text"
    raise LddmError(f"{path} lacks the columns file, patient_id; it has {shown or 'nothing'}", HINT)


def _the_column(names: list[str], wanted: str) -> list[int]:
    """Positions of all columns with this name, e.g. `Patient ID` and `patient_id`."""
    return [place for place, name in enumerate(names) if name == wanted]


def _agreed(row: list[str], places: list[int], where: str) -> str:
    """The value of the columns with the same name, which must not contradict each other."""
    found = list(dict.fromkeys(filter(None, (_cell(row[place]) for place in places if place < len(row)))))
    if len(found) > 1:
        raise LddmError(
            f"{where} has '{found[0]}' and '{found[1]}' in two columns of the same name", "keep one of the columns"
        )
    return found[0] if found else ""


def _check_thousands(patients: set[str], path: Path) -> None:
    """Raise LddmError if 1,000 occurs together with 1 or 1000, either of which it could mean."""
    for patient in sorted(patients):
        found = THOUSANDS.fullmatch(patient)
        if found is None:
            continue
        other = patients & {found[1], f"{found[1]}000"}
        if other:
            raise LddmError(
                f"{path}: the patient '{patient}' may be {found[1]} or {found[1]}000, and '{min(other)}' occurs too",
                "format the column as text, without thousands separators",
            )


def _column(name: str) -> str:
    return re.sub(r"[\s_\"-]+", "", unicodedata.normalize("NFKC", name)).casefold()


def _cell(text: str) -> str:
    """Strip a cell of the marks that make a spreadsheet keep it as text: ="007" and '007."""
    text = text.strip()
    return re.sub(r"^(=\"(?P<quoted>.*)\"|'(?P<text>[^']*))$", r"\g<quoted>\g<text>", text).strip()


def _number(patient: str) -> str:
    """Remove .0 (or ,0 with a decimal comma), which spreadsheets append to integers in columns with gaps."""
    return patient if THOUSANDS.fullmatch(patient) else re.sub(r"^(\d+)[.,]0+$", r"\1", patient)
