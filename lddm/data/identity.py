"""Identifying attributes of a DICOM file, normalised.

Identifiers exist only in memory; results contain pseudonyms (lddm.data.pseudonyms). lddm.data.patient_groups groups files
by identity.
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
    "OtherPatientIDs",
    "OtherPatientIDsSequence",
    "IssuerOfPatientID",
    "PatientName",
    "PatientBirthDate",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Manufacturer",
    "ManufacturerModelName",
)
# Words used in place of a patient's name or ID. A value is a placeholder if it consists only of such words.
PLACEHOLDERS = frozenset(
    """anonymous anonymized anonymised anonymise anonymize anonym anon unknown unk na nan nil none null no not
    available known applicable named given name id identifier patient person subject nd tbd missing empty blank default
    deidentified de identified identity unidentified removed redacted masked hidden deleted withheld confidential
    test tester testing dummy demo example phantom synthetic simulated undefined unspecified unbekannt inconnu
    desconocido""".split()
)
BIRTH_PLACEHOLDERS = frozenset({"", "00000000", "19000101", "18000101", "99991231", "11111111", "99999999"})

VOWEL_SIGNS = re.compile("[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u0652\u0670]")
APOSTROPHES = re.compile("[`\u00b4\u02b9\u02bb\u02bc\u2018\u2019\u201b\u2032]")
HYPHENS = re.compile("[\u2010-\u2015\u2212]")


@dataclass(frozen=True)
class Identity:
    """Normalised identifying attributes of one file; "" if unknown. `repr` does not show them.

    Attributes:
        patient_id: PatientID (0010,0020).
        issuer: IssuerOfPatientID (0010,0021); distinguishes equal IDs of two hospitals.
        name: family and given name of PatientName (0010,0010).
        more_names: the same in the other scripts of PatientName: the ideographic and phonetic component groups.
        other_ids: OtherPatientIDs (0010,1000), also from OtherPatientIDsSequence (0010,1002).
        birth_date: PatientBirthDate (0010,0030) as eight digits.
        study: StudyInstanceUID (0020,000D).
        series: SeriesInstanceUID (0020,000E).
        device: Manufacturer and ManufacturerModelName, which do not identify a person.
    """

    patient_id: str = field(default="", repr=False)
    issuer: str = field(default="", repr=False)
    name: str = field(default="", repr=False)
    birth_date: str = field(default="", repr=False)
    study: str = field(default="", repr=False)
    series: str = field(default="", repr=False)
    device: str = ""
    more_names: tuple[str, ...] = field(default=(), repr=False)
    other_ids: tuple[str, ...] = field(default=(), repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The name in all scripts; () if unknown."""
        return tuple(dict.fromkeys(name for name in (self.name, *self.more_names) if name))


def read_identity(path: Path) -> Identity:
    """Read the identity from a DICOM header.

    Raises:
        UnreadableFile: the file is deflated, or the header is damaged; the message quotes no value, since any may contain a
            name.
    """
    import pydicom

    refuse_deflated(path)
    try:
        with silent_pydicom():
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(TAGS))
            return identity_of(header)
    except Exception as error:  # a damaged header can raise any error
        hint = "check the file: python -m pydicom show FILE (which prints names)"
        raise UnreadableFile(f"{path.name} has a damaged header ({type(error).__name__})", hint) from None


def identity_of(header: Any) -> Identity:
    """The identity in a pydicom data set with (some of) the `TAGS`."""
    device = " ".join(filter(None, (_text(header, "Manufacturer"), _text(header, "ManufacturerModelName"))))
    patient_id, issuer = _split_id(_text(header, "PatientID"))
    groups = [known(name) for name in name_groups(header.get("PatientName", ""))]
    names = [name for name in groups if name]
    return Identity(
        patient_id=known(normalise(patient_id), zeros=True),
        issuer=known(normalise(_text(header, "IssuerOfPatientID") or issuer)),
        name=names[0] if names else "",
        more_names=tuple(names[1:]),
        other_ids=_other_ids(header),
        birth_date=_birth_date(_text(header, "PatientBirthDate")),
        study=normalise(_text(header, "StudyInstanceUID")),
        series=normalise(_text(header, "SeriesInstanceUID")),
        # Other characters indicate a damaged length field that covers the following elements.
        device=device if re.fullmatch(r"[A-Za-z0-9 .,()/_+-]{0,60}", device) else "",
    )


def normalise(text: str) -> str:
    """Normalise an identifier: NFKC, no control characters, single spaces, lower case, digits 0-9; "007" is unchanged."""
    text = unicodedata.normalize("NFKC", text)
    text = "".join(" " if unicodedata.category(letter) in ("Cc", "Cf") else letter for letter in text)
    text = "".join(str(unicodedata.decimal(letter, letter)) for letter in text)
    return unicodedata.normalize("NFKC", " ".join(text.split()).casefold())


def name_groups(value: Any) -> list[str]:
    """The component groups of a person name (VR PN, DICOM PS3.5 section 6.2.1.1), each normalised by `normalise_name`.

    The groups are the same name in alphabetic, ideographic and phonetic form; some devices omit some of them.
    """
    return [normalise_name(group) for group in str(value or "").split("=") if group.strip(" ^")]


def normalise_name(group: str) -> str:
    """Family and given name of one component group as "family^given".

    Middle name, prefix and suffix are dropped, because only some files of a patient may contain them. The vowel signs of
    Arabic and Hebrew, which are optional, are dropped too; variants of apostrophes and hyphens are unified.
    """
    if "^" not in group:
        group = group.replace(",", "^")  # "DOE, JOHN", which is not the DICOM form
    group = HYPHENS.sub("-", APOSTROPHES.sub("'", VOWEL_SIGNS.sub("", unicodedata.normalize("NFKC", group))))
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
    """The text from which a patient's pseudonym is computed, or "" if nothing identifies the patient.

    Without ID and name, the study identifies the patient if it has several files.
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


def _split_id(text: str) -> tuple[str, str]:
    """Split an ID and its issuer ("" if none); some archives copy the HL7 form ID^check digit^scheme^issuer (CX)."""
    if text.count("^") < 3:
        return text, ""
    number, _, _, authority, *_ = text.split("^")
    return number, next((part for part in authority.split("&") if part.strip()), "")


def _other_ids(header: Any) -> tuple[str, ...]:
    texts = _text(header, "OtherPatientIDs").split("\\")
    texts += [_text(item, "PatientID") for item in header.get("OtherPatientIDsSequence") or []]
    found = (known(normalise(_split_id(text)[0]), zeros=True) for text in texts)
    return tuple(dict.fromkeys(one for one in found if one))


def _text(header: Any, keyword: str) -> str:
    value = header.get(keyword, "")
    if value is None:
        return ""
    return value if isinstance(value, str) else "\\".join(map(str, value)) if hasattr(value, "__iter__") else str(value)


def _birth_date(text: str) -> str:
    digits = re.sub(r"\D", "", text)
    return "" if digits in BIRTH_PLACEHOLDERS or len(digits) != 8 else digits
