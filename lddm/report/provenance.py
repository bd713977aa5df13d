"""provenance.json: from what, with what and by which jobs an experiment was made; and whether it is still that."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

import lddm
from lddm.errors import LddmError
from lddm.files import read_json, sha256, write_json
from lddm.report.results import Results

PACKAGES = ("torch", "torchvision", "numpy", "pandas", "scipy", "scikit-learn", "diffusers", "FrEIA", "av", "snakemake")


def write_provenance(results: Path, settings: dict[str, Any], out: Path) -> None:
    """Gather the newest finished record of each job, the inputs' checksums, versions and the state of the code.

    Args:
        results: results/<experiment>.
        settings: the whole config, without where data lie and how runs are tracked.
    """
    jobs = Results(results).jobs()
    outputs = {
        output["path"]: {"sha256": output["sha256"], "size": output["size"]}
        for job in jobs
        for output in job["outputs"]
    }
    write_json(
        out,
        {
            "experiment": results.name,
            "pipeline": jobs[-1]["pipeline"] if jobs else "by-hand",
            "code": {"lddm": lddm.__version__, "python": platform.python_version(), "git": _git()},
            "packages": {name: _version(name) for name in PACKAGES},
            "settings": settings,
            "inputs": _inputs(results),
            "jobs": [
                {key: job[key] for key in ("rule", "wildcards", "attempt", "started", "duration_s")}
                | {"host": job["host"]["lddm"], "outputs": [output["path"] for output in job["outputs"]]}
                for job in jobs
            ],
            "outputs": dict(sorted(outputs.items())),
        },
    )  # fmt: skip


def verify(results: Path) -> dict[str, str]:
    """What differs from provenance.json: path -> "missing" or "changed"; empty if nothing does.

    Raises:
        LddmError: there is no provenance.json.
    """
    noted = read_json(results / "provenance.json")["outputs"]
    if not noted:
        raise LddmError(f"{results / 'provenance.json'} lists no output", "run the rule summarize again")
    root = results.resolve().parents[1]
    differing = {}
    for name, entry in noted.items():
        path = root / name
        if not path.is_file():
            differing[name] = "missing"
        elif path.stat().st_size != entry["size"] or sha256(path) != entry["sha256"]:
            differing[name] = "changed"
    return differing


def _inputs(results: Path) -> list[dict[str, Any]]:
    """Raw files: id, checksum, licence and why one was excluded."""
    table = pd.read_parquet(results / "data/frames/videos.parquet")
    columns = [name for name in ("id", "source", "sha256", "licence", "excluded") if name in table]
    return table[columns].astype(object).where(table[columns].notna(), None).to_dict(orient="records")


def _git() -> dict[str, Any] | None:
    """Commit and whether the checkout had changes; None outside a checkout."""
    folder = Path(lddm.__file__).resolve().parents[1]
    if not (folder / ".git").exists():
        return None
    try:
        commit, status = (
            subprocess.run(
                ["git", "-C", str(folder), *command], capture_output=True, text=True, check=True
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "changed": bool(status)}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
