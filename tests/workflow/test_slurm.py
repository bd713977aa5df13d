"""The workflow in a real SLURM: jobs, GPUs, a cancelled job, a lost node."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
import slurm
from whole_runs import configfiles

from lddm.files import read_json, sha256

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(slurm.why_not() is not None, reason=slurm.why_not() or ""),
]
LONG = {"autoencoder": {"training": {"steps": 80, "checkpoint_every": 10}}}
TARGET = "results/smoke/fold-0/autoencoder/model.safetensors"


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """The cluster, for all tests of this file."""
    running = slurm.OneNode(tmp_path_factory.mktemp("slurm"))
    try:
        running.start()
        yield running
    finally:
        running.stop()


def submit(folder: Path, *arguments: str, config: str = "") -> subprocess.Popen:
    """Snakemake on the profile of the repository, as on a login node without an accounting database."""
    shutil.copytree(ROOT / "config", folder / "config", dirs_exist_ok=True)
    environment = os.environ | {"LDDM_OFFLINE": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "tests/fake_gpus"), environment.get("PYTHONPATH", "")])
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--profile", str(ROOT / "profiles/slurm"), "--slurm-status-command", "squeue"]
    command += ["--slurm-init-seconds-before-status-checks", "8", "--latency-wait", "10", "--retries", "2"]
    command += [*arguments, *configfiles(folder, config)]
    log = open(folder / "snakemake.log", "w")  # noqa: SIM115 (the process keeps it)
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)


def records(folder: Path, rule: str) -> list[dict]:
    return [read_json(path) for path in sorted((folder / "results/smoke/records" / rule).glob("*/*/record.json"))]


def test_smoke_workflow_runs_in_slurm_and_gpu_jobs_hold_distinct_devices(node, tmp_path):
    done = submit(tmp_path)
    assert done.wait(timeout=1400) == 0, (tmp_path / "snakemake.log").read_text()[-5000:]
    text = (tmp_path / "snakemake.log").read_text()
    assert text.count("has been submitted with SLURM jobid") >= 20
    assert (tmp_path / "results/smoke/report.html").is_file()
    gpu_jobs = [r for rule in ("train_generator", "synthesize", "classify", "score") for r in records(tmp_path, rule)]
    assert gpu_jobs and all(r["host"]["devices"] in ("0", "1") for r in gpu_jobs)
    assert records(tmp_path, "tabulate")[0]["host"]["devices"] is None

    def span(record: dict) -> tuple[datetime, datetime]:
        return datetime.fromisoformat(record["started"]), datetime.fromisoformat(record["ended"])

    together = [
        (a["host"]["devices"], b["host"]["devices"])
        for i, a in enumerate(gpu_jobs)
        for b in gpu_jobs[:i]
        if span(a)[0] < span(b)[1] and span(b)[0] < span(a)[1]
    ]
    assert together, "no two GPU jobs ran at the same time"
    assert all(one != other for one, other in together)


def wait_for_training(folder: Path, job: subprocess.Popen) -> None:
    """Until the training has left a state to resume from."""
    deadline = time.monotonic() + 300
    while not list((folder / "results/smoke/fold-0/state/autoencoder").glob("state.safetensors")):
        assert job.poll() is None and time.monotonic() < deadline, (folder / "snakemake.log").read_text()[-3000:]
        time.sleep(0.2)


def log_of(folder: Path) -> str:
    path = folder / "results/smoke/logs/train_autoencoder/fold-0.log"
    return path.read_text() if path.exists() else ""


def wait_for_resumption(folder: Path, job: subprocess.Popen) -> None:
    deadline = time.monotonic() + 300
    while "resumed at step" not in log_of(folder):
        assert job.poll() is None and time.monotonic() < deadline, (folder / "snakemake.log").read_text()[-3000:]
        time.sleep(0.05)


@pytest.fixture(scope="module")
def undisturbed(node, tmp_path_factory):
    """Weights of the same training that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = submit(folder, TARGET, config=_yaml(LONG))
    assert done.wait(timeout=600) == 0, (folder / "snakemake.log").read_text()[-3000:]
    return sha256(folder / TARGET)


def _yaml(config: dict) -> str:
    import yaml

    return yaml.safe_dump({"experiment": "smoke"} | config)


def test_a_training_resumes_after_a_cancelled_job_and_a_lost_node_and_ends_the_same(node, undisturbed, tmp_path):
    job = submit(tmp_path, TARGET, config=_yaml(LONG))
    wait_for_training(tmp_path, job)
    node.output("scancel", *node.output("squeue", "-h", "-t", "R", "-o", "%A").split())
    wait_for_resumption(tmp_path, job)
    node.kill_node()
    time.sleep(20)  # longer than SlurmdTimeout: the controller gives the node up
    node.start_node()
    assert job.wait(timeout=900) == 0, (tmp_path / "snakemake.log").read_text()[-5000:]
    assert "resumed at step" in log_of(tmp_path)
    assert [r["attempt"] for r in records(tmp_path, "train_autoencoder")][-1] == 3
    assert sha256(tmp_path / TARGET) == undisturbed
