"""The record of one job attempt on disk: a folder with its settings, outputs, metrics and status.

<records>/<rule>/<wildcards>/<attempt>/record.json    job, times, status, settings, outputs with sha256 and size
                                      /metrics.jsonl  one line per step, appended while the job runs
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import time
import traceback
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lddm import version
from lddm.files import read_json, sha256, write_json
from lddm.tracking.address import hide_secrets
from lddm.tracking.code_version import code_version

ERROR_CHARACTERS = 4000
DEVICES = "LDDM_DEVICES"  # set by lddm.synthesis.leases while a job holds GPUs


class Record:
    """The record of a running job; use it as a context manager.

    Attributes:
        path: folder of the record.
        about: content of record.json.
    """

    def __init__(self, path: Path, about: dict[str, Any]):
        self.path, self.about = path, about
        self._results = os.path.abspath(path.parents[3])  # <results>/records/<rule>/<wildcards>/<attempt>
        self._began = time.monotonic()
        path.mkdir(parents=True)
        self._write()

    @classmethod
    def start(
        cls, root: Path, rule: str, wildcards: dict[str, Any], settings: dict[str, Any], experiment: str, pipeline: str
    ) -> Record:
        """Start the record of a new attempt; those of earlier attempts of the same job are kept."""
        folder = Path(root) / rule / slug(wildcards)
        now = datetime.now(UTC)
        name = f"{now:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}"
        about = {
            "record": name,
            "rule": rule,
            "wildcards": {key: str(value) for key, value in wildcards.items()},
            "experiment": experiment,
            "pipeline": pipeline,
            "attempt": 1 + len(attempts(folder)),
            "status": "RUNNING",
            "started": now.isoformat(),
            "ended": None,
            "duration_s": None,
            "error": None,
            "settings": settings,
            "code": code_version(),
            "host": {
                "lddm": version.__version__,
                "python": platform.python_version(),
                "cpus": os.cpu_count(),
                "name": platform.node(),
                "pid": os.getpid(),
                "devices": os.environ.get(DEVICES) or None,
            },
            "outputs": [],
            "artifacts": [],
        }
        return cls(folder / name, about)

    def metrics(self, values: dict[str, float], step: int) -> None:
        """Append the values of a step; values that are not finite are written as null, because JSON has no NaN."""
        clean = {name: float(value) if math.isfinite(value) else None for name, value in values.items()}
        line = json.dumps({"step": step, "time": time.time(), "values": clean})
        with open(self.path / "metrics.jsonl", "a") as file:
            file.write(line + "\n")

    def output(self, path: str | Path) -> None:
        """Record an output of the job: its path as given, and its name below the results folder if it is there."""
        path = Path(path)
        name = os.path.relpath(os.path.abspath(path), self._results).replace(os.sep, "/")
        self.about["outputs"].append(
            {
                "path": str(path),
                "name": None if name.startswith("../") else name,
                "sha256": sha256(path),
                "size": path.stat().st_size,
            }
        )

    def artifact(self, path: str | Path) -> None:
        """Record a file that MLflow should show."""
        self.about["artifacts"].append(str(path))

    def __enter__(self) -> Record:
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.about["status"] = "FINISHED" if kind is None else "FAILED"
        if kind is not None:
            text = "".join(traceback.format_exception(kind, error, trace))
            self.about["error"] = hide_secrets(text)[-ERROR_CHARACTERS:]
        self.about["ended"] = datetime.now(UTC).isoformat()
        self.about["duration_s"] = round(time.monotonic() - self._began, 3)
        self._write()

    def _write(self) -> None:
        write_json(self.path / "record.json", self.about)


def is_alive(about: dict[str, Any]) -> bool:
    """Whether the process that writes a record may still be running: it runs here, or it is on another machine."""
    if about["host"]["name"] != platform.node():
        return True
    try:
        os.kill(about["host"]["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def has_successor(folder: Path, about: dict[str, Any]) -> bool:
    """Whether a later attempt of the same job has started, so this one has ended (on a cluster, the only indication)."""
    others = [path for path in attempts(folder.parent) if path != folder]
    return any(read_json(path / "record.json")["attempt"] > about["attempt"] for path in others)


def slug(wildcards: dict[str, Any]) -> str:
    """Folder name for the wildcards, e.g. fold-0_generator-lddm; "all" if there are none."""
    text = "_".join(f"{key}-{value}" for key, value in wildcards.items())
    return re.sub(r"[^A-Za-z0-9_.+-]", "-", text) or "all"


def attempts(folder: Path) -> list[Path]:
    """The record folders of one job, oldest first."""
    return sorted(path.parent for path in folder.glob("*/record.json"))


def all_records(root: Path) -> list[Path]:
    """All record folders below `root`, oldest first."""
    return sorted((path.parent for path in Path(root).glob("*/*/*/record.json")), key=lambda path: path.name)


def load_record(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read record.json and the lines of metrics.jsonl; a line truncated by a kill is dropped."""
    lines = []
    path = folder / "metrics.jsonl"
    for text in path.read_text().splitlines() if path.is_file() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return read_json(folder / "record.json"), lines
