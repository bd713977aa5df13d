"""BUSV: breast ultrasound videos of the CVA-Net release (Lin et al., MICCAI 2022).

    rawframes/{benign,malignant}/<video id>/NNNNNN.png
    train.json, val.json   or   imagenet_vid_train_15frames.json, imagenet_vid_val.json   (both optional)

Patients are not identified. Videos that share frames are clustered, and known label errors are corrected: see ERRATA.
"""

from __future__ import annotations

import logging
from pathlib import Path

from lddm.data.duplicates import COMMON, connected
from lddm.data.sources.base import file_row, label_of, safe_path, source_folder
from lddm.errors import LddmError
from lddm.files import read_json, sha256
from lddm.io.frame_folder import read_frame_folder
from lddm.io.recording import Recording
from lddm.settings.data import BusvSource

logger = logging.getLogger(__name__)

LICENCE = "non-commercial research and education (CVA-Net release)"
CATEGORIES = {1: "benign", 2: "malignant"}
ANNOTATIONS = ("train.json", "val.json", "imagenet_vid_train_15frames.json", "imagenet_vid_val.json")

VIDEOS = 188  # according to the release's README, which states no number per class
ONE_PATIENT = "busv-patient-errata-2023-03-25"
# Folder and id (without a leading x) -> correction according to the release's README of 2023-03-25.
ERRATA: dict[tuple[str, str], dict[str, str]] = {
    ("benign", "66ef02e7f1b9a0ef"): {"excluded": "errata: the same video as malignant/x3b88488853e8b7d1"},
    ("benign", "63c9ba1377f35bf6"): {"class_name": "malignant", "patient_id": ONE_PATIENT},
    ("benign", "5a1c46ec6377e946"): {"class_name": "malignant", "patient_id": ONE_PATIENT},
    ("malignant", "2390fbea047347b"): {"class_name": "malignant", "patient_id": ONE_PATIENT},
    ("malignant", "7a39ab5d4970bf89"): {"class_name": "malignant", "patient_id": ONE_PATIENT},
}
# Frame counts that the same README states for the videos of that patient.
ERRATA_FRAMES = {"63c9ba1377f35bf6": 97, "5a1c46ec6377e946": 100, "2390fbea047347b": 102, "7a39ab5d4970bf89": 105}


def rows(settings: BusvSource, data_root: Path, classes: list[str]) -> list[dict]:
    """Index rows of all videos; errata are applied and videos that share frames are clustered."""
    folder = source_folder(data_root, settings.folder)
    if not (folder / "rawframes").is_dir():
        raise LddmError(f"{folder / 'rawframes'} does not exist", "unpack the BUSV release there; see docs/data.md")
    annotated = _annotated_classes(folder)
    table, hashes = [], []
    for name in ("benign", "malignant"):
        for video in sorted(path for path in (folder / "rawframes" / name).glob("*") if path.is_dir()):
            key = video.name.removeprefix("x")
            errata = ERRATA.get((name, key), {})
            values = label_of(errata.get("class_name", name), classes)
            said = annotated.get((name, key))
            if said is not None and said != name:
                values["excluded"] = f"class {said} in the annotations, {name} by folder"
            if "excluded" in errata:
                values["excluded"] = errata["excluded"]
            run = longest_run(video)
            if not run:
                values["excluded"] = "no numbered frames"
            if any(path.is_symlink() for path in run):
                values["excluded"] = "frames are links, which may lead out of the data folder"
            row = file_row(
                "busv", video, data_root, kind="video", fps=settings.fps, n_frames=len(run), licence=LICENCE,
                patient_id=errata.get("patient_id"), **values,
            )  # fmt: skip
            table.append(row)
            hashes.append({sha256(path) for path in run if not path.is_symlink()})
    _cluster(table, hashes)
    return table


def compared_with_release(table: list[dict]) -> list[str]:
    """Sentences that compare the videos found with what is known of the release.

    Args:
        table: from `rows`.
    """
    classes = {name: sum(Path(row["path"]).parent.name == name for row in table) for name in CATEGORIES.values()}
    counts = f"{len(table)} videos ({', '.join(f'{count} in {name}' for name, count in classes.items())})"
    if len(table) == VIDEOS:
        found = [f"{counts}, as many as in the BUSV release"]
    elif len(table) < VIDEOS:
        found = [f"{counts}: the BUSV release has {VIDEOS}, so {VIDEOS - len(table)} are missing; unpack it again"]
    else:
        found = [f"{counts}: the BUSV release has {VIDEOS}, so {len(table) - VIDEOS} are not part of it"]
    by_name = {(Path(row["path"]).parent.name, Path(row["path"]).name.removeprefix("x")): row for row in table}
    met = {key: by_name[key] for key in ERRATA if key in by_name}
    if met:
        relabelled = [key for key, row in met.items() if row["class_name"] != key[0] and row["excluded"] is None]
        twins = [key for key in met if "excluded" in ERRATA[key]]
        found.append(
            f"errata of 2023-03-25: {len(met)} of the {len(ERRATA)} listed videos are present; {len(twins)} excluded as a "
            f"duplicate, {len(relabelled)} relabelled as malignant, the others of that patient kept together"
        )
    absent = [f"{folder}/{name}" for folder, name in ERRATA if (folder, name) not in by_name]
    if absent:
        found.append(f"the errata also list {', '.join(absent)} (possibly with a leading x), which are not present")
    for (_, name), row in met.items():
        known = ERRATA_FRAMES.get(name)
        if known and row["n_frames"] != known:
            found.append(f"{row['path']} has {row['n_frames']} consecutively numbered frames; the errata state {known}")
    both = [row for row in table if row["excluded"] and "other class" in row["excluded"]]
    if both:
        found.append(
            f"{len(both)} videos share frames with a video of the other class and are excluded; the errata do not say which "
            "label is correct (users of the release have reported ten such folders)"
        )
    return found


def read(row: dict, settings: BusvSource, data_root: Path, max_frames: int) -> Recording:
    """The longest run of consecutively numbered frames."""
    return read_frame_folder(safe_path(data_root, row["path"]), max_frames).assume_rate(settings.fps)


def longest_run(folder: Path) -> list[Path]:
    """The longest run of frames with consecutive numbers; a gap is a cut of unknown duration."""
    numbered = sorted(
        (int(path.stem), path) for path in folder.glob("*.png") if path.stem.isdecimal() and path.is_file()
    )
    best: list[Path] = []
    current: list[Path] = []
    before = None
    for number, path in numbered:
        current = [*current, path] if before is not None and number == before + 1 else [path]
        best = current if len(current) > len(best) else best
        before = number
    return best


def _annotated_classes(folder: Path) -> dict[tuple[str, str], str]:
    """(folder class, id without x) -> class in the annotations, from all JSON files that exist."""
    classes: dict[tuple[str, str], str] = {}
    for name in ANNOTATIONS:
        if not (folder / name).is_file():
            continue
        content = read_json(folder / name)
        try:
            places = {image["id"]: image["file_name"].split("/") for image in content["images"]}
            for annotation in content["annotations"]:
                place = places.get(annotation["image_id"])
                category = CATEGORIES.get(annotation["category_id"])
                if place is not None and category is not None:
                    classes[(place[0], place[1].removeprefix("x"))] = category
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise LddmError(
                f"{folder / name} is not in COCO-VID format: {error!r}", "use the release's file"
            ) from error
    return classes


def _cluster(table: list[dict], hashes: list[set[str]]) -> None:
    """Cluster videos that share an identical frame; exclude clusters whose usable videos have different labels.

    Frames that occur in many videos, such as title cards and black frames, are ignored; preprocessing compares the content.
    """
    owners: dict[str, list[int]] = {}
    for i, frames in enumerate(hashes):
        for frame in frames:
            owners.setdefault(frame, []).append(i)
    pairs = {(group[0], other) for group in owners.values() if len(group) <= COMMON + 1 for other in group[1:]}
    for number, members in enumerate(connected(len(table), sorted(pairs))):
        if len(members) < 2:
            continue
        labels = {table[i]["label"] for i in members if table[i]["excluded"] is None}
        for i in members:
            table[i]["cluster"] = f"busv-cluster-{number:03d}"
            if len(labels) > 1 and table[i]["excluded"] is None:
                table[i]["excluded"] = "shares frames with a video of the other class"
