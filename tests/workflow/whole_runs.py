"""Real runs of the smoke workflow in a folder of their own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FEWER = "synthesis:\n  generators: [lddm, static]\n"  # what breaks breaks alike for all; test_smoke.py runs them all


def configfiles(folder: Path, more: str = "") -> list[str]:
    """Options that make a run in `folder` the small one of these tests; `more` is YAML that it adds."""
    (folder / "own.yaml").write_text(FEWER + more)
    return ["--configfile", str(ROOT / "config/smoke.yaml"), str(folder / "own.yaml")]


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": path, "LDDM_OFFLINE": "1", "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}


def snakemake(folder: Path, *arguments: str, cores: int = 2) -> subprocess.Popen:
    shutil.copytree(ROOT / "config", folder / "config", dirs_exist_ok=True)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", str(cores)]
    command += ["--directory", str(folder), *arguments]
    command += configfiles(folder)
    log = open(folder / "snakemake.log", "w")  # noqa: SIM115 (the process keeps it)
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(),
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        # a shell that starts the tests in the background has Ctrl-C ignored, which children inherit
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def finish(folder: Path, *arguments: str) -> str:
    """Run to the end: what Snakemake said."""
    done = snakemake(folder, *arguments)
    code = done.wait(timeout=1200)
    text = (folder / "snakemake.log").read_text()
    assert code == 0, text[-5000:]
    return text


def tables(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "results/smoke/tables").glob("*.csv"))}
