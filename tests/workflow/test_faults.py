"""Injected faults over the smoke workflow: a clear message, nothing half-written, and the same results in the end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from whole_runs import ROOT, configfiles, environment, finish, snakemake, tables

from lddm.files import read_json
from lddm.settings.build import load, stage_json

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1500)]
# One of each kind of output: frames, weights, bundle, shards, scores, cells of the ablation. All write by the same hands.
STAGES = ["preprocess", "train_autoencoder", "train_generator", "synthesize", "score", "classify"]


def half_written(folder: Path) -> list[Path]:
    """Outputs under a temporary name outside the resumable states."""
    others = (".mlflow", ".snakemake_timestamp")  # the latter marks folders that are outputs
    found = [path for path in (folder / "results").rglob(".*") if not path.name.startswith(others)]
    return [path for path in found if "state" not in path.parts and "records" not in path.parts]


def stop(job: subprocess.Popen, how: signal.Signals) -> None:
    """Snakemake and, for SIGKILL, all its jobs with it; Ctrl-C reaches the whole group too."""
    os.killpg(job.pid, how)
    job.wait(timeout=120)
    if how == signal.SIGKILL:
        subprocess.run(["pkill", "-9", "-s", str(job.pid)], capture_output=True)


def test_a_run_that_is_killed_along_the_way_gives_the_outputs_of_an_undisturbed_one(undisturbed, tmp_path):
    for number, stage in enumerate(STAGES):
        job = snakemake(tmp_path, "--forcerun", stage)  # it may have ended beside an earlier one
        deadline = time.monotonic() + 900  # a stage waits for those before it, on a machine that is busy otherwise
        started = re.compile(rf"rule {stage}:")
        while not started.search((tmp_path / "snakemake.log").read_text()):
            assert job.poll() is None and time.monotonic() < deadline, (tmp_path / "snakemake.log").read_text()[-3000:]
            time.sleep(0.05)
        time.sleep(0.4 * (number % 4))  # at different moments of a job: its start, its imports, its work
        stop(job, signal.SIGINT if number % 5 == 4 else signal.SIGKILL)
        subprocess.run(
            [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(tmp_path),
             "--configfile", str(ROOT / "config/smoke.yaml"), "--unlock"],
            cwd=ROOT, env=environment(), capture_output=True, check=True,
        )  # fmt: skip
    finish(tmp_path)
    assert tables(tmp_path) == tables(undisturbed)
    first, second = (read_json(run / "results/smoke/provenance.json")["outputs"] for run in (undisturbed, tmp_path))
    assert first.keys() == second.keys() and len(first) > 50
    differing = {Path(name).name for name in first if first[name] != second[name]}
    assert differing <= {"report.html"}  # it tells how long each job took
    assert half_written(tmp_path) == []


def test_two_pipelines_in_one_folder(finished, undisturbed):
    first = snakemake(finished, "--forcerun", "tabulate", cores=1)
    deadline = time.monotonic() + 120
    while "rule tabulate:" not in (finished / "snakemake.log").read_text():
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    second = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "1", "--directory",
         str(finished), *configfiles(finished)],
        cwd=ROOT, env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert second.returncode != 0 and "cannot be locked" in second.stdout + second.stderr
    assert first.wait(timeout=900) == 0
    assert tables(finished) == tables(undisturbed)


# From the end of the data's way to its beginning, so that what was damaged before is not read.
BROKEN = {
    "fold-0/synthetic/lddm/heldout/shard-0.npy": ("score", "synthesize"),
    "fold-0/latents.safetensors": ("train_generator", "encode"),
    "fold-0/autoencoder/model.safetensors": ("encode", "train_autoencoder"),
    "data/frames/frames.npy": ("train_domain_network", "preprocess"),
}
AGAIN = ("synthesize", "encode")


def test_truncated_files_are_named_and_made_again_and_truncated_states_are_not_resumed(finished, undisturbed):
    states = finished / "results/smoke/fold-0/state"
    assert not list(states.rglob("state.safetensors"))  # removed when the outputs had been written
    for name, (reader, maker) in BROKEN.items():
        path = finished / "results/smoke" / name
        whole, times = path.read_bytes(), path.stat()
        path.write_bytes(whole[: len(whole) // 2])
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # damaged by a disk, not by somebody who writes
        job = snakemake(finished, "--forcerun", reader, cores=1)
        assert job.wait(timeout=600) != 0
        text = (finished / "snakemake.log").read_text()
        assert "error:" in text and path.name in text and f"Hint: run the rule {maker}" in text, text[-3000:]
        assert "Traceback" not in text.split("error:")[-1]
        if maker not in AGAIN:  # as from a backup; to make everything again would take minutes
            path.write_bytes(whole)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    (states / "lddm").mkdir(parents=True, exist_ok=True)
    (states / "lddm/state.safetensors").write_bytes(b"\x80" + bytes(99))
    finish(finished, "--forcerun", *AGAIN)
    assert tables(finished) == tables(undisturbed)
    assert not list(states.rglob("state.safetensors"))


@pytest.fixture
def small_disk(tmp_path):
    """A disk of three MiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small disk")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def preprocess(folder: Path, out: Path) -> subprocess.CompletedProcess:
    settings = load({"index": {"sources": [{"kind": "phantom", "videos": 48, "stills": 24}]}})
    lddm = [sys.executable, "-c", "from lddm.cli import app; app()"]
    index = folder / "index.parquet"
    run = {"env": environment(), "capture_output": True, "text": True}
    made = [
        *lddm,
        "index",
        "--settings",
        stage_json(settings, "index"),
        "--data-root",
        str(folder),
        "--out",
        str(index),
    ]
    assert subprocess.run(made, **run).returncode == 0
    text = stage_json(settings, "index", "preprocess")
    command = [*lddm, "preprocess", "--settings", text, "--index", str(index), "--data-root", str(folder)]
    return subprocess.run([*command, "--out-dir", str(out)], **run)


def test_a_full_disk_is_said_in_one_error_and_leaves_nothing(small_disk, tmp_path):
    done = preprocess(tmp_path, small_disk / "frames")
    assert done.returncode == 1 and "No space left" in done.stderr and "Hint: free space" in done.stderr
    assert "Traceback" not in done.stderr and list(small_disk.iterdir()) == []
    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    assert preprocess(tmp_path, small_disk / "frames").returncode == 0


def test_a_read_only_disk_is_said_in_one_error(small_disk, tmp_path):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = preprocess(tmp_path, small_disk / "frames")
    assert done.returncode == 1 and "Read-only file system" in done.stderr and "Hint: results/ is on" in done.stderr
    assert "Traceback" not in done.stderr
