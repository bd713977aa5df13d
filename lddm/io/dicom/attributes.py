"""Image Pixel attributes of a DICOM file (PS3.3 C.7.6.3): missing ones are completed, contradictory ones refused."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

from lddm.io.recording import UnreadableFile

SAMPLES = {
    "MONOCHROME1": 1,
    "MONOCHROME2": 1,
    "PALETTE COLOR": 1,
    "RGB": 3,
    "YBR_FULL": 3,
    "YBR_FULL_422": 3,
    "YBR_PARTIAL_422": 3,
    "YBR_PARTIAL_420": 3,
    "YBR_ICT": 3,
    "YBR_RCT": 3,
}
RETIRED = {"HSV", "ARGB", "CMYK"}
PHOTOMETRIC = "PhotometricInterpretation"


def complete(header: Dataset, encapsulated: bool) -> tuple[str, ...]:
    """Set missing attributes to the only possible value, or else to the usual one.

    A PhotometricInterpretation that differs from a defined term only in case, spaces or punctuation is replaced by it.

    Returns:
        notes.
    """
    notes = []
    stated = str(header.get(PHOTOMETRIC) or "")
    term = {_bare(name): name for name in (*SAMPLES, *RETIRED)}.get(_bare(stated))
    if term is not None and term != stated:
        header.PhotometricInterpretation = term
        notes.append(f"misspelt {PHOTOMETRIC}: read as {term}")
    samples = SAMPLES.get(term or "", 3 if "PlanarConfiguration" in header else 1)
    usual = {
        "SamplesPerPixel": samples,
        PHOTOMETRIC: "MONOCHROME2" if header.get("SamplesPerPixel", samples) == 1 else "RGB",
        "BitsStored": header.get("BitsAllocated"),
        "PixelRepresentation": 0,
    }
    if (
        not encapsulated and (header.get("SamplesPerPixel") or samples) == 3
    ):  # a codestream states its own sample layout
        usual["PlanarConfiguration"] = 0
    lacking = [keyword for keyword in usual if header.get(keyword) in (None, "")]
    for keyword in lacking:
        setattr(header, keyword, usual[keyword])
    if lacking:
        notes.append(f"the header lacks {', '.join(lacking)}: usual values assumed")
    return tuple(notes)


def check(header: Dataset, encapsulated: bool) -> None:
    """Refuse attributes with which pydicom cannot decode.

    Raises:
        UnreadableFile: the message names the attribute; it quotes the value only if it is a defined term or a number.
    """
    term = header.PhotometricInterpretation
    if term in RETIRED or (term == "YBR_PARTIAL_420" and not encapsulated):
        kind = "a retired format" if term in RETIRED else "a format of compressed video"
        raise UnreadableFile(
            f"{PHOTOMETRIC} is {term}, {kind} that is not supported", "convert it to RGB or MONOCHROME2"
        )
    hint = "correct the header, e.g. with dcmodify of DCMTK"
    if term not in SAMPLES:
        raise UnreadableFile(f"{PHOTOMETRIC} is not a term defined by DICOM", hint)
    samples, allocated, stored = (
        int(header[name].value) for name in ("SamplesPerPixel", "BitsAllocated", "BitsStored")
    )
    if samples != SAMPLES[term]:
        raise UnreadableFile(
            f"SamplesPerPixel is {samples}, but {PHOTOMETRIC} {term} has {SAMPLES[term]}",
            hint,
        )
    if allocated != 1 and allocated % 8 or not 1 <= stored <= allocated:
        raise UnreadableFile(f"BitsAllocated {allocated} and BitsStored {stored} are inconsistent", hint)


def _bare(term: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", term.upper())
