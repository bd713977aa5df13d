"""All sources -> one index: a row a video or image, with label, patient, licence and hash."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from lddm.data.recording import Recording
from lddm.data.sources import busi, busv, folder, phantom, pocus
from lddm.data.sources.base import COLUMNS, content_hash
from lddm.errors import LddmError
from lddm.files import atomic_path
from lddm.settings.data import IndexSettings

logger = logging.getLogger(__name__)

SOURCES = {"busi": busi, "busv": busv, "folder": folder, "pocus": pocus}


def build_index(settings: IndexSettings, data_root: Path, seed: int) -> pd.DataFrame:
    """List the files of all sources.

    Returns:
        A table with the columns `COLUMNS`, sorted by id; `excluded` holds a reason or null.

    Raises:
        LddmError: a missing folder, two files with one id, or a class without a usable file.
    """
    rows: list[dict] = []
    for source in settings.sources:
        if source.kind == "phantom":
            rows += phantom.rows(source, seed, settings.classes)
        else:
            rows += SOURCES[source.kind].rows(source, Path(data_root), settings.classes)
        logger.info("%s: %d files in all so far", source.kind, len(rows))
    table = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("id").reset_index(drop=True)
    check_index(table, settings.classes)
    return table


def check_index(table: pd.DataFrame, classes: list[str]) -> None:
    """Raise LddmError unless ids are unique and each class has a usable video."""
    double = table["id"][table["id"].duplicated()]
    if len(double):
        raise LddmError(f"two files have the id {double.iloc[0]}", "name each source folder once")
    usable = table[table["excluded"].isna()]
    for label, name in enumerate(classes):
        if not ((usable["label"] == label) & (usable["kind"] == "video")).any():
            reasons = table.loc[table["excluded"].notna(), "excluded"].value_counts().head(3)
            listed = "; ".join(f"{reason} ({count})" for reason, count in reasons.items()) or "none"
            raise LddmError(
                f"class '{name}' has no usable video (usable classes: {sorted(set(usable['class_name']))}; "
                f"exclusions: {listed})",
                "check index.classes, the source's folders and its task",
            )


def write_index(table: pd.DataFrame, path: Path) -> None:
    """Write the index as Parquet."""
    with atomic_path(path) as temporary:
        table.to_parquet(temporary, index=False)


def read_row(row: dict, settings: IndexSettings, data_root: Path, max_frames: int, seed: int) -> Recording:
    """The decoded recording of an index row.

    Raises:
        UnreadableFile: the file cannot be decoded.
    """
    for source in settings.sources:
        if source.kind != row["source"]:
            continue
        if source.kind == "phantom":
            return Recording.steady(*phantom.read(row["path"], source, seed))
        if Path(row["path"]).is_relative_to(source.folder):
            return SOURCES[source.kind].read(row, source, Path(data_root), max_frames)
    raise LddmError(f"no source of the settings made the row {row['id']}", "run the rule index again")


def changed_files(index: pd.DataFrame, data_root: Path) -> dict[str, str]:
    """Raw files that are no longer those of the index: path -> "missing" or "changed"; simulated ones have no file."""
    found = {}
    for row in index[(index["source"] != "phantom") & (index["sha256"] != "")].to_dict("records"):
        path = data_root / row["path"]
        if not path.exists():
            found[str(path)] = "missing"
        elif content_hash(path) != row["sha256"]:
            found[str(path)] = "changed"
    return found
