"""Names planted in DICOM headers, then a whole run: no output, log, record, MLflow run or page may hold one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pydicom
import pytest
import yaml
from test_busv_busi import FEW, film

from tests.unit.io.test_dicom import write_cine

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
PLANTED = {
    "PatientName": "Plantedname^Plantedgiven",
    "PatientID": "PLANTED-4711",
    "PatientBirthDate": "19510203",
    "InstitutionName": "Plantedhospital",
    "ReferringPhysicianName": "Planteddoctor",
    "AccessionNumber": "PLANTEDACC99",
    "StudyInstanceUID": "1.2.826.0.1.3680043.10.999.11111",
    "SeriesDescription": "plantedseries",
}
OWN = {
    "experiment": "smoke",
    "index": {"sources": [{"kind": "folder", "folder": "clinic"}]},
    "autoencoder": {"width": 4, "training": FEW},
    "diffusion": {"width": 16, "depth": 1, "distillation": None, "training": FEW},
    "cinn": {"blocks": 2, "width": 16, "training": FEW},
    "domain_network": {"width": 4, "training": FEW},
    "report": {"strips": 1},
    "preprocess": {"size": 32, "clip_length": 8, "max_clips": 1, "fps": 20},
    "split": {"folds": 3, "folds_to_run": 1, "min_patients": 2},
    "synthesis": {
        "generators": ["lddm", "static"],
        "samples": {"heldout": 1, "stills": 1},
        "sampler": "unipc",
        "num_inference_steps": 2,
    },
    "quality": {"bootstrap": 5, "max_videos": 8, "max_videos_expensive": 1},
    "classification": {
        "classifiers": ["tiny3d"],
        "regimes": ["real", "real+static", "real+lddm"],
        "seeds": 1,
        "bootstrap": 20,
        "training": FEW,
    },
    "tracking": {"enabled": True},
}


def plant(path: Path, number: int, frames: int) -> None:
    write_cine(path, film(number, frames), frame_time=50.0)
    data = pydicom.dcmread(path)
    for name, value in PLANTED.items():
        setattr(data, name, f"{value}{number}" if name == "PatientID" else value)
    if frames == 1:
        del data.FrameTime
    data.save_as(path, enforce_file_format=True)


def holding(folder: Path, words: list[str]) -> list[tuple[Path, str]]:
    """Files below a folder that hold a word: in their path, their bytes, or the cells of their table."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            content = str(path.relative_to(folder)).encode() + path.read_bytes()
            if path.suffix == ".parquet":
                content += pd.read_parquet(path).to_csv().encode()
            found += [(path, word) for word in words if word.lower().encode() in content.lower()]
    return found


def test_no_planted_name_is_found_anywhere(tmp_path: Path):
    run = tmp_path / "run"
    for c, name in enumerate(("benign", "malignant")):
        place = tmp_path / "raw/clinic" / name
        place.mkdir(parents=True)
        for number in range(12):
            plant(place / f"{number}.dcm", 100 * c + number, 30 if number < 8 else 1)
        whole = (place / "0.dcm").read_bytes()
        (place / "damaged.dcm").write_bytes(whole[:900])
        length = whole.index(b"\x02\x00\x10\x00UI") + 7  # of the transfer syntax: it reaches over the names
        (place / "swallowing.dcm").write_bytes(whole[:length] + b"\x03" + whole[length + 1 :])
    run.mkdir()
    (run / "own.yaml").write_text(yaml.safe_dump(OWN))
    (run / "config").symlink_to(ROOT / "config")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "LDDM_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
    command += ["--directory", str(run), "--configfile", "own.yaml", "--config", f"data_root={tmp_path / 'raw'}"]
    done = subprocess.run(command, cwd=run, env=environment, capture_output=True, text=True)
    (run / "console.log").write_text(done.stdout + done.stderr)
    assert done.returncode == 0, done.stderr[-6000:]

    videos = pd.read_parquet(run / "results/smoke/data/frames/videos.parquet")
    assert videos["excluded"].isna().sum() == 24  # all but the damaged ones were used
    assert (run / "results/mlflow.db").is_file() and (run / "results/smoke/report.html").is_file()
    words = [part for value in PLANTED.values() for part in value.split("^")]
    assert {word for _, word in holding(tmp_path / "raw", words)} == set(words)  # the search does find them
    assert holding(run, words) == []
