"""Videos kept as numbered image files in a folder of their own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from lddm.io.frame_times import plausible_rate
from lddm.io.image import IMAGE_SUFFIXES, decode_image
from lddm.io.recording import MAX_BYTES, FrameBuffer, Recording, UnreadableFile

ABOUT = "about.json"  # what `lddm animate` writes beside the frames
FEWEST = 8  # image files that make a video; fewer numbered files are taken for stills
ALIKE = 0.5  # correlation of two frames in a row, at 32 x 32, above which numbered images are one video
NUMBER = re.compile(r"^(.*?)(\d+)$")


def frame_folders(paths: Iterable[Path]) -> dict[Path, list[Path]]:
    """The folders among `paths` whose images are the frames of one video, with the frames in order.

    A folder counts if at least `FEWEST` images lie in it, they are numbered behind one common prefix, nine of ten
    steps from number to number are the same, and neighbours look alike. Folders of numbered stills fail the last test.

    Args:
        paths: image files.
    """
    folders: dict[Path, list[Path]] = {}
    for path in paths:
        if path.suffix.lower() in IMAGE_SUFFIXES:
            folders.setdefault(path.parent, []).append(path)
    found = {}
    for folder, files in folders.items():
        frames = _numbered(files)
        if len(frames) == len(files) >= FEWEST and _dense(frames) and _alike(list(frames.values())):
            found[folder] = list(frames.values())
    return found


def read_frame_folder(folder: Path, max_frames: int) -> Recording:
    """Decode the longest run of consecutively numbered frames: a gap is a cut, and the time across it is unknown.

    The frame rate comes from about.json, which `lddm animate` writes; otherwise it is unknown.

    Raises:
        UnreadableFile: no numbered frames, or one that cannot be decoded.
    """
    frames = _numbered([p for p in folder.iterdir() if _is_frame(p)])
    run = _longest_run(frames)
    if len(run) < 2:
        raise UnreadableFile(f"{folder.name} holds no numbered frames", "name them 000000.png, 000001.png, ...")
    notes = [f"gaps in the numbers: {len(run)} of {len(frames)} frames read"] if len(run) < len(frames) else []
    decoded = FrameBuffer()
    for path in run[:max_frames]:
        frame = decode_image(path)
        if len(decoded.memory) + frame.nbytes > MAX_BYTES or not decoded.append(frame):
            break
    if len(decoded) < len(run):
        notes.append(f"cut: only the first {len(decoded)} of {len(run)} frames are read")
    return Recording.steady(decoded.array(), _stated_rate(folder), notes=tuple(notes))


def _is_frame(path: Path) -> bool:
    """Whether a file may be a frame; macOS leaves hidden copies named ._000000.png on other file systems."""
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not path.name.startswith(".")


def _numbered(files: list[Path]) -> dict[int, Path]:
    """Number -> file of the images of a folder that share the most frequent prefix, in ascending order."""
    groups: dict[str, dict[int, Path]] = {}
    for path in files:
        parts = NUMBER.match(path.stem)
        if parts is not None and len(parts[2]) < 19:
            groups.setdefault(parts[1], {})[int(parts[2])] = path
    largest = max(groups.values(), key=len, default={})
    return dict(sorted(largest.items()))


def _dense(frames: dict[int, Path]) -> bool:
    steps = np.diff(list(frames))
    return bool((steps == np.median(steps)).mean() >= 0.9)  # every second frame of a recording is a video too


def _longest_run(frames: dict[int, Path]) -> list[Path]:
    numbers = np.array(list(frames))
    if len(numbers) == 0:
        return []
    steps = np.diff(numbers)
    step = int(np.median(steps)) if len(steps) else 1
    runs = np.split(numbers, np.flatnonzero(steps != step) + 1)
    return [frames[int(number)] for number in max(runs, key=len)]


def _alike(files: list[Path]) -> bool:
    """Whether four pairs of neighbours, spread over the files, have one size and look alike."""
    places = np.unique(np.linspace(0, len(files) - 2, 4).astype(int))
    try:
        pairs = [(decode_image(files[k]), decode_image(files[k + 1])) for k in places]
    except UnreadableFile:
        return False
    if len({frame.shape for pair in pairs for frame in pair}) > 1:
        return False
    likeness = [_correlation(a, b) for a, b in pairs]
    return float(np.median(likeness)) > ALIKE


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    small = [cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float64).ravel() for frame in (a, b)]
    if min(values.std() for values in small) < 1:
        return 1.0  # a black frame at the beginning says nothing
    return float(np.corrcoef(small[0], small[1])[0, 1])


def _stated_rate(folder: Path) -> float:
    try:
        return plausible_rate(float(json.loads((folder / ABOUT).read_text(encoding="utf-8"))["fps"]))
    except (OSError, ValueError, TypeError, KeyError):
        return float("nan")
