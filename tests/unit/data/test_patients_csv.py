"""The patients CSV: what spreadsheets make of it, and rows of files that are not there."""

import unicodedata

import pytest

from lddm.data.patients_csv import read_patients
from lddm.data.patients_match import match_patients
from lddm.errors import LddmError


def read(tmp_path, content, files):
    path = tmp_path / "p.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = match_patients(read_patients(path), files)
    return {files[place]: patient for place, patient in found.patients.items()}, found


@pytest.mark.parametrize(
    ("rows", "files", "patients", "lost"),
    [
        ("a.png,8\nb.mp4,1\n", ["x/a.mp4", "x/b.mp4"], {"x/b.mp4": "1"}, ["a.png"]),
        ("a.png,8\na.mp4,1\n", ["x/a.mp4"], {"x/a.mp4": "1"}, ["a.png"]),
        ("a.avi,8\na.mp4,1\n", ["x/a.mp4"], {"x/a.mp4": "1"}, ["a.avi"]),
        ("P1.left,1\nq.mp4,3\n", ["x/P1.mp4", "x/q.mp4"], {"x/q.mp4": "3"}, ["P1.left"]),
        ("P1.left,1\nP1.right,2\n", ["P1.left.mp4", "P1.right.mp4"], {"P1.left.mp4": "1", "P1.right.mp4": "2"}, []),
        ("1.2.3.dcm,1\n1.2.4,2\n", ["x/1.2.3", "x/1.2.4.dcm"], {"x/1.2.3": "1", "x/1.2.4.dcm": "2"}, []),
    ],
)
def test_a_row_of_another_file_gives_no_patient(tmp_path, rows, files, patients, lost):
    given, found = read(tmp_path, "file,patient_id\n" + rows, files)
    assert given == patients and found.rows_without_file == lost and found.converted == []


def test_a_converted_file_is_found_and_said(tmp_path):
    given, found = read(tmp_path, "file,patient_id\na.avi,1\n", ["x/a.dcm", "x/b.dcm"])
    assert given == {"x/a.dcm": "1"} and found.converted == ["a.avi for x/a.dcm"]


def test_twins_in_two_unicode_forms_have_a_row_each(tmp_path):
    files = [f"x/{unicodedata.normalize(form, 'é')}.mp4" for form in ("NFC", "NFD")]
    given, _ = read(tmp_path, f"file,patient_id\n{files[0]},1\n{files[1]},2\n", files)
    assert given == dict(zip(files, "12", strict=True))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,Patient ID,patient_id\na.mp4,1,7\n", "row 2 has '1' and '7'"),
        ("file,file,patient_id\na.mp4,b.mp4,7\n", "row 2 has 'a.mp4' and 'b.mp4'"),
        ("file,patient_id\na.mp4,Doe, John\n", "row 2 has 3 columns, expected 2"),
        ('file,patient_id\na.mp4,"1,000"\nb.mp4,1\n', "'1,000' may be 1 or 1000"),
        ("file;patient_id\na.mp4;1.000\nb.mp4;1000\n", "'1.000' may be 1 or 1000"),
    ],
)
def test_a_table_that_can_be_meant_in_two_ways_is_an_error(tmp_path, content, message):
    with pytest.raises(LddmError, match=message):
        read(tmp_path, content, ["a.mp4", "b.mp4"])


@pytest.mark.parametrize(
    ("content", "patients"),
    [
        ("file,Patient ID,patient_id\na.mp4,7,7\nb.mp4,,8\n", "78"),
        ("file,patient_id,\na.mp4,7,\nb.mp4,8,,\n", "78"),
        ("file,patient_id\na.mp4,7.0\nb.mp4,#REF!\n", "7"),
        ("file,patient_id\na.mp4,7\nb.mp4,#NAME?\n", "7"),
        ('file,patient_id\na.mp4,"1,000"\nb.mp4,2\n', ["1,000", "2"]),
        ('"the\nnotes",file,patient_id\nx,a.mp4,7\nx,b.mp4,8\n', "78"),
        ("file,patient_id\ra.mp4,7\rb.mp4,8\r", "78"),
        ("file,patient_id\na.mp4,7\nb.mp4,8\n".encode("utf-16-le"), "78"),
        ("file,patient_id\na.mp4,7\nb.mp4,8\n".encode("utf-16-be"), "78"),
        ("file,patient_id\na.mp4,7\nb.mp4,8\n".encode("utf-32"), "78"),
    ],
)
def test_what_spreadsheets_write_is_read(tmp_path, content, patients):
    given, _ = read(tmp_path, content, ["a.mp4", "b.mp4"])
    assert given == dict(zip(["a.mp4", "b.mp4"], patients, strict=False))
