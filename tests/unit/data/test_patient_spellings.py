"""One patient in several spellings: joined where the spelling cannot tell people apart, named where it may."""

import pytest
from pydicom.dataset import Dataset

from lddm.data.identity import Identity, identity_of
from lddm.data.patient_groups import group_patients
from lddm.data.patients import assign_patients


def identity(**tags):
    header = Dataset()
    for name, value in ({"PatientBirthDate": "19600101"} | tags).items():
        setattr(header, name, value)
    return identity_of(header)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"PatientName": "Yamada^Tarou=山田^太郎"}, {"PatientName": "=山田^太郎"}),
        ({"PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう"}, {"PatientName": "==やまだ^たろう"}),
        ({"PatientName": "محمد^علي"}, {"PatientName": "مُحَمَّد^علي"}),
        ({"PatientName": "O'Brien^A"}, {"PatientName": "O\u2019Brien^A"}),
        ({"PatientName": "Smith-Jones^A"}, {"PatientName": "Smith\u2010Jones^A"}),
        ({"PatientID": "123^^^HOSP"}, {"PatientID": "123", "IssuerOfPatientID": "HOSP"}),
        ({"PatientID": "123^^^HOSP&1.2.3&ISO"}, {"PatientID": "123"}),
        ({"PatientID": "١٢٣"}, {"PatientID": "123"}),
    ],
)
def test_one_spelling_of_a_patient_is_as_good_as_another(one, other):
    assert group_patients([identity(**one), identity(**other)]) == [[0, 1]]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"PatientName": "が^あ"}, {"PatientName": "か^あ"}),  # the mark of a Japanese syllable is no accent
        ({"PatientID": "123^^^HOSP"}, {"PatientID": "123^^^CLINIC"}),
        ({"PatientID": "12^3"}, {"PatientID": "12"}),
    ],
)
def test_other_patients_stay_apart(one, other):
    assert group_patients([identity(**one), identity(**other)]) == [[0], [1]]


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        ({"PatientID": "0071"}, {"PatientID": "71"}, "leading zeros"),
        ({"PatientID": "11", "OtherPatientIDs": ["9", "22"]}, {"PatientID": "22"}, "OtherPatientIDs"),
        ({"PatientName": "Doe^John"}, {"PatientName": "Doe John"}, "similar names"),
        ({"PatientName": "Doe^John"}, {"PatientName": "Doe^John M"}, "similar names"),
        ({"PatientName": "Müller^H"}, {"PatientName": "MUELLER^H"}, "similar names"),
        ({"PatientName": "O'Brien^A"}, {"PatientName": "OBrien^A", "PatientID": "7"}, "similar names"),
        ({"PatientName": "Doe^John"}, {"PatientName": "Doe^Jane"}, None),
        ({"PatientName": "Doe^John", "PatientID": "1"}, {"PatientName": "Doe John", "PatientID": "2"}, None),
        ({"PatientID": "0071", "IssuerOfPatientID": "a"}, {"PatientID": "71", "IssuerOfPatientID": "b"}, None),
    ],
)
def test_patients_that_are_likely_one_are_named(one, other, reason):
    identities = [identity(**one), identity(**other), Identity()]
    found = assign_patients(["x/0.dcm", "x/1.dcm", "x/2.dcm"], identities, None, lambda: b"k" * 32)
    assert len(set(found.names)) == 3
    said = [note for note in found.notes if "probably the same" in note]
    assert bool(said) == bool(reason)
    for note in said:
        assert reason in note and "x/0.dcm and x/1.dcm" in note
        assert not any(value in note for value in ("1960", "0071", "Doe", "doe", "ller", "rien"))
