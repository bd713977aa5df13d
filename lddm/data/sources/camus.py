"""CAMUS: apical echocardiography of 500 patients (Leclerc et al., IEEE TMI 38(9):2198-2210, 2019), in two formats.

The public release, half a heart cycle per view, from end-diastole to end-systole or in reverse:

    <patient>/<patient>_{2CH,4CH}_half_sequence.nii.gz
    <patient>/Info_{2CH,4CH}.cfg      ED, ES (frames from 1), EF, FrameRate, ...

Pairs of end-diastole and end-systole as PNG, with areas computed from their masks:

    images/<patient>_{2CH,4CH}_{ED,ES}.png
    areas.csv                         patient_id, view, area_fraction_change, ...

Licence CC BY-NC-SA 4.0. Both views of a patient have the same label: the ejection fraction, or the mean of the two area
fraction changes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lddm.data.sources.base import file_row, read_csv, read_recording, safe_path, source_folder
from lddm.data.sources.measured import is_still_patient, span_columns
from lddm.data.targets import parse_number, target_columns
from lddm.errors import LddmError
from lddm.io.nifti import read_nifti
from lddm.io.recording import Recording, UnreadableFile
from lddm.settings.data import CamusSource
from lddm.task import Task

LICENCE = "CC BY-NC-SA 4.0"
PAIR = re.compile(r"(?P<patient>patient\d+)_(?P<view>2CH|4CH)_ED\.png")
SEQUENCE = "half_sequence.nii.gz"
Label = Callable[[float], dict[str, Any]]


def rows(settings: CamusSource, data_root: Path, classes: list[str]) -> list[dict]:
    """Index rows of all views, with the class of the patient's value."""
    return _rows(
        settings,
        data_root,
        settings.measure,
        lambda value: span_columns(value, settings.spans, classes, settings.measure),
    )


def target_rows(settings: CamusSource, data_root: Path, task: Task) -> list[dict]:
    """Index rows of all views, with the patient's target from a column of areas.csv or a key of the .cfg files."""
    return _rows(settings, data_root, task.name, lambda value: target_columns(value, task, "no value in the release"))


def read(row: dict, settings: CamusSource, data_root: Path, max_frames: int) -> Recording:
    """Frames from end-diastole to end-systole; only end-diastole for a still."""
    path = safe_path(data_root, row["path"])
    recording = _sequence(path, settings, max_frames) if path.name.endswith(SEQUENCE) else _pair(path, settings)
    return recording.part(0, 1) if row["kind"] == "image" else recording


def _pair(path: Path, settings: CamusSource) -> Recording:
    frames = [
        read_recording(place, 1).frames[0] for place in (path, path.with_name(path.name.replace("_ED.png", "_ES.png")))
    ]
    if frames[0].shape != frames[1].shape:
        raise UnreadableFile(f"{path.name} and its end-systolic frame differ in size", "copy both files again")
    return Recording.steady(np.stack(frames), settings.pair_fps)


def _sequence(path: Path, settings: CamusSource, max_frames: int) -> Recording:
    about = _config(path)
    frames, spacing = read_nifti(path, max_frames)
    numbers = [parse_number(about.get(key, ""), f"{path.name}, {key}") for key in ("ED", "ES")]
    if not np.isfinite(numbers).all():
        raise UnreadableFile(f"{path.name}: its .cfg file does not state ED and ES", "copy the .cfg file again")
    first, last = (int(number) - 1 for number in numbers)
    if not (0 <= first < len(frames) and 0 <= last < len(frames)) or first == last:
        raise UnreadableFile(f"{path.name}: ED {first + 1} and ES {last + 1} of {len(frames)} frames", "copy it again")
    frames = frames[first : last + 1] if first < last else frames[last : first + 1][::-1]  # some are in reverse order
    rate = parse_number(about.get("FrameRate", ""), f"{path.name}, FrameRate")
    recording = Recording.steady(frames, rate, spacing=spacing)
    return recording if np.isfinite(rate) else recording.assume_rate(settings.fps)


def _rows(settings: CamusSource, data_root: Path, measure: str, label: Label) -> list[dict]:
    folder = source_folder(data_root, settings.folder)
    pairs = (folder / "areas.csv").is_file()
    values = _areas(folder / "areas.csv", measure) if pairs else None
    files = sorted((folder / "images").glob("*_ED.png")) if pairs else sorted(folder.glob(f"*/*_{SEQUENCE}"))
    table = []
    for path in files:
        named = PAIR.fullmatch(path.name) if pairs else None
        patient, view = (named["patient"], named["view"]) if named else path.name.split("_")[:2]
        if view not in settings.views:
            continue
        value = values.get(patient, np.nan) if values is not None else _stated(path, measure)
        kind = "image" if is_still_patient(patient, settings.still_share) else "video"
        about = {"licence": LICENCE, "patient_id": f"camus-{patient}"} | label(value)
        table.append(file_row("camus", path, data_root, kind=kind, **about))
    if not table:
        raise LddmError(
            f"{folder} contains neither areas.csv with images/ nor <patient>/<patient>_<view>_{SEQUENCE}",
            "unpack the release there; see docs/data.md",
        )
    return table


def _areas(path: Path, measure: str) -> dict[str, float]:
    """Patient -> mean over the views."""
    table = read_csv(path, ("patient_id", "view", measure), "copy areas.csv again")
    numbers = [parse_number(text, f"{path}: row {row}, {measure}") for row, text in enumerate(table[measure], start=2)]
    return table.assign(value=numbers).groupby("patient_id")["value"].mean().to_dict()


def _stated(path: Path, measure: str) -> float:
    """A number from a view's .cfg file; NaN if absent."""
    return parse_number(_config(path).get(measure, ""), f"{path.name}, {measure}")


def _config(sequence: Path) -> dict[str, str]:
    """The `key: value` lines of the .cfg file beside a sequence; empty if the file is missing."""
    path = sequence.with_name(f"Info_{sequence.name.split('_')[1]}.cfg")
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8", errors="replace")
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}
