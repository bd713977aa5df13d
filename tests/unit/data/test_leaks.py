"""The leak report: metadata that predict a class are said loudly, others are not."""

import json

import numpy as np
import pandas as pd
import pytest

from lddm.data import leaks
from lddm.data.leaks import leak_report, predict_class

CLASSES = ["benign", "malignant"]


@pytest.fixture(autouse=True)
def few_permutations(monkeypatch):
    monkeypatch.setattr(leaks, "PERMUTATIONS", 24)


def files(patients=30, per_patient=2, seed=0, **changed):
    """Files whose metadata say nothing of the class; `changed` maps a column to a function of (label, rng)."""
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        label = patient % 2
        fps, height = rng.choice([20.0, 25.0, 30.0]), int(rng.choice([480, 600, 768]))
        for number in range(per_patient):
            row = {
                "id": f"v{patient}-{number}",
                "path": f"mine/{CLASSES[label]}/{patient}-{number}.avi",
                "kind": "video",
            }
            row |= {"source": "folder", "label": label, "patient_id": f"p{patient}", "cluster": None, "excluded": None}
            row |= {"fps": fps, "n_frames": int(rng.integers(30, 300)), "height": height, "width": height + 160}
            row |= {"device": ""} | {name: value(label, rng) for name, value in changed.items()}
            rows.append(row)
    return pd.DataFrame(rows)


@pytest.mark.parametrize("seed", range(2))
def test_metadata_without_the_class_raise_no_alarm(seed):
    found = leak_report(files(seed=seed), CLASSES)
    assert not found.predictability.alarming
    assert found.lines()[0].startswith("file metadata alone do not predict the class")


@pytest.mark.parametrize(
    ("column", "value", "name"),
    [
        ("fps", lambda label, rng: 25.0 + 5 * label, "frame rate 1.00"),
        ("width", lambda label, rng: int(rng.integers(600, 700)) + 90 * label, "width"),
        ("n_frames", lambda label, rng: int(rng.integers(30, 90)) + 50 * label, "number of frames"),
        ("device", lambda label, rng: ["Clinic A", "Clinic B"][label], "device 1.00"),
        ("path", lambda label, rng: f"mine/x.{['avi', 'mp4'][label]}", "file type 1.00"),
        ("source", lambda label, rng: ["busv", "folder"][label], "source 1.00"),
    ],
)
def test_metadata_that_predict_the_class_are_said_loudly(column, value, name):
    found = leak_report(files(**{column: value}), CLASSES)
    line = found.lines()[0]
    assert found.predictability.alarming and found.predictability.p_value == 1 / 25
    assert line.startswith("WARNING: FILE METADATA ALONE PREDICT THE CLASS") and f"Single features: {name}" in line


def test_many_files_of_one_patient_prove_nothing():
    # Each patient has a frame rate of its own, the same in all files: files are many, patients are not.
    table = files(patients=6, per_patient=60)
    table["fps"] = table["patient_id"].str[1:].astype(float) * 7 % 5 + 20
    assert not predict_class(table).alarming


def test_too_few_patients_are_not_judged_and_unusable_files_do_not_count(tmp_path):
    table = files(patients=3)
    table.loc[table["label"] == 1, "excluded"] = "shares frames with a file of another class"
    found = leak_report(table, CLASSES)
    assert found.predictability is None and "was not tested" in found.lines()[0]
    assert found.duplicates_in_both == 2 and found.by_class["malignant"]["videos"] == 0
    found.write(tmp_path / "leaks.json")
    assert json.loads((tmp_path / "leaks.json").read_text())["lines"] == found.lines()


def test_patients_of_both_classes_and_unknown_ones_are_counted():
    table = files(patients=8)
    table.loc[table["patient_id"] == "p1", "patient_id"] = "p0"
    table.loc[table["patient_id"] == "p2", "patient_id"] = table["id"]
    text = "\n".join(leak_report(table, CLASSES).lines())
    assert (
        "1 patients have files of both classes" in text and "class benign: 8 videos and 0 stills of 5 patients" in text
    )
    assert "(unknown patients, one per file: 2)" in text
