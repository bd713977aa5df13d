"""Identifying attributes of a DICOM file in normal form.

Identifiers exist in memory only; results hold pseudonyms (lddm.data.pseudonyms). lddm.data.patient_groups groups files
by them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lddm.io.dicom.read import refuse_deflated
from lddm.io.dicom.silence import silent_pydicom
from lddm.io.recording import UnreadableFile

TAGS = (
    "PatientID",
    "IssuerOfPatientID",
    "PatientName",
    "PatientBirthDate",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Manufacturer",
    "ManufacturerModelName",
)
# Words that stand where a patient is not named. A value is a placeholder if it consists of such words only.
PLACEHOLDERS = frozenset(
    """anonymous anonymized anonymised anonymise anonymize anonym anon unknown unk na nan nil none null no not
    available known applicable named given name id identifier patient person subject nd tbd missing empty blank default
    deidentified de identified identity unidentified removed redacted masked hidden deleted withheld confidential
    test tester testing dummy demo example phantom synthetic simulated undefined unspecified unbekannt inconnu
    desconocido""".split()
)
BIRTH_PLACEHOLDERS = frozenset({"", "00000000", "19000101", "18000101", "99991231", "11111111", "99999999"})


@dataclass(frozen=True)
class Identity:
    """Identifying attributes of one file, in normal form; "" where unknown. They are never shown: see `repr`.

    Attributes:
        patient_id: PatientID (0010,0020).
        issuer: IssuerOfPatientID (0010,0021); tells apart equal IDs of two hospitals.
        name: family and given name of PatientName (0010,0010).
        birth_date: PatientBirthDate (0010,0030) as eight digits.
        study: StudyInstanceUID (0020,000D).
        series: SeriesInstanceUID (0020,000E).
        device: Manufacturer and ManufacturerModelName, which identify no person.
    """

    patient_id: str = field(default="", repr=False)
    issuer: str = field(default="", repr=False)
    name: str = field(default="", repr=False)
    birth_date: str = field(default="", repr=False)
    study: str = field(default="", repr=False)
    series: str = field(default="", repr=False)
    device: str = ""


def read_identity(path: Path) -> Identity:
    """The identity that a DICOM header gives.

    Raises:
        UnreadableFile: the file is deflated, or the header is damaged; the message quotes nothing of it, since any value may
            hold a name.
    """
    import pydicom

    refuse_deflated(path)
    try:
        with silent_pydicom():
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(TAGS))
            return identity_of(header)
    except Exception as error:  # a damaged header raises whatever the damaged element raises
        hint = "check the file: python -m pydicom show FILE (which prints names)"
        raise UnreadableFile(f"{path.name} has a damaged header ({type(error).__name__})", hint) from None


def identity_of(header: Any) -> Identity:
    """The identity in a pydicom data set that holds (some of) `TAGS`."""
    device = " ".join(filter(None, (_text(header, "Manufacturer"), _text(header, "ManufacturerModelName"))))
    return Identity(
        patient_id=known(normalise(_text(header, "PatientID")), zeros=True),
        issuer=known(normalise(_text(header, "IssuerOfPatientID"))),
        name=known(normalise_name(header.get("PatientName", ""))),
        birth_date=_birth_date(_text(header, "PatientBirthDate")),
        study=normalise(_text(header, "StudyInstanceUID")),
        series=normalise(_text(header, "SeriesInstanceUID")),
        # Other characters mean a damaged length that reaches over the elements behind it.
        device=device if re.fullmatch(r"[A-Za-z0-9 .,()/_+-]{0,60}", device) else "",
    )


def normalise(text: str) -> str:
    """An identifier in normal form: Unicode NFKC, no control characters, single spaces, lower case; "007" stays."""
    text = unicodedata.normalize("NFKC", text)
    text = "".join(" " if unicodedata.category(letter) in ("Cc", "Cf") else letter for letter in text)
    return unicodedata.normalize("NFKC", " ".join(text.split()).casefold())


def normalise_name(value: Any) -> str:
    """Family and given name of a person name (VR PN, DICOM PS3.5 section 6.2.1.1) as "family^given".

    Only the first component group that is filled counts, since some devices omit the ideographic ones. Middle name,
    prefix and suffix are left out, since they are present in some files of a patient and absent in others.
    """
    group = next((part for part in str(value or "").split("=") if part.strip(" ^")), "")
    if "^" not in group:
        group = group.replace(",", "^")  # "DOE, JOHN", which is not DICOM's form
    family, given, *_ = [*(normalise(part) for part in group.split("^")), ""]
    return f"{family}^{given}".rstrip("^")


def known(value: str, zeros: bool = False) -> str:
    """The value, or "" for a placeholder such as ANONYMOUS, N/A or XXXX; with `zeros`, also for 0 and 0000."""
    words = re.findall(r"\w+", value.replace("_", " "))
    joined = "".join(words)
    if not words or re.fullmatch(r"x{2,}", joined) or joined in PLACEHOLDERS:
        return ""
    if all(word in PLACEHOLDERS or word in ("n", "a") for word in words) and words != ["a"] and words != ["n"]:
        return ""
    return "" if zeros and re.fullmatch(r"0+", joined) else value


def canonical(members: Sequence[Identity]) -> str:
    """The text that a patient's pseudonym is made of, or "" if nothing identifies the patient.

    Without ID and name, a study identifies the patient of its files; a single file it does not.
    """
    ids = sorted({who.patient_id for who in members} - {""})
    if ids:
        issuers = sorted({who.issuer for who in members if who.patient_id == ids[0]} - {""})
        return f"id\n{ids[0]}\n{issuers[0] if issuers else ''}"
    names = sorted({who.name for who in members} - {""})
    if names:
        dates = sorted({who.birth_date for who in members} - {""})
        return f"name\n{names[0]}\n{dates[0] if dates else ''}"
    studies = sorted({who.study for who in members} - {""})
    return f"study\n{studies[0]}" if studies and len(members) > 1 else ""


def _text(header: Any, keyword: str) -> str:
    value = header.get(keyword, "")
    if value is None:
        return ""
    return value if isinstance(value, str) else "\\".join(map(str, value)) if hasattr(value, "__iter__") else str(value)


def _birth_date(text: str) -> str:
    digits = re.sub(r"\D", "", text)
    return "" if digits in BIRTH_PLACEHOLDERS or len(digits) != 8 else digits
