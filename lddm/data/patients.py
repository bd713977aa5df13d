"""One patient per file: from the CSV of patients, from DICOM identities, or unknown."""

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
    """What is known of the patients of a folder's files.

    Attributes:
        names: one patient per file, None where unknown.
        notes: sentences about rows and files that do not match and about identities that name nobody.
    """

    names: list[str | None]
    notes: list[str]


def assign_patients(
    files: Sequence[str],
    identities: Sequence[Identity | None],
    matches: Matches | None,
    key: Callable[[], bytes],
) -> Patients:
    """The patient of each file.

    A CSV overrides by patient: if it names one file of a DICOM patient, all files of that patient follow it.

    Args:
        files: paths below the source's folder.
        identities: of the DICOM files, None for other files.
        matches: what the CSV says, None without a CSV.
        key: gives the key of the pseudonyms; called only if one is needed.

    Raises:
        LddmError: the CSV gives the files of one DICOM patient to two patients.
    """
    notes: list[str] = []
    given = dict(matches.patients) if matches else {}
    groups = [members for members in group_patients(identities) if _text_of(members, identities)]
    if len(groups) == 1 and len(groups[0]) == len(files) > 1:
        notes.append(f"all {len(files)} files name one patient in their DICOM headers")
        if len({file.split("/")[0] for file in files}) > 1:  # nobody is in all classes: a placeholder
            notes[-1] += ", which identifies nobody: their patients are unknown"
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
                f"the CSV of patients gives files of one DICOM patient to {len(said)} patients: {shown}",
                "correct the CSV, or PatientID in the headers",
            )
        if not said:  # the CSV may name the patient by the DICOM PatientID, in rows of other files
            ids = {who.patient_id for who in _of(members, identities)} - {""}
            said = {spelled[one] for one in ids & spelled.keys()}
            said = said or {bare[_without_zeros(one)] for one in ids if _without_zeros(one) in bare}
            shared += bool(said)
        name = f"folder-patient-{min(said)}" if said else pseudonym(_text_of(members, identities), key())
        for place in members:
            names[place] = name
    if shared:
        notes.append(
            f"{shared} DICOM patients without a row have a PatientID that the CSV of patients uses, and count as that patient"
            " (leading zeros aside, which spreadsheets drop)"
        )
    by_study = sum(len(members) for members in groups if _text_of(members, identities).startswith("study"))
    if by_study:
        notes.append(
            f"patients are unknown for {by_study} DICOM files, which have neither ID nor name: files of one study count "
            "as one patient, files of several studies as several"
        )
    shared_studies = _studies_of_several(groups, names, identities)
    if shared_studies:
        notes.append(
            f"{shared_studies} DICOM studies have files of several patients, though a study is of one: check whether the "
            "patient IDs were made up file by file; a CSV of patients overrides them"
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
    """A sentence about patients that are likely one, with a file of each."""
    pairs = likely_same([_of(members, identities) for members in groups])
    shown = [
        f"{files[groups[one][0]]} and {files[groups[other][0]]} ({reason})"
        for (one, other), reason in pairs.items()
        if names[groups[one][0]] != names[groups[other][0]]
    ]
    if not shown:
        return []
    return [
        f"{len(shown)} pairs of DICOM patients count as two and are likely one patient: {listed(sorted(shown))}; a CSV of "
        "patients that gives their files one ID joins them"
    ]


def join_sources(rows: list[dict]) -> None:
    """Give the files of one DICOM patient one patient_id, also where they lie in several sources.

    Args:
        rows: index rows, changed in place; `identity` holds an Identity for DICOM files of a known patient.
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
    """How many studies have files of several patients."""
    patients: dict[str, set[str | None]] = defaultdict(set)
    for members in groups:
        for who in _of(members, identities):
            patients[who.study].add(names[members[0]])
    return sum(len(found) > 1 for study, found in patients.items() if study)


def _without_zeros(name: str) -> str:
    """A number without its leading zeros, for IDs of a CSV; a spreadsheet drops them."""
    return name.lstrip("0") if name.isdigit() else name


def _csv_notes(files: Sequence[str], names: Sequence[str | None], matches: Matches) -> list[str]:
    notes = []
    if matches.rows_without_file:
        count = len(matches.rows_without_file)
        notes.append(
            f"{count} of {matches.rows} rows of the CSV of patients match no file that is read: "
            f"{listed(matches.rows_without_file)}"
        )
    if matches.converted:
        notes.append(
            f"{len(matches.converted)} rows of the CSV of patients name a file of another format, taken for a converted one: "
            f"{listed(matches.converted)}"
        )
    missing = [file for i, file in enumerate(files) if names[i] is None and i not in matches.unknown]
    if missing:
        notes.append(f"{len(missing)} of {len(files)} files have no row in the CSV of patients: {listed(missing)}")
    if matches.unknown:
        shown = listed(files[i] for i in sorted(matches.unknown))
        notes.append(f"{len(matches.unknown)} files have a row that names no patient: {shown}")
    counts = Counter(matches.patients.values())
    bare = Counter(_without_zeros(known(normalise(name))) for name in counts)
    twice = [name for name in counts if bare[_without_zeros(known(normalise(name)))] > 1]
    if twice:
        notes.append(
            f"{len(twice)} patients of the CSV of patients differ in leading zeros only, which spreadsheets drop, and count "
            f"as several: {listed(sorted(twice))}"
        )
    if len(counts) == 1 and len(matches.patients) > 1:
        notes.append(f"all rows of the CSV of patients name one patient ({len(matches.patients)} files)")
    return notes


def _of(members: Sequence[int], identities: Sequence[Identity | None]) -> list[Identity]:
    return [who for i in members if (who := identities[i]) is not None]


def _text_of(members: Sequence[int], identities: Sequence[Identity | None]) -> str:
    return canonical(_of(members, identities))
