"""Lookup of models by name: models shipped with the package, imported models, and models on the Hugging Face Hub."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from lddm.errors import LddmError
from lddm.files import read_json, sha256
from lddm.synthesis.hub import HUB, PARTS, pull

DEFAULT = "breast-phantom"  # default of `lddm animate --model`
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LARGEST = 2 * 2**30  # largest file that may be imported, in bytes; ours have a few megabytes


def packaged_models() -> Path:
    """Folder of the models shipped with the package."""
    return Path(str(resources.files("lddm"))) / "models"


def imported_models() -> Path:
    """Folder of imported models: $LDDM_MODELS, or a subfolder of the user's cache."""
    chosen = os.environ.get("LDDM_MODELS")
    if chosen:
        return Path(chosen)
    from pooch import os_cache  # imports requests

    return os_cache("lddm") / "models"


def model_folders() -> dict[str, Path]:
    """Folders of all models by name; an imported model does not replace one of the package."""
    found: dict[str, Path] = {}
    for root in (packaged_models(), imported_models()):
        for path in sorted(root.glob("*/bundle.json")):
            found.setdefault(path.parent.name, path.parent)
    return found


def find_model(model: str | Path) -> Path:
    """Find the folder of a model.

    Args:
        model: a folder with bundle.json, the name of a model, or hf:OWNER/NAME[@REVISION], which is downloaded once.

    Raises:
        LddmError: the model does not exist or cannot be downloaded.
    """
    if str(model).startswith(HUB):
        return pull(str(model))
    packaged = packaged_models() / str(model)
    if is_name(model) and (packaged / "bundle.json").is_file():
        return packaged  # a folder of the same name is ./NAME
    if Path(model).is_dir():
        return Path(model)
    known = model_folders()
    if str(model) in known:
        return known[str(model)]
    raise LddmError(
        f"unknown model '{model}'",
        f"expected a folder with bundle.json, {HUB}OWNER/NAME, or one of: {', '.join(known) or 'no model is installed'}",
    )


def is_name(model: str | Path) -> bool:
    """Whether this is a valid model name rather than a path."""
    return NAME.fullmatch(str(model)) is not None and not str(model).endswith(".")


def baselines_of(model: Path) -> list[Path]:
    """Model packages of the other generators of a fold: beside that of a run, or in subfolders of an exported model."""
    pattern, root = "*/bundle.json", model.parent
    if model.name == "bundle":
        pattern, root = "*/bundle/bundle.json", model.parent.parent
    own, found = read_about(model), []
    for path in (*sorted(model.glob("*/bundle.json")), *sorted(root.glob(pattern))):
        about = read_about(path.parent)
        same_fold = all(about.get(key) == own.get(key) for key in ("experiment", "fold", "seed"))
        if same_fold and about["generator"] != own["generator"]:
            found.append(path.parent)
    return found


def trained_on(about: dict[str, Any]) -> str:
    """Short description of the training data of a model."""
    return about.get("trained_on") or f"{about['clips']} clips of experiment {about['experiment']}"


def import_model(source: str | Path, name: str = "") -> Path:
    """Copy a model into the user's folder of models.

    Args:
        source: a folder with bundle.json, a .zip of one, or hf:OWNER/NAME.
        name: name of the imported model; empty = name of the folder or file.

    Returns:
        The new folder.

    Raises:
        LddmError: not a model, a damaged model, or an invalid or existing name.
    """
    from lddm.synthesis.bundle import load_bundle

    with _opened(source) as folder:
        name = name or _own_name(source)
        if not is_name(name):
            raise LddmError(
                f"'{name}' is not a valid model name", "use letters, digits, '-', '_' and '.', e.g. --name lung-1"
            )
        if name in model_folders():
            raise LddmError(f"there is a model '{name}' already", "pass another --name")
        load_bundle(folder)
        for inside in folder.glob("*/bundle.json"):
            load_bundle(inside.parent)
        target = imported_models() / name
        copy_model(folder, target)
    return target


def copy_model(folder: Path, target: Path) -> None:
    """Copy the files of a model and its baselines atomically; an existing `target` is replaced."""
    with whole_folder(target) as made:
        for place in (folder, *(path.parent for path in sorted(folder.glob("*/bundle.json")))):
            into = made / place.relative_to(folder)
            into.mkdir(parents=True, exist_ok=True)
            for part in PARTS:
                shutil.copyfile(place / part, into / part)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`, which replaces `target` on success and is removed on failure."""
    target.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield made
        made.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        made.rename(target)
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def _opened(source: str | Path) -> Iterator[Path]:
    """Yield the folder of a model given as folder, archive or Hub address."""
    path = Path(source)
    if str(source).startswith(HUB) or path.is_dir():
        yield find_model(source)
        return
    if not path.is_file():
        raise LddmError(f"{source} does not exist", "pass a folder with bundle.json, a .zip of one, or hf:OWNER/NAME")
    with tempfile.TemporaryDirectory() as scratch:
        yield _unpacked(path, Path(scratch))


def _unpacked(archive: Path, scratch: Path) -> Path:
    """Unpack the files of a model from a .zip; other files and paths outside the model are ignored."""
    try:
        with zipfile.ZipFile(archive) as opened:
            parts = [entry for entry in opened.infolist() if Path(entry.filename).name in PARTS]
            heads = [Path(entry.filename).parent for entry in parts if Path(entry.filename).name == "bundle.json"]
            if not heads:
                raise LddmError(f"{archive} contains no bundle.json", "pass an archive made from the folder of a model")
            head = min(heads, key=lambda path: len(path.parts))
            for entry in parts:
                place = Path(entry.filename)
                inside = place.relative_to(head) if place.is_relative_to(head) else None
                if inside is None or len(inside.parts) > 2 or ".." in inside.parts:
                    continue
                if entry.file_size > LARGEST:
                    raise LddmError(f"{archive}: {entry.filename} has {entry.file_size} bytes", "check the archive")
                (scratch / inside).parent.mkdir(parents=True, exist_ok=True)
                with opened.open(entry) as read, open(scratch / inside, "wb") as written:
                    shutil.copyfileobj(read, written)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
        raise LddmError(f"{archive} cannot be unpacked: {error}", "download it again") from error
    return scratch


def _own_name(source: str | Path) -> str:
    if str(source).startswith(HUB):
        return str(source).split("/")[-1].split("@")[0]
    path = Path(source).resolve()
    if path.name == "bundle":  # results/NAME/fold-0/generators/lddm/bundle
        return f"{path.parents[3].name}-{path.parent.name}"
    return path.stem if path.is_file() else path.name


def read_about(folder: Path) -> dict[str, Any]:
    """Read bundle.json of a model."""
    about = read_json(folder / "bundle.json")
    if not isinstance(about, dict) or "generator" not in about:
        raise LddmError(f"{folder}/bundle.json does not describe a model", "copy the model again, or train again")
    return about


def megabytes(folder: Path) -> float:
    """Total size of the files of a model, in MB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a model, by its path relative to the folder."""
    return {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}
