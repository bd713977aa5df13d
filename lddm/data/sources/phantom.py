"""Embedded default data: labelled videos and stills of simulated breasts, generated on reading.

Nothing is stored: the path `phantom:video/000012` identifies a patient, and the same seed and settings simulate the same
patient. `appearance` (how often a lesion looks like its class) and `motion` (how often it is as stiff as its class)
determine how the classes differ; with the defaults a single frame does not show the class. Other tasks use more classes,
from soft to stiff, or the stiffness itself as the target.
"""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np

from lddm.errors import LddmError
from lddm.phantom.anatomy import draw_anatomy, draw_lesion, draw_stiffness, sample_map
from lddm.phantom.imaging import draw_scatterers, image
from lddm.phantom.motion import compression_pattern, probe_motion
from lddm.settings.data import PhantomSource
from lddm.task import Task

LICENCE = "CC0-1.0 (simulated)"
KINDS = ("video", "still")
BINARY = Task()


def rows(settings: PhantomSource, seed: int, classes: list[str], task: Task = BINARY) -> list[dict]:
    """Index rows of all videos and stills, without simulating them; labels alternate, so that classes are balanced.

    Raises:
        LddmError: the range of the target does not contain all stiffnesses.
    """
    if task.is_regression and not (task.low <= settings.stiffness[0] and settings.stiffness[1] <= task.high):
        low, high = settings.stiffness
        raise LddmError(
            f"phantom stiffness, {low:g} to {high:g} times that of gland, is not within index.target.range, "
            f"{task.low:g} to {task.high:g} {task.unit}".rstrip(),
            "widen index.target.range, or narrow the source's stiffness",
        )
    table = []
    for kind, count in zip(KINDS, (settings.videos, settings.stills), strict=True):
        for number in range(count):
            path = f"phantom:{kind}/{number:06d}"
            label = _label(task, settings, seed, kind, number)
            content = f"{_content(settings, task)} {seed} {path}".encode()
            table.append(
                {
                    "id": f"phantom-{kind}-{number:06d}",
                    "source": "phantom",
                    "kind": "video" if kind == "video" else "image",
                    "path": path,
                    "label": label,
                    "class_name": "" if task.is_regression else classes[int(label)],
                    "patient_id": f"phantom-{kind}-{number:06d}",
                    "fps": settings.fps if kind == "video" else float("nan"),
                    "n_frames": settings.frames if kind == "video" else 1,
                    "height": settings.size,
                    "width": settings.size,
                    "sha256": hashlib.sha256(content).hexdigest(),
                    "licence": LICENCE,
                    "cluster": None,
                    "excluded": None,
                }
            )
    return table


def read(
    path: str, settings: PhantomSource, seed: int, as_video: bool = False, draw: int = 0, task: Task = BINARY
) -> tuple[np.ndarray, float]:
    """Simulate one patient.

    Args:
        path: `phantom:video/<number>` or `phantom:still/<number>`.
        settings: the source.
        seed: seed of the experiment.
        as_video: return the video whose first frame is the still (for upper bounds; not used by the pipeline).
        task: kind of label.
        draw: 0 is the patient's video; other numbers sample p(video | x0, class): the same first frame and class, another
            motion of the probe and another stiffness of lesion and gland (also for upper bounds).

    Returns:
        uint8 (T, S, S), T = 1 for a still, and the frame rate in Hz.
    """
    kind, number = _parse(path)
    rng = np.random.default_rng([seed, KINDS.index(kind), number])
    hidden = np.random.default_rng([seed, KINDS.index(kind), number, draw]) if draw else None
    imaged = 1 if kind == "still" and not as_video else settings.frames
    frames, _ = simulate(rng, settings, _label(task, settings, seed, kind, number), hidden, task, imaged)
    return frames, settings.fps


def simulate(
    rng: np.random.Generator,
    settings: PhantomSource,
    label: float,
    hidden: np.random.Generator | None = None,
    task: Task = BINARY,
    imaged: int | None = None,
) -> tuple[np.ndarray, object]:
    """One labelled video uint8 (T, S, S) and its anatomy.

    Args:
        hidden: generator for properties that the first frame does not show.
        imaged: number of frames to simulate, None = all; the frames do not depend on this number.
    """
    size, margin = settings.size, settings.size // 4  # the strongest compression shifts tissue by size / 8
    malignant_look = _is_high(label, settings, task) if rng.random() < settings.appearance else rng.random() < 0.5
    if task.kind == "binary":
        stiff = bool(label) if rng.random() < settings.motion else rng.random() < 0.5
        lesion = draw_lesion(rng, malignant_look, stiff)
        if hidden is not None:
            lesion = dataclasses.replace(lesion, stiffness=draw_stiffness(hidden, stiff))
    else:
        follows = rng.random() < settings.motion
        lesion = draw_lesion(rng, malignant_look, stiff=False)
        own = hidden or rng
        stiffness = _stiffness(own, settings, task, label if follows else None)
        lesion = dataclasses.replace(lesion, stiff=stiffness > 1, stiffness=stiffness)
    anatomy = draw_anatomy(rng, lesion, size, margin, hidden)
    pattern = compression_pattern(anatomy, size, margin)
    pressed, shift = probe_motion(rng, settings.frames, settings.fps, size)
    if hidden is not None:
        pressed, shift = probe_motion(hidden, settings.frames, settings.fps, size)
    positions, strengths = draw_scatterers(rng, size, margin)
    where = positions.T + margin - 0.5  # in map pixels
    strengths = strengths * sample_map(anatomy.echogenicity, *where)
    unit = np.stack([sample_map(component, *where) for component in pattern], axis=1)  # (n, 2)
    moved = positions + pressed[:imaged, None, None] * unit + shift[:imaged, None, :]  # (T, n, 2)
    view = slice(margin, margin + size)
    depth = np.arange(size)[:, None] / size
    gain = np.exp(-0.9 * depth - np.cumsum(anatomy.attenuation, axis=0)[view, view])
    return image(moved, strengths, gain, rng), anatomy


def _label(task: Task, settings: PhantomSource, seed: int, kind: str, number: int) -> float:
    """Label of a patient: alternating classes, or a log-uniform stiffness."""
    if not task.is_regression:
        return number % len(task.classes)
    rng = np.random.default_rng([seed, KINDS.index(kind), number, 0, 1])
    return float(np.exp(rng.uniform(*np.log(settings.stiffness))))


def _stiffness(rng: np.random.Generator, settings: PhantomSource, task: Task, label: float | None) -> float:
    """Young's modulus, relative to gland, of a lesion with this label (None = any label)."""
    low, high = np.log(settings.stiffness)
    drawn = rng.uniform()
    if label is not None and task.is_regression:
        return float(label)
    if label is not None:
        drawn = (label + drawn) / len(task.classes)
    return float(np.exp(low + drawn * (high - low)))


def _is_high(label: float, settings: PhantomSource, task: Task) -> bool:
    """Whether a label is in the upper half, whose lesions have the malignant appearance."""
    middle = np.sqrt(np.prod(settings.stiffness)) if task.is_regression else len(task.classes) / 2
    return bool(label >= middle)


def _content(settings: PhantomSource, task: Task) -> str:
    """Content key of a simulated video: the source settings and, unless the task is binary, the task."""
    if task.kind == "binary":
        return settings.model_dump_json(exclude={"stiffness"})
    return f"{settings.model_dump_json()} {task.to_meta()}"


def _parse(path: str) -> tuple[str, int]:
    kind, _, number = path.removeprefix("phantom:").partition("/")
    if not path.startswith("phantom:") or kind not in KINDS or not number.isdigit():
        raise LddmError(f"'{path}' is not a phantom path", "expected phantom:video/<number> or phantom:still/<number>")
    return kind, int(number)
