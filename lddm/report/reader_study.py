"""Blinded reader study: a page that shows clips one by one, and a separate key with the truth."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lddm.errors import LddmError
from lddm.files import atomic_path, write_table
from lddm.report.film import MARK
from lddm.report.render import template
from lddm.report.results import Results
from lddm.report.sheet import sheet
from lddm.task import level_names, levels

FEWEST = 4  # smallest number of clips of a study, the minimum of --clips
QUESTIONS = ["origin", "diagnosis", "quality"]
OF_ARMS = ["diagnosis", "certainty"]
INTRO = "Some of these clips are real ultrasound, others were made by a computer."
INTRO_OF_ARMS = (
    "First single real images, then the same patients in another order, each beside a video that a computer made from "
    "the image alone."
)
KEY = ["item", "generator", "label", "class_name", "clip_id", "patient_id", "fold"]


def reader_study(
    results: Path, out: Path, key: Path, count: int, generators: list[str], seed: int, arms: bool = False
) -> int:
    """Write the page and the key.

    Half of the clips are real; the others are divided among the generators. Each patient is shown once, so that readers cannot
    compare two versions of one first frame. The page does not reveal the origin of a clip: names are hashes, and all clips have
    the same format and no metadata.

    A study of two arms measures the benefit of synthetic videos for the diagnosis: readers first see the stills of `count`
    patients, and then, in another order, the same stills with their synthetic videos.

    Args:
        results: results/<experiment>.
        out: the page, which is self-contained.
        key: CSV with the truth, to be hidden from readers.
        count: total number of clips.
        generators: generators of the synthetic videos.
        arms: whether the study has two arms.

    Returns:
        Number of clips.

    Raises:
        LddmError: too few patients, or a generator that is not in the settings of the results.
    """
    if key.resolve().parent == out.resolve().parent:
        raise LddmError(f"{key} lies beside the page", "keep the key in another folder, which readers do not get")
    found = Results.saved(results)
    rng = np.random.default_rng(seed)
    rows = _choose(found, count, generators, rng, arms)
    meta = found.meta()
    study = hashlib.sha256(f"{results.name} {seed} {[row['clip_id'] for row in rows]}".encode()).hexdigest()[:12]
    labels = np.array([row["label"] for row in rows])
    level, classes = (
        levels(labels),
        level_names(labels, found.task()),
    )  # for a regression, readers estimate the quartile
    items, table = [], []
    shown: list[tuple[int, dict, str | None]] = [(place, row, None) for place, row in enumerate(rows)]
    if arms:
        orders = {arm: rng.permutation(len(rows)) for arm in ("still", "video")}
        shown = [(int(place), dict(rows[place]), arm) for arm, order in orders.items() for place in order]
    for place, row, arm in shown:
        name = hashlib.sha256(f"{study} {place} {rng.integers(2**62)}".encode()).hexdigest()[:10]
        items.append({"item": name, "clips": _clips(row.pop("clip"), arm)})
        table.append({"item": name, "class_name": classes[level[place]], "arm": arm} | row)
    content = {"study": study, "fps": meta["fps"], "classes": classes, "items": items}
    page = template("reader_study.html").render(
        title=f"Reader study {study}",
        intro=INTRO_OF_ARMS if arms else INTRO,
        content=content | {"questions": OF_ARMS if arms else QUESTIONS},
    )
    check_key(key, {row["item"] for row in table})
    write_table(pd.DataFrame(table)[[*KEY, "arm"] if arms else KEY], key)
    with atomic_path(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return len(items)


def check_key(key: Path, items: set[str]) -> None:
    """Raise if the key of another study would be overwritten.

    Raises:
        LddmError: the file is there and names other items.
    """
    if key.is_file() and set(pd.read_csv(key, dtype=str).get("item", ())) != items:
        raise LddmError(
            f"{key} is the key of another study, whose answers cannot be scored without it",
            "pass another --key, or move this one",
        )


def _choose(
    found: Results, count: int, generators: list[str], rng: np.random.Generator, only_synthetic: bool = False
) -> list[dict]:
    """Clips of different patients in random order, balanced over classes if there are enough patients."""
    made = count if only_synthetic else count // 2
    sources = ["real"] * (count - made) + [generators[i % len(generators)] for i in range(made)]
    planned = found.plan.scored[1:]
    if unknown := [name for name in generators if name not in planned]:
        raise LddmError(f"{unknown[0]} is not among the generators of this run", f"choose from {', '.join(planned)}")
    pool = []
    for fold in found.folds():
        videos = found.synthetic(fold, "heldout")
        first = videos[generators[0]][1].dropna(subset=["clip_id"]).drop_duplicates("patient_id")
        pool += [(fold, videos, row) for row in first.to_dict("records")]
    if len(pool) < count:
        hint = f"pass --clips {len(pool)}" if len(pool) >= FEWEST else (
            f"a study needs at least {FEWEST} held-out patients: add videos, or raise split.folds_to_run"
        )  # fmt: skip
        raise LddmError(f"{count} clips of different patients wanted, {len(pool)} patients held out", hint)
    order = rng.permutation(len(pool))
    level = levels(np.array([row["label"] for _, _, row in pool]))
    by_class = [[i for i in order if level[i] == one] for one in np.unique(level)]
    mixed = [part[i] for i in range(len(pool)) for part in by_class if i < len(part)][:count]
    rows = []
    for index, source in zip(mixed, rng.permutation(sources), strict=True):
        fold, videos, row = pool[index]
        if source == "real":
            clip = found.real_clip(row["clip_id"])
        else:
            clips, manifest = videos[str(source)]
            clip = clips[int(np.flatnonzero((manifest["clip_id"] == row["clip_id"]).to_numpy())[0])]
        kept = {name: row[name] for name in ("label", "clip_id", "patient_id")}
        rows.append({"clip": np.asarray(clip), "generator": str(source), "fold": fold} | kept)
    return [rows[i] for i in rng.permutation(len(rows))]


def _clips(clip: np.ndarray, arm: str | None) -> list[dict[str, Any]]:
    """Content of the player for a clip uint8 (T + 1, S, S).

    Without arms, the unnamed clip; in the first arm, its first frame; in the second arm, its first frame and the clip.
    """
    if arm is None:
        return [{"name": "", "mark": "", **sheet(clip)}]
    still = {"name": "real image", "mark": "", **sheet(clip[:1])}
    return [still] if arm == "still" else [still, {"name": "video", "mark": MARK, **sheet(clip)}]
