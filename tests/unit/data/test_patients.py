"""Patients: one pseudonym per DICOM patient, CSVs of all dialects, and nobody on both sides of a split."""

import itertools
import os
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from lddm.data import pseudonyms
from lddm.data.identity import Identity, identity_of, known, normalise
from lddm.data.index import build_index
from lddm.data.patient_groups import group_patients, name_counts
from lddm.data.patients_csv import read_patients
from lddm.data.patients_match import match_patients
from lddm.data.pseudonyms import data_key
from lddm.data.sources import folder
from lddm.data.splits import check_no_leak, make_splits
from lddm.errors import LddmError
from lddm.io.dicom.read import write_dicom
from lddm.settings.data import FolderSource, IndexSettings, SplitSettings

CLASSES = ["benign", "malignant"]
FRAMES = np.random.default_rng(0).integers(0, 255, (2, 16, 16), dtype=np.uint8)


def cine(path, frames=FRAMES, **tags):
    """A small cine loop whose header holds `tags`; None deletes a tag."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_dicom(path, frames, 20)
    header = pydicom.dcmread(path)
    header.SpecificCharacterSet = "ISO_IR 192"
    for name, value in tags.items():
        if value is None:
            delattr(header, name)
        else:
            setattr(header, name, value)
    header.save_as(path)
    return path


def identity(**tags):
    header = Dataset()
    for name, value in tags.items():
        setattr(header, name, value)
    return identity_of(header)


def patients_of(root, csv=None, name="mine"):
    """File below the folder -> patient in the index row."""
    rows = folder.rows(FolderSource(folder=name, patients=csv), root, CLASSES)
    return {row["path"].removeprefix(f"{name}/"): row["patient_id"] for row in rows}


def groups(*identities):
    return group_patients(list(identities))


# How a patients CSV writes the path of a file below the source's folder.
DIALECTS = {
    "excel": lambda path: "C:\\study\\mine\\" + path.replace("/", "\\"),
    "folder in front": lambda path: f"mine/{path}",
    "dot, blanks, upper case": lambda path: f" ./{path.upper()} ",
    "no suffix": lambda path: path.removesuffix(".dcm"),
    "other suffix": lambda path: path.replace(".dcm", ".avi"),
    "name in another Unicode form": lambda path: unicodedata.normalize("NFD", path.split("/")[1]),
}


def test_24_dicom_patients_in_four_spellings_and_a_csv_in_six_dialects_stay_24_on_one_side_each(tmp_path):
    spellings = ["DOE{0}^JÖRG", "Doe{0}^Jörg^^^", "doe{0}^jörg^M", ""]
    truth, table = {}, []
    for patient in range(24):
        for number, spelling in enumerate(spellings):
            path = f"{CLASSES[patient % 2]}/pä{patient:02d}-{number}.dcm"
            number_form = [f"MRN{patient:05d}", f" mrn{patient:05d} "][number % 2]
            cine(tmp_path / "mine" / path, PatientID=number_form, PatientName=spelling.format(patient))
            truth[path] = patient
        if patient < 12:  # the CSV names one file of every second patient
            table.append(
                (list(DIALECTS.values())[patient % 6](f"{CLASSES[patient % 2]}/pä{patient:02d}-1.dcm"), patient)
            )
    lines = "".join(f"{file};case {patient}\r\n" for file, patient in table)
    (tmp_path / "mine/patients.csv").write_bytes(("File;Patient ID\r\n" + lines).encode("utf-8-sig"))
    source = FolderSource(folder="mine", patients="patients.csv")
    rows = folder.rows(source, tmp_path, CLASSES)
    index = pd.DataFrame(rows)
    index["true"] = [truth[path.removeprefix("mine/")] for path in index["path"]]
    assert index["patient_id"].nunique() == 24 and (index.groupby("true")["patient_id"].nunique() == 1).all()
    assert index["patient_id"].str.startswith("folder-patient-case").sum() == 12 * 4
    built = build_index(IndexSettings(sources=[source]), tmp_path, 0)
    assert set(built["patient_id"]) == set(index["patient_id"])
    splits = make_splits(built, SplitSettings(folds=3, min_patients=2), 0)
    check_no_leak(splits)
    parts = splits.merge(index[["id", "true"]], on="id").groupby(["fold", "true"])["split"].nunique()
    assert (parts == 1).all()


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("form", [",", ";", "\t", "sep=;", "utf-16", "cp1252"])
def test_a_csv_matches_whatever_its_dialect(tmp_path, dialect, form):
    files = ["benign/ä 1.dcm", "benign/b.dcm", "malignant/c.dcm", "malignant/d.dcm"]
    separator = {"sep=;": ";", "utf-16": "\t"}.get(form, form if len(form) == 1 else ",")
    start = "sep=;\r\n" if form == "sep=;" else ""
    lines = "".join(
        f'"{DIALECTS[dialect](file)}"{separator}{patient}\r\n' for file, patient in zip(files, "1122", strict=True)
    )
    if form == "cp1252":
        lines = unicodedata.normalize("NFC", lines)
    text = f"{start}FILE{separator}Patient_ID\r\n{lines}"
    (tmp_path / "p.csv").write_bytes(text.encode(form if form in ("utf-16", "cp1252") else "utf-8-sig"))
    found = match_patients(read_patients(tmp_path / "p.csv"), files)
    assert found.patients == {0: "1", 1: "1", 2: "2", 3: "2"} and not found.rows_without_file


def test_rows_and_files_that_do_not_match_are_counted_and_named(tmp_path, caplog):
    for name in ("benign/a.png", "benign/b.png", "malignant/c.png"):
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(FRAMES[0]).save(path)
    table = "file,patient_id\nbenign/a.png,7.0\nbenign/gone.png,8\nc.png,N/A\nmalignant/a.png,9\n"
    (tmp_path / "mine/patients.csv").write_text(table)
    found = patients_of(tmp_path, "patients.csv")
    assert found["benign/a.png"] == "folder-patient-7" and len(set(found.values())) == 3
    assert "2 of 4 rows of the patients CSV match no readable file: benign/gone.png, malignant/a.png" in caplog.text
    assert "1 of 3 files have no row in the patients CSV: benign/b.png" in caplog.text
    assert "1 files have a row that names no patient: malignant/c.png" in caplog.text


def test_the_longest_common_path_decides_and_what_stays_ambiguous_is_an_error():
    files = ["benign/a.avi", "benign/x/a.avi", "malignant/A.avi"]

    def match(*rows):
        return match_patients(pd.DataFrame(rows, columns=["file", "patient_id"]), files).patients

    assert match(("C:/s/benign/x/a.avi", "1"), ("D:\\benign\\a.avi", "2"), ("A.avi", "3")) == {1: "1", 0: "2", 2: "3"}
    with pytest.raises(LddmError, match="'a.avi' matches 2 files"):
        match(("a.avi", "1"))
    with pytest.raises(LddmError, match="assigns benign/a.avi to two patients"):
        match(("benign/a.avi", "1"), ("site/benign/a", "2"))
    assert match(("benign/a.avi", " P1"), ("benign/x/a.avi", "p1 ")) == {0: "P1", 1: "P1"}
    with pytest.raises(LddmError, match="none of its 1 rows"):
        match(("benign/a.avi.avi", "1"))


@pytest.mark.parametrize("spelling", ['="007"', "'007", '"=""007"""', " 007 "])
def test_an_id_is_the_same_however_a_spreadsheet_keeps_its_zeros(tmp_path, spelling):
    (tmp_path / "p.csv").write_text(f"file;patient_id\na/1.avi;{spelling}\na/2.avi;007\nb/3.avi;7,0\nb/4.avi;7\n")
    assert list(read_patients(tmp_path / "p.csv")["patient_id"]) == ["007", "007", "7", "7"]


def test_ids_that_a_spreadsheet_has_shortened_are_an_error(tmp_path):
    (tmp_path / "p.csv").write_text("file;patient_id\na/1.avi;1,23457E+11\na/2.avi;1,23457E+11\n")
    with pytest.raises(LddmError, match=r"row 2 has the patient '1,23457E\+11', a long number"):
        read_patients(tmp_path / "p.csv")


def test_a_whole_path_wins_over_the_end_of_another_and_3gp_is_a_suffix():
    table = pd.DataFrame({"file": ["a/1.avi", "a/b/a/1.avi", "a/2"], "patient_id": ["7", "8", "9"]})
    assert match_patients(table, ["a/1.avi", "a/b/a/1.avi", "a/2.3gp"]).patients == {0: "7", 1: "8", 2: "9"}


def test_uids_as_names_keep_their_last_number():
    files = ["benign/1.2.840.113", "benign/1.2.840.114"]
    table = pd.DataFrame({"file": ["1.2.840.114", "1.2.840.113"], "patient_id": ["a", "b"]})
    assert match_patients(table, files).patients == {1: "a", 0: "b"}


def test_a_csv_overrides_by_patient_and_a_conflict_is_an_error(tmp_path, caplog):
    for number in range(3):
        cine(tmp_path / f"mine/benign/{number}.dcm", PatientID="77", PatientName="A^B")
    for number in range(2):
        cine(tmp_path / f"mine/malignant/{number}.dcm", PatientID="4711", PatientName="C^D")
        Image.fromarray(FRAMES[0]).save(tmp_path / f"mine/malignant/{number}.png")
    table = tmp_path / "mine/patients.csv"
    table.write_text("file,patient_id\nbenign/1.dcm,P1\nmalignant/0.png,4711\n")
    found = patients_of(tmp_path, "patients.csv")
    assert {found[f"benign/{number}.dcm"] for number in range(3)} == {"folder-patient-P1"}
    # The CSV calls a still by the PatientID of the loops.
    assert found["malignant/0.png"] == found["malignant/0.dcm"] == found["malignant/1.dcm"] == "folder-patient-4711"
    assert found["malignant/1.png"].startswith("folder-1-")
    assert "1 DICOM patients without a row have a PatientID that the patients CSV uses" in caplog.text
    table.write_text("file,patient_id\nbenign/1.dcm,P1\nbenign/2.dcm,P2\n")
    with pytest.raises(LddmError, match="one DICOM patient to 2 patients: benign/1.dcm, benign/2.dcm") as caught:
        patients_of(tmp_path, "patients.csv")
    assert "77" not in str(caught.value)


def test_leading_zeros_that_a_spreadsheet_dropped_split_no_patient_unsaid(tmp_path, caplog):
    cine(tmp_path / "mine/a/1.dcm", PatientID="0071")
    cine(tmp_path / "mine/b/2.dcm", PatientID="12")
    for number, name in enumerate(("a/3.png", "a/4.png", "b/5.png")):
        Image.fromarray(np.full((16, 16), 40 * number, np.uint8)).save(tmp_path / "mine" / name)
    (tmp_path / "mine/p.csv").write_text("file,patient_id\na/3.png,71\na/4.png,9\nb/5.png,009\n")
    found = patients_of(tmp_path, "p.csv")
    assert found["a/1.dcm"] == found["a/3.png"] == "folder-patient-71"
    assert "2 patients of the patients CSV differ only in leading zeros" in caplog.text


def test_a_study_of_several_patients_is_said(tmp_path, caplog):
    for number in range(4):
        cine(tmp_path / f"mine/a/{number}.dcm", PatientID=f"P{number}", StudyInstanceUID=f"1.2.{number // 2 + 3}")
    assert len(set(patients_of(tmp_path).values())) == 4
    assert "2 DICOM studies have files of several patients" in caplog.text


def test_files_of_one_patient_in_two_sources_have_one_patient(tmp_path):
    for name, issuer in (("one", "CLINIC"), ("two", None)):
        for number in range(2):
            tags = {"PatientID": f"9{number}", "PatientName": "X^Y"} | ({"IssuerOfPatientID": issuer} if issuer else {})
            cine(tmp_path / name / CLASSES[number] / "a.dcm", **tags)
            cine(tmp_path / name / CLASSES[number] / "b.dcm", **tags | {"PatientID": f"{name}{number}"})
    (tmp_path / "two/patients.csv").write_text("file,patient_id\nbenign/a.dcm,P\n")
    sources = [FolderSource(folder="one"), FolderSource(folder="two", patients="patients.csv")]
    index = build_index(IndexSettings(sources=sources), tmp_path, 0).set_index("path")["patient_id"]
    assert index["one/benign/a.dcm"] == index["two/benign/a.dcm"] == "folder-patient-P"
    assert index["one/malignant/a.dcm"] == index["two/malignant/a.dcm"] and index.nunique() == 6


@pytest.mark.parametrize(
    "name",
    "ANONYMOUS anon^ymous UNKNOWN^PATIENT n/a N.A. none NULL --- **** XXXX xx^xx SYNTHETIC Test^Patient no_name "
    "de-identified Anonymized^^^ ? removed".split(),
)
def test_placeholders_name_nobody(name):
    who = identity(PatientID=name.replace("^", " "), PatientName=name, PatientBirthDate="19000101")
    assert who == Identity()


def test_what_only_looks_like_a_placeholder_names_somebody():
    assert identity(PatientID="0000") == Identity() and known(normalise("0000")) == "0000"
    for kept in ("ANON0001", "Na^Hyun", "007", "X1", "unknown7"):
        assert identity(PatientID=kept).patient_id and identity(PatientName=kept).name


def test_one_id_is_one_patient_however_it_is_written_and_whatever_the_name():
    forms = ["123", "123 ", " 123\0", "１２３"]
    assert groups(*(identity(PatientID=form, PatientName=name) for form, name in zip(forms, "ABCD", strict=True))) == [
        [0, 1, 2, 3]
    ]
    assert (
        len(
            groups(
                identity(PatientID="0123"),
                identity(PatientID="123"),
                identity(PatientID="ab"),
                identity(PatientID="AB"),
            )
        )
        == 3
    )
    here, there, nowhere = (identity(PatientID="1", IssuerOfPatientID=issuer) for issuer in ("A", "B", ""))
    assert groups(here, there) == [[0], [1]] and groups(here, nowhere) == [[0, 1]]
    assert groups(here, there, nowhere) == [[0, 1, 2]]  # it may be of either: joined rather than on both sides


def test_names_count_only_where_there_is_no_id():
    same = ["DOE^JOHN", "Doe^John^^^", "doe^john^M^Dr", "DOE, JOHN", "Doe^John=ドー^ジョン"]
    dated = [
        identity(PatientName=name, PatientBirthDate=date)
        for name, date in zip(same, itertools.cycle(["19510203", "1951.02.03"]))
    ]
    assert groups(*dated) == [[0, 1, 2, 3, 4]]
    assert groups(dated[0], identity(PatientName="DOE^JOHN", PatientBirthDate="19600101")) == [[0], [1]]
    one, other = (identity(PatientID=number, PatientName="DOE^JOHN") for number in "12")
    assert groups(one, other) == [[0], [1]]
    assert groups(one, identity(PatientID="ANON", PatientName="doe^john")) == [[0, 1]]  # one file lost its ID
    composed, decomposed = (unicodedata.normalize(form, "MÜLLER^Ö") for form in ("NFC", "NFD"))
    assert groups(identity(PatientName=composed), identity(PatientName=decomposed)) == [[0, 1]]
    study = [identity(PatientName="ANONYMOUS", StudyInstanceUID=uid) for uid in ("1.2.3", "1.2.3", "1.2.4")]
    assert groups(*study, None) == [[0, 1], [2], [3]]
    assert name_counts([one, other, identity(PatientID="1", PatientName="ROE^A"), None]) == (1, 1)


def test_one_identity_for_files_of_all_classes_is_nobody_and_is_said(tmp_path, caplog):
    for number in range(4):
        cine(tmp_path / f"mine/{CLASSES[number % 2]}/{number}.dcm", PatientID="STUDY42", PatientName="STUDY42")
    assert len(set(patients_of(tmp_path).values())) == 4
    assert "all 4 files name the same patient" in caplog.text and "patients are unknown" in caplog.text
    assert "STUDY42" not in caplog.text and not (tmp_path / ".lddm_key").exists()


def test_files_of_nobody_are_joined_by_study_and_each_counts_else(tmp_path, caplog):
    for number, study in enumerate(["1.2.3", "1.2.3", "1.2.4", "1.2.5"]):
        path = tmp_path / f"mine/{CLASSES[number % 2]}/{number}.dcm"
        cine(path, PatientID="", PatientName="ANONYMOUS", StudyInstanceUID=study)
    found = patients_of(tmp_path)
    assert found["benign/0.dcm"] == found["malignant/1.dcm"] and len(set(found.values())) == 3
    assert found["benign/2.dcm"].startswith("folder-2-") and "patients are unknown for 2 DICOM files" in caplog.text


def test_pseudonyms_need_the_key_of_the_data_and_follow_it(tmp_path):
    paths = [cine(tmp_path / f"data/mine/benign/{number}.dcm", PatientID=f"{number % 2}00001") for number in range(3)]
    first = patients_of(tmp_path / "data")
    key = tmp_path / "data/.lddm_key"
    assert key.stat().st_mode & 0o777 == 0o600 and len(bytes.fromhex(key.read_text())) == 32
    assert patients_of(tmp_path / "data") == first and len(set(first.values())) == 2
    (tmp_path / "data").rename(tmp_path / "moved")
    assert patients_of(tmp_path / "moved") == first
    (tmp_path / "moved/.lddm_key").unlink()
    assert not set(patients_of(tmp_path / "moved").values()) & set(first.values())
    assert "00001" not in str(first) + repr(
        identity_of(pydicom.dcmread(tmp_path / "moved/mine/benign" / paths[0].name))
    )


def test_a_key_that_cannot_be_used_is_one_error(tmp_path, monkeypatch):
    (tmp_path / ".lddm_key").write_text("")
    with pytest.raises(LddmError, match="does not contain 32 bytes"):
        data_key(tmp_path)
    (tmp_path / ".lddm_key").unlink()
    monkeypatch.setattr(os, "open", lambda *a: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(LddmError, match="cannot be read or created: Permission denied\nHint: .*LDDM_KEY_FILE"):
        data_key(tmp_path)
    monkeypatch.undo()
    monkeypatch.setenv("LDDM_KEY_FILE", str(tmp_path / "elsewhere"))
    assert data_key(Path("/no/such/folder")) == data_key(tmp_path) and not (tmp_path / ".lddm_key").exists()


def test_of_two_processes_that_make_the_key_one_wins(tmp_path):
    pseudonyms._make(tmp_path / "key")
    first = (tmp_path / "key").read_text()
    pseudonyms._make(tmp_path / "key")
    assert (tmp_path / "key").read_text() == first and [path.name for path in tmp_path.iterdir()] == ["key"]
