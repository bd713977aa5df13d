"""Index of all sources: one row per video or image, with label, patient, licence and hash."""

from __future__ import annotations

import itertools
import logging
import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from lddm.data.patients import join_sources
from lddm.data.sources import blues, busi, busv, camus, echonet_dynamic, folder, phantom, pocus
from lddm.data.sources.base import COLUMNS, content_hash
from lddm.errors import LddmError
from lddm.files import atomic_path
from lddm.io.recording import Recording
from lddm.settings.data import IndexSettings, Source
from lddm.task import Task

logger = logging.getLogger(__name__)

SOURCES = {
    "blues": blues,
    "busi": busi,
    "busv": busv,
    "camus": camus,
    "echonet_dynamic": echonet_dynamic,
    "folder": folder,
    "pocus": pocus,
}


def build_index(settings: IndexSettings, data_root: Path, seed: int) -> pd.DataFrame:
    """List the files of all sources.

    Returns:
        A table with the columns `COLUMNS`, sorted by id; `excluded` is a reason or null.

    Raises:
        LddmError: a missing folder, two files with one id, a class without a usable file, or a locale that cannot
            represent the file names.
    """
    folders = [source.folder for source in settings.sources if source.kind != "phantom"]
    check_locale([*settings.classes, *folders], (Path(data_root) / folder for folder in folders))
    rows: list[dict] = []
    task = settings.labels
    for source in settings.sources:
        if source.kind == "phantom":
            rows += phantom.rows(source, seed, settings.classes, task)
        elif task.is_regression:
            rows += _target_rows(source, Path(data_root), task)
        else:
            rows += SOURCES[source.kind].rows(source, Path(data_root), settings.classes)
        logger.info("%s: %d files in total so far", source.kind, len(rows))
    join_sources(rows)
    table = index_table(rows)
    if task.is_regression:
        table["label"] = table["label"].astype(float).mask(table["excluded"].notna())
        check_targets(table, task)
    else:
        check_index(table, settings.classes)
    _log_shared_patients(table, settings)
    return table


def _target_rows(source: Source, data_root: Path, task: Task) -> list[dict]:
    """Index rows with numeric labels; files without a target are excluded.

    Raises:
        LddmError: the source has no numeric targets.
    """
    module = SOURCES[source.kind]
    if not hasattr(module, "target_rows"):
        able = ", ".join(["phantom", *(name for name, one in SOURCES.items() if hasattr(one, "target_rows"))])
        raise LddmError(
            f"index.task regression: source '{source.kind}' has classes only, no targets", f"use one of {able}"
        )
    return module.target_rows(source, data_root, task)


def check_targets(table: pd.DataFrame, task: Task) -> None:
    """Raise LddmError unless ids are unique and a video has a target in range; exclude files with targets out of range."""
    _check_ids(table)
    outside = table["excluded"].isna() & ~table["label"].between(task.low, task.high)
    table.loc[outside, "excluded"] = [
        f"{task.name} {task.show(value)} is not within index.target.range" for value in table.loc[outside, "label"]
    ]
    if not (table["excluded"].isna() & (table["kind"] == "video")).any():
        reasons = table["excluded"].value_counts().head(3)
        listed = "; ".join(f"{reason} ({count})" for reason, count in reasons.items()) or "none"
        raise LddmError(
            f"no usable video has a target ({task.said()}); exclusions: {listed}",
            "check index.target: its name, unit and range",
        )


def index_table(rows: list[dict]) -> pd.DataFrame:
    """Rows as a table with the columns `COLUMNS`, sorted by id."""
    table = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("id").reset_index(drop=True)
    return table.assign(device=table["device"].fillna(""))


def check_locale(names: Iterable[str], folders: Iterable[Path] = ()) -> None:
    """Check that the encoding of file names (ASCII under LC_ALL=C) can represent names, and those of all files in folders.

    Raises:
        LddmError: it cannot represent one of them.
    """
    encoding = sys.getfilesystemencoding()
    if encoding.replace("-", "").lower() == "utf8":
        return
    files = (path.name for folder in folders if folder.is_dir() for path in folder.rglob("*"))
    for name in itertools.chain(names, files):
        if not name.isascii():
            raise LddmError(
                f"the name {ascii(name)} is not ASCII, but the encoding of file names is {encoding}",
                "set PYTHONUTF8=1 or LC_ALL=C.UTF-8",
            )


def _log_shared_patients(table: pd.DataFrame, settings: IndexSettings) -> None:
    """Warn if the CSVs of two sources use the same patient ID: consecutive numbers of two studies would be merged."""
    folders = [source.folder for source in settings.sources if source.kind == "folder"]
    named = table[table["patient_id"].str.startswith("folder-patient-")]
    seen: dict[str, str] = {}
    shared: set[str] = set()
    for place in folders:
        inside = named.loc[[Path(path).is_relative_to(place) for path in named["path"]], "patient_id"]
        for patient in inside.unique():
            if seen.setdefault(patient, place) != place:
                shared.add(patient)
    if shared:
        logger.warning(
            "the CSVs of several sources share %d patient IDs (e.g. %s), and each ID counts as one patient; use different IDs "
            "if they are different patients",
            len(shared),
            min(shared),
        )


def check_index(table: pd.DataFrame, classes: list[str]) -> None:
    """Raise LddmError unless ids are unique and each class has a usable video."""
    _check_ids(table)
    usable = table[table["excluded"].isna()]
    folders = sorted(set(table["class_name"]) - {""})
    for label, name in enumerate(classes):
        if not ((usable["label"] == label) & (usable["kind"] == "video")).any():
            reasons = table.loc[table["excluded"].notna(), "excluded"].value_counts().head(3)
            listed = "; ".join(f"{reason} ({count})" for reason, count in reasons.items()) or "none"
            alike = [folder for folder in folders if folder.strip().casefold() == name.strip().casefold() != ""]
            near = [folder for folder in alike if folder not in classes]
            raise LddmError(
                f"class '{name}' has no usable video (classes of the files: {', '.join(folders) or 'none'}; "
                f"exclusions: {listed})",
                f"write '{near[0]}' in index.classes"
                if near
                else "check index.classes, the source's folders and its task",
            )


def _check_ids(table: pd.DataFrame) -> None:
    double = table["id"][table["id"].duplicated()]
    if len(double):
        raise LddmError(f"two files have the id {double.iloc[0]}", "list each source folder only once")


def write_index(table: pd.DataFrame, path: Path) -> None:
    """Write the index as Parquet."""
    with atomic_path(path) as temporary:
        table.to_parquet(temporary, index=False)


def read_row(row: dict, settings: IndexSettings, data_root: Path, max_frames: int, seed: int) -> Recording:
    """Decode the recording of an index row.

    Raises:
        UnreadableFile: the file cannot be decoded.
    """
    for source in settings.sources:
        if source.kind != row["source"]:
            continue
        if source.kind == "phantom":
            return Recording.steady(*phantom.read(row["path"], source, seed, task=settings.labels))
        if Path(row["path"]).is_relative_to(source.folder):
            return SOURCES[source.kind].read(row, source, Path(data_root), max_frames)
    raise LddmError(f"no configured source matches the index row {row['id']}", "run the rule index again")


def changed_files(index: pd.DataFrame, data_root: Path) -> dict[str, str]:
    """Raw files that differ from the index: path -> "missing" or "changed". Simulated data have no files."""
    found = {}
    for row in index[(index["source"] != "phantom") & (index["sha256"] != "")].to_dict("records"):
        path = data_root / row["path"]
        if not path.exists():
            found[str(path)] = "missing"
        elif content_hash(path) != row["sha256"]:
            found[str(path)] = "changed"
    return found
