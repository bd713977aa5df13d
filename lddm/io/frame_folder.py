"""Videos stored as numbered image files in a folder."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from lddm.io.frame_times import plausible_rate
from lddm.io.image import IMAGE_SUFFIXES, decode_image, image_size, read_values
from lddm.io.image_values import eight_bits
from lddm.io.recording import MAX_BYTES, FrameBuffer, Recording, UnreadableFile

ABOUT = "about.json"  # written by `lddm animate` beside the frames
FEWEST = 8  # minimum number of images of a video; fewer numbered images are read as stills
ALIKE = 0.5  # correlation of consecutive images, at 32 x 32, above which numbered images are one video
NUMBER = re.compile(r"\d{1,18}")


def frame_folders(paths: Iterable[Path]) -> dict[Path, list[Path]]:
    """The folders among `paths` whose images are the frames of one video, with the frames in order.

    A folder counts as a video if it has at least `FEWEST` images, their names differ only in one number, at least 90 % of
    the steps between numbers are equal, and neighbouring images look alike. Folders of numbered stills fail the last test.

    Args:
        paths: image files.
    """
    found = {}
    for folder, files in _by_folder(paths).items():
        frames = _numbered(files)
        if len(frames) >= FEWEST and _why_no_video(frames, files) is None and _alike(list(frames.values())):
            found[folder] = list(frames.values())
    return found


def nearly_frame_folders(paths: Iterable[Path]) -> dict[Path, str]:
    """Folders of numbered images that look like a video but fail another criterion of `frame_folders` -> reason."""
    found = {}
    for folder, files in _by_folder(paths).items():
        frames = _numbered(files)
        if len(frames) >= FEWEST and (reason := _why_no_video(frames, files)) and _alike(list(frames.values())):
            found[folder] = reason
    return found


def read_frame_folder(folder: Path, max_frames: int) -> Recording:
    """Decode the longest run of consecutively numbered frames; a gap is a cut of unknown duration.

    All frames share one grey-level scale. Frames that cannot be decoded or differ from most in size are dropped; if the
    rate is known, the times of the other frames are unaffected, otherwise a note is added. The rate is read from
    about.json, which `lddm animate` writes; otherwise it is unknown.

    Raises:
        UnreadableFile: no numbered frames, or none that can be decoded.
    """
    frames = _numbered([p for p in folder.iterdir() if _is_frame(p)])
    run = _longest_run(frames)
    if len(run) < 2:
        raise UnreadableFile(f"{folder.name} contains no numbered frames", "name them 000000.png, 000001.png, ...")
    notes = [f"gaps in the numbers: {len(run)} of {len(frames)} frames read"] if len(run) < len(frames) else []
    taken: list[int] = []
    decoded, colour, lost = FrameBuffer(), False, Counter[str]()
    size, read = _commonest_size(run), 0
    damage = UnreadableFile("frames differ in size", "check the files")
    for place, path in enumerate(run):
        if len(taken) == max_frames or len(decoded.memory) * (1 + 1 / max(1, len(decoded))) > MAX_BYTES:
            break
        read = place + 1
        try:
            same = image_size(path) == size
            values, coloured, said = read_values(path) if same else (None, False, [])
        except UnreadableFile as error:
            damage = error
            lost["that cannot be decoded"] += 1
            continue
        if values is None or not decoded.append_deep(values):
            lost["of another size or pixel type"] += 1
            continue
        taken.append(place)
        notes += [note for note in said if note not in notes]
        colour = colour or coloured
    if not taken:
        raise UnreadableFile(f"no frame of {folder.name} can be decoded: {damage.message}", damage.hint)
    notes += [f"{count} frames {why} dropped" for why, count in lost.items()]
    if read < len(run):
        notes.append(f"cut: only the first {read} of {len(run)} frames are read")
    values, said = eight_bits(decoded.array())
    rate = _stated_rate(folder)
    if lost and not np.isfinite(rate):
        notes.append("the rate is unknown, so the times do not account for dropped frames")
    times = (np.array(taken) - taken[0]) / rate
    return Recording(values, times, rate, colour=colour, notes=(*notes, *said))


def _by_folder(paths: Iterable[Path]) -> dict[Path, list[Path]]:
    """Image files by their folder."""
    folders: dict[Path, list[Path]] = {}
    for path in paths:
        if path.suffix.lower() in IMAGE_SUFFIXES:
            folders.setdefault(path.parent, []).append(path)
    return folders


def _why_no_video(frames: dict[int, Path], files: list[Path]) -> str | None:
    """Why numbered images are not one video, apart from their content; None if there is no reason."""
    if len(frames) < len(files):
        return f"the folder has {len(files) - len(frames)} other images"
    return None if _dense(frames) else "their numbers have gaps"


def _commonest_size(files: list[Path]) -> tuple[int, int]:
    """Most frequent width and height; (0, 0) if no file is an image."""
    found = Counter[tuple[int, int]]()
    for path in files:
        try:
            found[image_size(path)] += 1
        except UnreadableFile:
            continue
    return found.most_common(1)[0][0] if found else (0, 0)


def _is_frame(path: Path) -> bool:
    """Whether a file may be a frame; excludes hidden files such as ._000000.png, which macOS writes to other file systems."""
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not path.name.startswith(".")


def _numbered(files: list[Path]) -> dict[int, Path]:
    """Number -> file for the largest group of images whose names differ only in one number, ascending."""
    groups: dict[tuple[str, str], dict[int, Path]] = {}
    for path in files:
        for found in reversed(
            list(NUMBER.finditer(path.stem))
        ):  # in frame007_v2 and frame008_v2 the first number counts
            around = path.stem[: found.start()], path.stem[found.end() :]
            groups.setdefault(around, {})[int(found[0])] = path
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
    """Whether four pairs of neighbours, spread over the files, look alike; pairs that cannot be compared are ignored."""
    places = np.unique(np.linspace(0, len(files) - 2, 4).astype(int))
    likeness = []
    for place in places:
        try:
            a, b = decode_image(files[place]), decode_image(files[place + 1])
        except UnreadableFile:
            continue
        if a.shape == b.shape:
            likeness.append(_correlation(a, b))
    return len(likeness) >= len(places) / 2 and float(np.median(likeness)) > ALIKE


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    small = [cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float64).ravel() for frame in (a, b)]
    if min(values.std() for values in small) < 1:
        return 1.0  # a black frame, e.g. at the beginning, is not evidence against a video
    return float(np.corrcoef(small[0], small[1])[0, 1])


def _stated_rate(folder: Path) -> float:
    try:
        return plausible_rate(float(json.loads((folder / ABOUT).read_text(encoding="utf-8"))["fps"]))
    except (OSError, ValueError, TypeError, KeyError):
        return float("nan")
