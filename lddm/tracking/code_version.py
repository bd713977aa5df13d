"""The version of the code that a job runs."""

from __future__ import annotations

import functools
import hashlib
import subprocess
from pathlib import Path
from typing import Any

from lddm import version

PACKAGE = Path(version.__file__).resolve().parent


@functools.cache
def code_version() -> dict[str, Any]:
    """Version, commit and content of the package.

    Returns:
        lddm: the version; commit and changed (whether tracked files differ from it), None outside a checkout; sha256:
        twelve digits over all modules, which distinguish two versions with the same commit or without one.
    """
    commit = _git("rev-parse", "HEAD") if (PACKAGE.parent / ".git").exists() else None
    status = _git("status", "--porcelain", "--untracked-files=no") if commit else None
    return {
        "lddm": version.__version__,
        "commit": commit,
        "changed": None if status is None else bool(status),
        "sha256": _digest(),
    }


def _digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(f"{path.relative_to(PACKAGE).as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _git(*command: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(PACKAGE.parent), *command], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
