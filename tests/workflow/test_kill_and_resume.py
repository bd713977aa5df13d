"""A training that is killed goes on from its state and ends with the same weights as one that was left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lddm.files import sha256
from lddm.settings.build import load, stage_json

STEPS = 60
AUTOENCODER = {
    "width": 8,
    "map_size": 4,
    "training": {"steps": STEPS, "batch_size": 4, "checkpoint_every": 10, "val_every": 20, "log_every": 5},
}
DOMAIN = {"width": 4, "training": AUTOENCODER["training"]}


def command(verb: str, section: str, settings: dict, experiment: Path, folder: Path) -> list[str]:
    text = stage_json(load({section: settings}), section)
    motion = ["--motion", str(folder.parent / "motion.safetensors")] if section == "autoencoder" else []
    return [
        sys.executable, "-c", "from lddm.cli import app; app()", verb, "--settings", text, *motion,
        "--frames", str(experiment / "frames"), "--splits", str(experiment / "splits.parquet"), "--fold", "0",
        "--state", str(folder / "state"), "--out", str(folder / "model.safetensors"), "--record", str(folder / "records"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "section", "settings"),
    [("train-autoencoder", "autoencoder", AUTOENCODER), ("train-domain-network", "domain_network", DOMAIN)],
)
def test_kill_minus_nine_and_go_on(tiny_experiment, motion_of, tmp_path, verb, section, settings):
    environment = os.environ | {"LDDM_TRACKING": "off", "OMP_NUM_THREADS": "1"}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    motion_of(load({"autoencoder": AUTOENCODER}).autoencoder).save(tmp_path / "motion.safetensors")
    subprocess.run(command(verb, section, settings, tiny_experiment, whole), env=environment, check=True)

    job = subprocess.Popen(command(verb, section, settings, tiny_experiment, cut), env=environment)
    deadline = time.monotonic() + 120
    while not (cut / "state/state.safetensors").exists() and time.monotonic() < deadline and job.poll() is None:
        time.sleep(0.01)
    job.send_signal(signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL, "the job ended before it could be killed"
    assert not (cut / "model.safetensors").exists(), "half-written weights"

    done = subprocess.run(
        command(verb, section, settings, tiny_experiment, cut),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "resumed at step" in done.stderr
    assert sha256(cut / "model.safetensors") == sha256(whole / "model.safetensors")
