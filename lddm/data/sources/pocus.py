"""The open COVID-19 lung ultrasound collection (Born et al., Applied Sciences 11:672, 2021).

`dataset_metadata.csv` has one row per file. Its spelling varies, so names, labels and licences are normalised before
comparison; a file without a row is excluded with that reason.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

from lddm.data.identity import known, normalise
from lddm.data.sources.base import file_row, label_of, read_csv, read_recording, safe_path, source_folder
from lddm.data.sources.skipped import is_clutter
from lddm.errors import LddmError
from lddm.io.recording import Recording
from lddm.io.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from lddm.settings.data import PocusSource

logger = logging.getLogger(__name__)

NEEDED = ("Filename", "Label", "License", "Probe", "Patient ID / Name")


def rows(settings: PocusSource, data_root: Path, classes: list[str]) -> list[dict]:
    """Index rows of all videos and stills, with patient, licence and class of the configured task."""
    folder = source_folder(data_root, settings.folder)
    metadata = _metadata(folder / "dataset_metadata.csv")
    task = {_fold(label): name for name, labels in settings.task.items() for label in labels}
    table, used = [], set()
    for path in sorted(folder.rglob("*")):
        suffix = path.suffix.lower()
        if suffix not in VIDEO_SUFFIXES | IMAGE_SUFFIXES or path.is_dir() or is_clutter(path.relative_to(folder)):
            continue
        kind = "image" if suffix in IMAGE_SUFFIXES else "video"
        about = metadata.get((_fold(path.stem), kind))
        if about is None:
            table.append(file_row("pocus", path, data_root, kind=kind, excluded="no row in dataset_metadata.csv"))
            continue
        used.add((_fold(path.stem), kind))
        label, probe = _fold(about["Label"]), path.parent.name.lower()
        values = label_of(task.get(label, label), classes)
        if probe not in settings.probes:
            values["excluded"] = f"probe '{probe}' is not in the source's probes"
        patient = _patient(about["Patient ID / Name"])
        table.append(
            file_row(
                "pocus",
                path,
                data_root,
                kind=kind,
                licence=_licence(about["License"]),
                patient_id=f"pocus-patient-{patient}" if patient else None,
                **values,
            )
        )
    for name, kind in sorted(set(metadata) - used):
        logger.info("pocus: the metadata list a %s '%s' that does not exist", kind, name)
    return table


def read(row: dict, settings: PocusSource, data_root: Path, max_frames: int) -> Recording:
    """Frames and frame rate from the file itself, because the rates in the metadata are unreliable."""
    return read_recording(safe_path(data_root, row["path"]), max_frames)


def _metadata(path: Path) -> dict[tuple[str, str], dict]:
    """(normalised file name, kind) -> row."""
    hint = "copy dataset_metadata.csv of the collection beside its folders"
    table = read_csv(path, (*NEEDED, "Type"), hint)
    kinds = table["Type"].str.strip().str.lower().map(lambda text: "image" if text == "image" else "video")
    found: dict[tuple[str, str], dict] = {}
    for row, kind in zip(table.to_dict("records"), kinds, strict=True):
        before = found.setdefault((_fold(row["Filename"]), kind), row)
        if any(before[column] != row[column] for column in ("Label", "Patient ID / Name")):
            raise LddmError(f"{path} has two different rows for '{row['Filename']}'", "keep the correct one")
    return found


def _fold(text: str) -> str:
    """Convert to lower case and single spaces, and remove the file suffix."""
    text = re.sub(r"\s+", " ", text.strip().lower())
    return re.sub(r"\.(gif|mp4|avi|mpe?g|mov|jpe?g|png)$", "", text)


def _licence(text: str) -> str:
    return re.sub(r"\s*-\s*", "-", re.sub(r"\s+", " ", text.strip())).replace("CC-BY", "CC BY") or "unknown"


def _patient(text: str) -> str:
    """The patient number, or "" if the metadata state none."""
    return known(re.sub(r"\.0$", "", normalise(text)))
