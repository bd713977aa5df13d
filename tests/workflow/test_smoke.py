"""The whole workflow for real, with trainings of a few steps: every rule, every file of the contract."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUALITY = "fold,generator,source,metric,features,reference,value,ci_low,ci_high,n_real,n_synthetic,better"
CLASSIFICATION = (
    "classifier,regime,metric,mean,ci_low,ci_high,n_folds,n_seeds,n_test,"
    "delta_vs_real,delta_ci_low,delta_ci_high,p_value,labels_train,labels_val,labels_stills"
)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_smoke_pipeline_end_to_end(tmp_path: Path):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", "LDDM_OFFLINE": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)

    def snakemake(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
        command += ["--directory", str(tmp_path), "--configfile", str(ROOT / "config/smoke.yaml"), *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    done = snakemake()
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    results = tmp_path / "results/smoke"

    with open(results / "tables/quality.csv") as file:
        rows = list(csv.DictReader(file))
    assert set(QUALITY.split(",")) <= set(rows[0])
    assert {row["generator"] for row in rows} == {
        "real", "reconstruction", "lddm", "cinn", "static", "motion_transfer"
    }  # fmt: skip
    assert {"frechet_video", "frechet_frame"} <= {row["metric"] for row in rows}

    with open(results / "tables/classification.csv") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == CLASSIFICATION.split(",")
    assert {row["regime"] for row in rows} == {"real", "real+static", "real+lddm"}
    assert all(row["n_seeds"] == "2" for row in rows)

    assert list((results / "figures").glob("*.png"))
    page = (results / "report.html").read_text()
    assert "<html" in page and 'src="http' not in page and 'href="http' not in page.split("</head>")[0]
    assert json.loads((results / "summary.json").read_text())
    with open(results / "tables/memorisation.csv") as file:
        memory = list(csv.DictReader(file))
    attack = [row for row in memory if row["metric"] == "membership_auc"]
    assert {row["videos"] for row in attack if row["value"]} == {"lddm", "overfitted denoiser", "untrained denoiser"}
    assert all(row["reason"] for row in memory if not row["value"])
    assert "Compliance" in (results / "scorecard.html").read_text()
    assert (tmp_path / "results/mlflow.db").is_file()

    again = snakemake()
    assert again.returncode == 0 and "Nothing to be done" in again.stdout + again.stderr

    report = snakemake("--report", str(tmp_path / "report.zip"))
    assert report.returncode == 0 and (tmp_path / "report.zip").is_file(), report.stderr[-4000:]
