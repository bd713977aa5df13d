"""Check of a folder of raw data: usable files, patients and classes, and the reasons for excluded files."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pandas as pd
import yaml
from rich.progress import track

from lddm.data.advice import advise
from lddm.data.duplicates import cluster_duplicates
from lddm.data.index import SOURCES, check_locale, index_table
from lddm.data.layout import Layout, recognise
from lddm.data.leaks import LeakReport, leak_report
from lddm.data.patients_csv import listed
from lddm.data.preprocess import clips_of, prepare_file
from lddm.data.pseudonyms import SESSION_KEY
from lddm.data.sources import busv
from lddm.data.sources import folder as folder_source
from lddm.data.sources.base import printable
from lddm.data.sources.skipped import is_clutter, is_mask_name, why_not_read
from lddm.data.splits import fitting_split
from lddm.errors import LddmError
from lddm.settings.data import (
    BusiSource,
    BusvSource,
    FolderSource,
    IndexSettings,
    PocusSource,
    PreprocessSettings,
    Source,
    SplitSettings,
)

TABLES = {"pocus": "dataset_metadata.csv"}  # tables that a source reads in addition to its data files
HINT = "docs/data.md lists the supported formats"


@dataclass(frozen=True)
class DataReport:
    """Result of checking a folder.

    Attributes:
        kind: the source that reads the folder.
        videos: the completed index, one row per file.
        clips: one row per clip; empty if no video is usable.
        unused: one row per unused file: path below the folder, reason.
        advice: recommended corrections, one sentence each.
        leaks: differences between the classes other than pixels.
        config: config lines that use the folder.
    """

    kind: str
    videos: pd.DataFrame
    clips: pd.DataFrame
    unused: pd.DataFrame
    advice: list[str]
    leaks: LeakReport
    config: str

    def files(self) -> pd.DataFrame:
        """All files: path, kind, class, patient, frame rate in Hz, frames, size in pixels, used, reason, notes."""
        columns = ["path", "kind", "class_name", "patient_id", "fps", "n_frames", "height", "width"]
        seen = self.videos[columns + ["notes"] * ("notes" in self.videos)].assign(reason=self.videos["excluded"])
        passed = self.unused[~self.unused["listed"].astype(bool)].drop(columns="listed")
        table = pd.concat([seen, passed], ignore_index=True)
        return table.assign(used=table["reason"].isna()).sort_values("path", ignore_index=True)

    def unused_by_reason(self, most: int | None = None) -> list[tuple[str, str]]:
        """Unused files: one (path, reason) per file or, if `most` is given, one (reason, names) per reason."""
        if most is None:
            return [(row.path, row.reason) for row in self.unused.itertuples()]
        groups = self.unused.groupby(self.unused["reason"].str.split(":").str[0], sort=False)
        names = {
            reason: [f"{row.path} ({row.reason.partition(': ')[2]})".replace(" ()", "") for row in part.itertuples()]
            for reason, part in groups
        }
        return [(f"{reason} ({len(found)})", listed(found, most)) for reason, found in names.items()]


@dataclass
class _Listing:
    rows: list[dict]
    notes: list[str] = field(default_factory=list)
    passed_over: dict[Path, str] = field(default_factory=dict)


def check_data(path: Path, patients: str | None = None) -> DataReport:
    """Read a whole folder as the pipeline would, with default settings. Nothing is written into the folder.

    Args:
        path: the folder of one data set.
        patients: for `folder`, the patients CSV: its path below the folder or from the working directory.

    Raises:
        LddmError: no source reads the folder, or the patients CSV is invalid.
    """
    layout = recognise(path)
    check_locale(layout.classes, [layout.place])
    if patients is not None and layout.kind == "busi":
        layout = Layout(
            "folder",
            layout.place,
            tuple(sorted({unicodedata.normalize("NFC", p.name) for p in layout.place.iterdir() if p.is_dir()})),
        )
    if patients is not None and layout.kind != "folder":
        raise LddmError(f"{path} is read as '{layout.kind}', which takes no patients CSV", "omit --patients")
    root = path.resolve().parent
    source, classes = _source(layout, root, _below(layout.place, patients) if patients else None)
    listing = _list(layout, source, root, classes)
    files_of = layout.place.resolve()
    passed = listing.passed_over | _others(files_of, root, listing, source)
    if not listing.rows:
        raise LddmError(f"{path} contains no video, image or DICOM file{_kinds(passed)}", HINT)
    identities = [row.get("identity") for row in listing.rows]
    videos, clips = _read(listing.rows, source, classes, root)
    two = _choose(videos, classes)
    studied = videos[videos["class_name"].isin(two)]
    studied = studied.assign(label=studied["class_name"].map({name: k for k, name in enumerate(two)}).astype(int))
    advice = advise(layout, videos, studied, clips, classes, two, passed, listing.notes, identities, source)
    config = _config(source, root, path, (two + ["(no second class)"])[:2], studied)
    return DataReport(
        layout.kind, videos, clips, _unused(videos, passed, root), advice, leak_report(studied, two), config
    )


def _source(layout: Layout, root: Path, patients: str | None) -> tuple[Source, list[str]]:
    name = layout.place.resolve().relative_to(root).as_posix()
    if layout.kind == "folder":
        return FolderSource(folder=name, patients=patients), list(layout.classes)
    if layout.kind == "pocus":
        return PocusSource(folder=name), list(PocusSource().task)
    return (BusvSource if layout.kind == "busv" else BusiSource)(folder=name), ["benign", "malignant"]


def _below(place: Path, patients: str) -> str:
    """The CSV's path below the source's folder; also accepts a path from the working directory, as shells complete it."""
    for path in (place / patients, Path(patients)):
        if path.is_file():
            found = Path(os.path.abspath(path))  # without resolving links, which may lead out of the folder
            for root in (Path(os.path.abspath(place)), place.resolve()):
                if found.is_relative_to(root):
                    return found.relative_to(root).as_posix()
            raise LddmError(f"{patients} lies outside {place}", f"copy it to {place}, where the pipeline reads it")
    there = ", ".join(sorted(file.name for file in place.glob("*.csv"))) or "none"
    raise LddmError(
        f"{patients} exists neither below {place} nor in the working directory", f"CSV files in {place}: {there}"
    )


def _list(layout: Layout, source: Source, root: Path, classes: list[str]) -> _Listing:
    if isinstance(source, FolderSource):
        found = folder_source.survey(source, root, classes, key=lambda: SESSION_KEY)
        return _Listing(found.rows, found.notes, found.passed_over)
    rows = SOURCES[layout.kind].rows(source, root, classes)
    return _Listing(rows, busv.compared_with_release(rows) if isinstance(source, BusvSource) else [])


def _others(place: Path, root: Path, listing: _Listing, source: Source) -> dict[Path, str]:
    """Files below the source's folder that are neither in a row nor in the listing -> reason."""
    rows = {row["path"] for row in listing.rows}
    found = {}
    for file in sorted(place.rglob("*")):
        if file.is_dir() or file in listing.passed_over:
            continue
        name = PurePosixPath(printable(file.relative_to(root).as_posix()))
        if not rows.isdisjoint(map(str, (name, *name.parents))):
            continue
        below = file.relative_to(place)
        if is_clutter(below):
            found[file] = "a hidden or system file"
        elif is_mask_name(file):
            found[file] = "a mask, not an ultrasound image"
        elif below.as_posix() not in (getattr(source, "patients", None), TABLES.get(source.kind)):
            found[file] = why_not_read(file)
    return found


def _kinds(passed: dict[Path, str]) -> str:
    suffixes = pd.Series([path.suffix.lower() or "no suffix" for path in passed], dtype=object).value_counts()
    return (
        f"; it contains {', '.join(f'{name} ({n})' for name, n in suffixes.head(6).items())}" if len(suffixes) else ""
    )


def _read(rows: list[dict], source: Source, classes: list[str], root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The completed index and the clips."""
    sources = IndexSettings(sources=[source], classes=(classes + ["(no second class)", "(none)"])[:2])
    index, settings = index_table(rows), PreprocessSettings()
    videos, clips, hashes = [], [], []
    for row in track(index.astype(object).where(index.notna(), None).to_dict("records"), description="reading"):
        done = prepare_file(row, sources, settings, root, seed=0)
        stored = {"first_frame": 0 if len(done.frames) else -1, "stored_frames": len(done.frames)}
        videos.append(row | done.about | stored)
        hashes.append(done.hashes)
        if row["kind"] == "video" and len(done.frames):
            clips += clips_of(videos[-1], done, settings)
    table = cluster_duplicates(pd.DataFrame(videos), hashes, settings.duplicate_frames)
    return table, pd.DataFrame(clips, columns=["id", "excluded"])


def _choose(videos: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    """The two classes with videos of the most patients, in the order of their names."""
    usable = videos[videos["excluded"].isna()]
    moving = usable[usable["kind"] == "video"].groupby("class_name")["patient_id"].nunique()
    any_kind = usable.groupby("class_name")["patient_id"].nunique()
    ranked = sorted(classes, key=lambda name: (-moving.get(name, 0), -any_kind.get(name, 0), classes.index(name)))
    folded = [name.casefold() for name in ranked]
    distinct = [name for place, name in enumerate(ranked) if folded.index(folded[place]) == place]  # Benign, benign
    return [name for name in classes if name in (distinct + ranked)[:2]]


def _unused(videos: pd.DataFrame, passed: dict[Path, str], root: Path) -> pd.DataFrame:
    left_out = videos.loc[videos["excluded"].notna(), ["path", "excluded"]].itertuples(index=False)
    rows = [(path, str(reason), True) for path, reason in left_out]
    rows += [(printable(path.relative_to(root).as_posix()), reason, False) for path, reason in passed.items()]
    return pd.DataFrame(rows, columns=["path", "reason", "listed"]).sort_values("path", ignore_index=True)


def _config(source: Source, root: Path, path: Path, classes: list[str], videos: pd.DataFrame) -> str:
    """Config as YAML; the dumper quotes names that YAML would read as another type, e.g. a class `no`."""
    about = {"kind": source.kind} | source.model_dump(include={"folder", "patients"}, exclude_none=True)
    moving = videos[videos["kind"] == "video"]
    rates = moving["native_fps" if "native_fps" in moving else "fps"].dropna()
    slow = len(rates) > 0 and rates.max() < 0.9 * PreprocessSettings().fps  # all are slow: suggest a lower target rate
    usable = moving[moving["excluded"].isna()]
    counts = usable.groupby("label")["patient_id"].nunique()
    default = SplitSettings()
    fitting = fitting_split(int(counts.min()), default) if len(counts) == 2 else None
    few = fitting is not None and fitting != (default.folds, default.min_patients)
    config = {
        "experiment": re.sub(r"[^a-z0-9_.-]+", "-", path.resolve().name.lower()).strip("-._") or "mine",
        **({} if root == Path("data").resolve() else {"data_root": str(root)}),
        "index": {"classes": classes, "sources": [about]},
        **({"preprocess": {"fps": float(f"{rates.min():.3g}")}} if slow else {}),
        **({"split": dict(zip(("folds", "min_patients"), fitting, strict=True))} if fitting and few else {}),
    }
    return yaml.safe_dump(config, sort_keys=False, default_flow_style=None, allow_unicode=True, width=1000).rstrip()
