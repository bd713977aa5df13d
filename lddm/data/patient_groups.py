"""Grouping of DICOM files by patient, from their identities."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from lddm.data.duplicates import connected
from lddm.data.identity import Identity


def group_patients(identities: Sequence[Identity | None]) -> list[list[int]]:
    """Group files by patient: lists of positions, each position in one list.

    Files belong to one patient if they have the same PatientID and no two different issuers; without PatientID, if they
    have the same name in one of its scripts and the same birth date; without a name, if they belong to one study. An issuer
    or birth date that is missing from some files is not a contradiction.

    # ASSUME: if a missing attribute leaves several candidate patients, they are merged: counting two patients as one costs
    some data, but one patient on both sides of a split invalidates the results.
    """
    pairs: list[tuple[int, int]] = []
    by_id = _places(identities, lambda who: (who.patient_id,))
    for members in by_id.values():
        pairs += _same(members, [_of(identities, i).issuer for i in members])
    nameless_id = {i for i, who in enumerate(identities) if who is not None and not who.patient_id}
    for members in _places(identities, lambda who: who.names).values():
        without = [i for i in members if i in nameless_id]
        pairs += _same(without, [_of(identities, i).birth_date for i in without])
        for i in without:
            birth = _of(identities, i).birth_date
            alike = [j for j in members if j not in nameless_id and _agree(birth, _of(identities, j).birth_date)]
            if birth or len({_of(identities, j).patient_id for j in alike}) == 1:
                pairs += [(i, j) for j in alike]
    for members in _places(identities, lambda who: (who.study,)).values():
        unnamed = [i for i in members if i in nameless_id and not _of(identities, i).name]
        pairs += [(i, members[0]) for i in unnamed]
    return connected(len(identities), pairs)


def name_counts(identities: Sequence[Identity | None]) -> tuple[int, int]:
    """Number of patient IDs with several names, and of names (with birth date) with several IDs."""
    names, ids = defaultdict(set), defaultdict(set)
    for who in identities:
        if who is not None and who.patient_id and who.name:
            names[(who.patient_id, who.issuer)].add(who.name)
            ids[(who.name, who.birth_date)].add((who.patient_id, who.issuer))
    return sum(len(found) > 1 for found in names.values()), sum(len(found) > 1 for found in ids.values())


def _of(identities: Sequence[Identity | None], place: int) -> Identity:
    who = identities[place]
    assert who is not None
    return who


def _places(identities: Sequence[Identity | None], keys: Callable[[Identity], tuple[str, ...]]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = defaultdict(list)
    for place, who in enumerate(identities):
        for key in keys(who) if who is not None else ():
            if key:
                places[key].append(place)
    return places


def _agree(one: str, other: str) -> bool:
    return not one or not other or one == other


def _same(members: list[int], qualifiers: list[str]) -> list[tuple[int, int]]:
    """Pairs of members with compatible qualifiers; an empty qualifier is compatible with all."""
    if "" in qualifiers:
        return [(members[0], other) for other in members[1:]]
    first: dict[str, int] = {}
    return [
        (first.setdefault(qualifier, member), member) for member, qualifier in zip(members, qualifiers, strict=True)
    ]
