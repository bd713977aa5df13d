"""GPU leases: distinct devices for jobs on one machine, released with their holder, within the limits of SLURM."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lddm.cli import measuring, pipeline
from lddm.errors import LddmError
from lddm.files import read_json
from lddm.settings.build import load, stage_json
from lddm.synthesis import leases
from lddm.synthesis.leases import gpu_lease
from lddm.tracking.record import Record

ROOT = Path(__file__).resolve().parents[3]
HOLDER = """
import sys, time
from pathlib import Path
from lddm.generators.registry import GENERATORS
from lddm.synthesis.leases import gpu_lease
with gpu_lease(["0", "1"], Path(sys.argv[1]), timeout=60, poll=0.02) as device:
    print(device, flush=True)
    time.sleep(120)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A machine of its own: other lock files, nothing set by SLURM."""
    for name in ("CUDA_VISIBLE_DEVICES", "LDDM_DEVICES", "SLURM_JOB_ID", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_leases_are_distinct_and_end_with_their_holder(tmp_path):
    jobs = [
        subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        held = {job.stdout.readline().strip() for job in jobs}
        assert held == {"0", "1"}
        with (
            pytest.raises(LddmError, match="no free GPU among 0, 1"),
            gpu_lease(["0", "1"], tmp_path, timeout=0.1, poll=0.02),
        ):
            pass
        jobs[0].kill()
        jobs[0].wait()
        with gpu_lease(["0", "1"], tmp_path, timeout=20, poll=0.02) as device:
            assert device in held
    finally:
        for job in jobs:
            job.kill()
            job.wait()
            job.stdout.close()


def with_fake_gpus(**variables):
    """An environment whose processes believe in the GPUs of CUDA_VISIBLE_DEVICES."""
    path = os.pathsep.join([str(ROOT / "tests/fake_gpus"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path} | variables


def pretend(monkeypatch, count, usable=True):
    """Let torch count GPUs that are not there."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    monkeypatch.setattr(leases, "_usable", lambda: usable)


def test_without_a_gpu_there_is_no_lease_and_no_cuda(here, monkeypatch, caplog):
    pretend(monkeypatch, 0)
    with gpu_lease() as device:
        assert device is None and os.environ["CUDA_VISIBLE_DEVICES"] == ""
    assert "CUDA_VISIBLE_DEVICES" not in os.environ and "no GPU: this job runs on the CPU" in caplog.text


@pytest.mark.parametrize(
    ("fixed", "count", "usable", "reason"),
    [
        ("0", 0, True, "CUDA_VISIBLE_DEVICES is 0, but torch"),
        ("0,1", 2, False, "cannot use the 2 GPUs"),
        (None, 1, False, "cannot use the 1 GPUs"),
        ("NoDevFiles", 0, True, "CUDA_VISIBLE_DEVICES is NoDevFiles"),
    ],
)
def test_a_gpu_that_torch_cannot_use_is_not_queued_for(here, monkeypatch, caplog, fixed, count, usable, reason):
    pretend(monkeypatch, count, usable)
    if fixed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", fixed)
    with gpu_lease(timeout=0) as one, gpu_lease(timeout=0) as other:
        assert one is None and other is None
        with Record.start(here / "results/exp/records", "encode", {}, {}, "exp", "p") as record:
            assert record.about["host"]["devices"] is None
    assert reason in caplog.text and "this job runs on the CPU" in caplog.text
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == fixed


def test_devices_are_those_that_cuda_counts(here, monkeypatch):
    pretend(monkeypatch, 2)
    assert leases.visible_devices() == ["0", "1"]
    for fixed, seen in (("3,1", ["3", "1"]), ("0,1,9", ["0", "1"]), ("1, 1,0", ["1", "0"])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", fixed)
        assert leases.visible_devices() == seen


def test_a_machine_without_cuda_has_no_device(here, monkeypatch):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert leases.visible_devices() == []


def test_the_record_of_a_job_without_a_lease_names_no_device(here, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with Record.start(here / "results/exp/records", "tabulate", {}, {}, "exp", "p") as record:
        assert record.about["host"]["devices"] is None


def test_several_gpus_are_leased_all_or_none(tmp_path, caplog):
    names = ["GPU-1/2", "1", "2"]
    with gpu_lease(names, tmp_path, count=2) as held:
        assert held == os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-1/2,1"
        with (
            pytest.raises(LddmError, match="no free GPU"),
            gpu_lease(names, tmp_path, count=2, timeout=0.1, poll=0.02),
        ):
            pass
        assert "waiting for 2 free GPUs" in caplog.text
        with gpu_lease(names, tmp_path) as third:  # the one that was free was given back
            assert third == "2"
    with gpu_lease(["0"], tmp_path, count=2) as held:
        assert held == "0"


def test_devices_that_slurm_has_set_are_respected_and_its_jobs_do_not_wait_for_each_other(here, monkeypatch):
    pretend(monkeypatch, 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("SLURM_JOB_ID", "11")
    with gpu_lease() as device:
        assert device == "1"
        with pytest.raises(LddmError, match="no free GPU"), gpu_lease(timeout=0):  # within one allocation
            pass
        monkeypatch.setenv("SLURM_JOB_ID", "12")  # behind a fence its device is named the same
        with gpu_lease(timeout=0) as other:
            assert other == "1"


def test_distributed_processes_share_the_lease_of_their_launcher(here, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    script = "import os, sys; print(os.environ['CUDA_VISIBLE_DEVICES']); sys.exit(3)"
    command = [sys.executable, "-c", "from lddm.cli import app; app()", "with-gpus", "2", sys.executable, "-c", script]
    with gpu_lease(["4"]):
        os.environ["CUDA_VISIBLE_DEVICES"] = "4,5,6"
        done = subprocess.run(command, env=with_fake_gpus(), capture_output=True, text=True)
    assert done.stdout.strip() == "5,6" and done.returncode == 3
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with gpu_lease(["5", "6"], count=2), gpu_lease(timeout=0) as shared:
        assert shared == "5,6"


def test_every_rule_that_asks_for_a_gpu_has_a_command_that_holds_one():
    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    asking = [
        name for name, body in re.findall(r"^rule (\w+):\n(.*?)(?=^\w|\Z)", rules, re.M | re.S) if " gpu=" in body
    ]
    assert len(asking) == 9
    for name in asking:
        command = getattr(pipeline, name, None) or getattr(measuring, name)
        assert re.search(r"with \(?\s*gpu_lease\(\),\s*job\(", inspect.getsource(command)), name


def test_a_training_takes_the_free_device_and_its_record_says_which(here, tiny_experiment, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    monkeypatch.setenv("LDDM_TRACKING", "off")
    training = {"steps": 1, "batch_size": 2, "checkpoint_every": 1, "val_every": 1, "log_every": 1}
    text = stage_json(load({"domain_network": {"width": 4, "training": training}}), "domain_network")
    command = [sys.executable, "-c", "from lddm.cli import app; app()", "train-domain-network", "--settings", text]
    command += ["--frames", str(tiny_experiment / "frames"), "--splits", str(tiny_experiment / "splits.parquet")]
    command += ["--fold", "0", "--state", str(here / "state"), "--out", str(here / "model.safetensors")]
    with gpu_lease(["5"]):
        variables = with_fake_gpus(CUDA_VISIBLE_DEVICES="5,6")
        done = subprocess.run(
            [*command, "--record", str(here / "records")], env=variables, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr[-2000:]
    (record,) = (here / "records").glob("*/*/*/record.json")
    assert read_json(record)["host"]["devices"] == "6"
