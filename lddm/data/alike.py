"""Detection of patients who are probably the same: IDs and names that differ only in spelling."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence

from lddm.data.identity import Identity


def likely_same(patients: Sequence[Sequence[Identity]]) -> dict[tuple[int, int], str]:
    """Pairs of patients that the user should check; they are not merged, because they may be two people.

    - PatientIDs that differ only in leading zeros and have no two different issuers, or one of which is among the
      OtherPatientIDs of the other patient, unless the birth dates differ;
    - if one of them has no PatientID: the same birth date, and names that differ only in order, accents, apostrophes or
      additional words.

    Args:
        patients: the identities of each patient's files.

    Returns:
        positions of two patients, the lower first -> reason, without any value.
    """
    found: dict[tuple[int, int], str] = {}
    for pairs, reason in (
        (_by_zeros(patients), "IDs that differ only in leading zeros"),
        (_by_other_ids(patients), "the ID of one is among OtherPatientIDs of the other"),
        (_by_name(patients), "the same birth date and similar names"),
    ):
        for one, other in pairs:
            if one != other:
                found.setdefault((min(one, other), max(one, other)), reason)
    return found


def _by_zeros(patients: Sequence[Sequence[Identity]]) -> Iterator[tuple[int, int]]:
    places = defaultdict(list)
    for place, files in enumerate(patients):
        for one in {who.patient_id for who in files if who.patient_id.isdigit()}:
            places[one.lstrip("0")].append((place, one))
    for alike in places.values():
        for number, (place, one) in enumerate(alike):
            yield from (
                (place, at)
                for at, other in alike[:number]
                if other != one and _agree(patients[place], patients[at], "issuer", "birth_date")
            )


def _by_other_ids(patients: Sequence[Sequence[Identity]]) -> Iterator[tuple[int, int]]:
    places = defaultdict(set)
    for place, files in enumerate(patients):
        for who in files:
            places[who.patient_id].add(place)
    for place, files in enumerate(patients):
        for other in {other for who in files for other in who.other_ids}:
            yield from (
                (place, at) for at in sorted(places.get(other, ())) if _agree(files, patients[at], "birth_date")
            )


def _by_name(patients: Sequence[Sequence[Identity]]) -> Iterator[tuple[int, int]]:
    without_id = [not any(who.patient_id for who in files) for files in patients]
    places: dict[tuple[str, str], set[tuple[int, frozenset[str]]]] = defaultdict(set)
    for place, files in enumerate(patients):
        for who in files:
            for words in map(_words, who.names if who.birth_date else ()):
                for word in words:
                    places[who.birth_date, word].add((place, words))
    for alike in places.values():
        entries = sorted(alike, key=lambda entry: (entry[0], sorted(entry[1])))
        for number, (place, words) in enumerate(entries):
            for at, others in entries[:number]:
                same = words == others or (min(len(words), len(others)) > 1 and (words <= others or others <= words))
                if same and (without_id[place] or without_id[at]):
                    yield place, at


def _words(name: str) -> frozenset[str]:
    """The words of a name without accents and apostrophes; ae, oe and ue (German umlauts) are reduced to a, o and u."""
    plain = "".join(letter for letter in unicodedata.normalize("NFD", name) if not unicodedata.combining(letter))
    plain = re.sub(r"(?<=[aou])e", "", plain.replace("'", "").replace("ø", "o").replace("æ", "a"))
    return frozenset(re.findall(r"\w+", plain))


def _agree(one: Sequence[Identity], other: Sequence[Identity], *attributes: str) -> bool:
    """Whether no attribute has different values in the two patients; a missing value is compatible with all."""
    for attribute in attributes:
        values, others = ({getattr(who, attribute) for who in files} - {""} for files in (one, other))
        if values and others and not values & others:
            return False
    return True
