"""The Image Pixel attributes of a DICOM file (PS3.3 C.7.6.3): completed where a file lacks them, and contradictions refused."""

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
    """Set attributes that a file lacks to the only value they can have, or the usual one.

    A PhotometricInterpretation that differs from a defined term in case, blanks or punctuation only is taken for it.

    Returns:
        notes.
    """
    notes = []
    stated = str(header.get(PHOTOMETRIC) or "")
    term = {_bare(name): name for name in (*SAMPLES, *RETIRED)}.get(_bare(stated))
    if term is not None and term != stated:
        header.PhotometricInterpretation = term
        notes.append(f"{PHOTOMETRIC} is misspelt: taken for {term}")
    samples = SAMPLES.get(term or "", 3 if "PlanarConfiguration" in header else 1)
    usual = {
        "SamplesPerPixel": samples,
        PHOTOMETRIC: "MONOCHROME2" if header.get("SamplesPerPixel", samples) == 1 else "RGB",
        "BitsStored": header.get("BitsAllocated"),
        "PixelRepresentation": 0,
    }
    if not encapsulated and (header.get("SamplesPerPixel") or samples) == 3:  # a code states how its samples lie
        usual["PlanarConfiguration"] = 0
    lacking = [keyword for keyword in usual if header.get(keyword) in (None, "")]
    for keyword in lacking:
        setattr(header, keyword, usual[keyword])
    if lacking:
        notes.append(f"the header lacks {', '.join(lacking)}: taken for the usual values")
    return tuple(notes)


def check(header: Dataset, encapsulated: bool) -> None:
    """Refuse attributes that pydicom cannot decode by, with what is wrong about them.

    Raises:
        UnreadableFile: it names the attribute; of its value it quotes defined terms and numbers only.
    """
    term = header.PhotometricInterpretation
    if term in RETIRED or (term == "YBR_PARTIAL_420" and not encapsulated):
        kind = "a retired form" if term in RETIRED else "a form of compressed video"
        raise UnreadableFile(
            f"its {PHOTOMETRIC} is {term}, {kind} that is not read", "convert it to RGB or MONOCHROME2"
        )
    hint = "correct the header, e.g. with dcmodify of DCMTK"
    if term not in SAMPLES:
        raise UnreadableFile(f"its {PHOTOMETRIC} is none that DICOM defines", hint)
    samples, allocated, stored = (
        int(header[name].value) for name in ("SamplesPerPixel", "BitsAllocated", "BitsStored")
    )
    if samples != SAMPLES[term]:
        raise UnreadableFile(
            f"its SamplesPerPixel is {samples}, but {PHOTOMETRIC} {term} has {SAMPLES[term]}",
            hint,
        )
    if allocated != 1 and allocated % 8 or not 1 <= stored <= allocated:
        raise UnreadableFile(f"BitsAllocated {allocated} and BitsStored {stored} do not go together", hint)


def _bare(term: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", term.upper())
