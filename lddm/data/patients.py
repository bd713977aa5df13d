"""Patient of each file: from the patients CSV, from DICOM identities, or unknown."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lddm.data.alike import likely_same
from lddm.data.duplicates import connected
from lddm.data.identity import Identity, canonical, known, normalise
from lddm.data.patient_groups import group_patients
from lddm.data.patients_csv import listed
from lddm.data.patients_match import Matches
from lddm.data.pseudonyms import pseudonym
from lddm.errors import LddmError


@dataclass(frozen=True)
class Patients:
    """Patients of a folder's files.

    Attributes:
        names: one patient per file, None if unknown.
        notes: sentences about unmatched rows and files, and about identities that are placeholders.
    """

    names: list[str | None]
    notes: list[str]


def assign_patients(
    files: Sequence[str],
    identities: Sequence[Identity | None],
    matches: Matches | None,
    key: Callable[[], bytes],
) -> Patients:
    """Assign a patient to each file.

    The CSV overrides DICOM by patient: if it names one file of a DICOM patient, this applies to all files of that patient.

    Args:
        files: paths below the source's folder.
        identities: identities of the DICOM files, None for other files.
        matches: rows of the CSV matched to files; None without a CSV.
        key: returns the key of the pseudonyms; called only if one is needed.

    Raises:
        LddmError: the CSV assigns files of one DICOM patient to two patients.
    """
    notes: list[str] = []
    given = dict(matches.patients) if matches else {}
    groups = [members for members in group_patients(identities) if _text_of(members, identities)]
    if len(groups) == 1 and len(groups[0]) == len(files) > 1:
        notes.append(f"all {len(files)} files name the same patient in their DICOM headers")
        if len({file.split("/")[0] for file in files}) > 1:  # one patient in all classes must be a placeholder
            notes[-1] += ", which must be a placeholder: their patients are unknown"
            groups = []
    spelled = {known(normalise(name)): name for name in given.values()}
    bare = {_without_zeros(one): name for one, name in spelled.items()}
    names: list[str | None] = [None] * len(files)
    shared = 0
    for place, name in given.items():
        names[place] = f"folder-patient-{name}"
    for members in groups:
        said = {given[i] for i in members if i in given}
        if len(said) > 1:
            shown = listed(files[i] for i in members if i in given)
            raise LddmError(
                f"the patients CSV assigns files of one DICOM patient to {len(said)} patients: {shown}",
                "correct the CSV, or PatientID in the headers",
            )
        if not said:  # rows of other files may use the DICOM PatientID
            ids = {who.patient_id for who in _of(members, identities)} - {""}
            said = {spelled[one] for one in ids & spelled.keys()}
            said = said or {bare[_without_zeros(one)] for one in ids if _without_zeros(one) in bare}
            shared += bool(said)
        name = f"folder-patient-{min(said)}" if said else pseudonym(_text_of(members, identities), key())
        for place in members:
            names[place] = name
    if shared:
        notes.append(
            f"{shared} DICOM patients without a row have a PatientID that the patients CSV uses, and count as that patient"
            " (ignoring leading zeros, which spreadsheets drop)"
        )
    by_study = sum(len(members) for members in groups if _text_of(members, identities).startswith("study"))
    if by_study:
        notes.append(
            f"patients are unknown for {by_study} DICOM files, which have neither ID nor name: the files of each study count "
            "as one patient"
        )
    shared_studies = _studies_of_several(groups, names, identities)
    if shared_studies:
        notes.append(
            f"{shared_studies} DICOM studies have files of several patients, although a study belongs to one: check whether "
            "the patient IDs were generated per file; a patients CSV overrides them"
        )
    notes += _likely_same(files, groups, names, identities)
    if matches:
        notes += _csv_notes(files, names, matches)
    return Patients(names, notes)


def _likely_same(
    files: Sequence[str],
    groups: Sequence[Sequence[int]],
    names: Sequence[str | None],
    identities: Sequence[Identity | None],
) -> list[str]:
    """Note about pairs of patients that are probably the same, with one file of each."""
    pairs = likely_same([_of(members, identities) for members in groups])
    shown = [
        f"{files[groups[one][0]]} and {files[groups[other][0]]} ({reason})"
        for (one, other), reason in pairs.items()
        if names[groups[one][0]] != names[groups[other][0]]
    ]
    if not shown:
        return []
    return [
        f"{len(shown)} pairs of DICOM patients count as two patients but are probably the same: {listed(sorted(shown))}; to "
        "merge them, give their files the same ID in a patients CSV"
    ]


def join_sources(rows: list[dict]) -> None:
    """Give all files of one DICOM patient the same patient_id, also across sources.

    Args:
        rows: index rows, modified in place; `identity` is an Identity for DICOM files of a known patient.
    """
    places = [i for i, row in enumerate(rows) if row.get("identity") is not None]
    groups = group_patients([rows[i]["identity"] for i in places])
    pairs = [(places[members[0]], places[other]) for members in groups for other in members[1:]]
    by_name = defaultdict(list)
    for i, row in enumerate(rows):
        by_name[row["patient_id"]].append(i)
    pairs += [(members[0], other) for members in by_name.values() for other in members[1:]]
    for members in connected(len(rows), pairs):
        found = {rows[i]["patient_id"] for i in members}
        if len(found) > 1:
            name = min(found, key=lambda name: (not name.startswith("folder-patient-"), name))
            for i in members:
                rows[i]["patient_id"] = name


def _studies_of_several(
    groups: Sequence[Sequence[int]], names: Sequence[str | None], identities: Sequence[Identity | None]
) -> int:
    """Number of studies with files of several patients."""
    patients: dict[str, set[str | None]] = defaultdict(set)
    for members in groups:
        for who in _of(members, identities):
            patients[who.study].add(names[members[0]])
    return sum(len(found) > 1 for study, found in patients.items() if study)


def _without_zeros(name: str) -> str:
    """Strip leading zeros of a numeric ID, because spreadsheets drop them in a CSV."""
    return name.lstrip("0") if name.isdigit() else name


def _csv_notes(files: Sequence[str], names: Sequence[str | None], matches: Matches) -> list[str]:
    notes = []
    if matches.rows_without_file:
        count = len(matches.rows_without_file)
        notes.append(
            f"{count} of {matches.rows} rows of the patients CSV match no readable file: "
            f"{listed(matches.rows_without_file)}"
        )
    if matches.converted:
        notes.append(
            f"{len(matches.converted)} rows of the patients CSV name a file of another format, assumed to be converted: "
            f"{listed(matches.converted)}"
        )
    missing = [file for i, file in enumerate(files) if names[i] is None and i not in matches.unknown]
    if missing:
        notes.append(f"{len(missing)} of {len(files)} files have no row in the patients CSV: {listed(missing)}")
    if matches.unknown:
        shown = listed(files[i] for i in sorted(matches.unknown))
        notes.append(f"{len(matches.unknown)} files have a row that names no patient: {shown}")
    counts = Counter(matches.patients.values())
    bare = Counter(_without_zeros(known(normalise(name))) for name in counts)
    twice = [name for name in counts if bare[_without_zeros(known(normalise(name)))] > 1]
    if twice:
        notes.append(
            f"{len(twice)} patients of the patients CSV differ only in leading zeros, which spreadsheets drop, but count as "
            f"different: {listed(sorted(twice))}"
        )
    if len(counts) == 1 and len(matches.patients) > 1:
        notes.append(f"all rows of the patients CSV name the same patient ({len(matches.patients)} files)")
    return notes


def _of(members: Sequence[int], identities: Sequence[Identity | None]) -> list[Identity]:
    return [who for i in members if (who := identities[i]) is not None]


def _text_of(members: Sequence[int], identities: Sequence[Identity | None]) -> str:
    return canonical(_of(members, identities))
