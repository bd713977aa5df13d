"""Film strips with M-mode of real and synthetic videos side by side; synthetic ones are labelled."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from lddm.report.film import MARK, NEAREST, REAL, SHOWN, WIDER, Row, loop, m_mode
from lddm.report.fonts import class_names, legible, use_fonts
from lddm.report.style import empty, in_order, label, subplots
from lddm.task import levels

if TYPE_CHECKING:
    from lddm.report.results import Results

__all__ = ["NEAREST", "Row", "choose", "loop", "strips"]


def choose(results: Results, count: int) -> list[tuple[str, Row]]:
    """The first `count` held-out clips, spread over the patients and classes of the first fold, in all versions.

    Returns:
        Title (class or target, patient) and versions with the same first frame of each clip.
    """
    folds = results.folds()
    videos = results.synthetic(folds[0], "heldout") if folds else {}
    if not videos:
        return []
    first = next(iter(videos.values()))[1].dropna(subset=["clip_id"]).drop_duplicates("patient_id")
    by_class = [part for _, part in first.groupby(levels(first["label"].to_numpy()), sort=True)]
    chosen = [part.iloc[i] for i in range(count) for part in by_class if i < len(part)][:count]
    task = results.task()
    task = replace(task, classes=tuple(class_names(list(task.classes))))
    rows = []
    for place in chosen:
        versions: Row = {"real": results.real_clip(place["clip_id"])}
        for name in in_order(list(videos)):
            clips, manifest = videos[name]
            at = np.flatnonzero((manifest["clip_id"] == place["clip_id"]).to_numpy())
            if len(at):
                versions[name] = clips[at[0]]
        rows.append((f"{task.show(place['label'])}, {place['patient_id']}", versions))
    return rows


def strips(rows: list[tuple[str, Row]], fps: float) -> Figure:
    """One block per first frame and one line per version: frames with their times, and the M-mode of the central column."""
    if not rows:
        figure, axes = subplots(figsize=(6, 2))
        empty(axes, "no synthetic videos")
        return figure
    rows = [(legible(title), versions) for title, versions in rows]
    use_fonts(*(title for title, _ in rows))
    columns = min(2, len(rows))
    lines = max(len(versions) for _, versions in rows)
    height = -(-len(rows) // columns)
    figure = Figure(figsize=(6.6 * columns, (0.98 * lines + 0.5) * height), layout="constrained")
    blocks = figure.subfigures(height, columns, squeeze=False)
    for block in blocks.flat[len(rows) :]:
        block.set_facecolor("none")
    for (title, versions), block in zip(rows, blocks.flat, strict=False):
        block.suptitle(title, fontsize=10)
        grid = block.subplots(len(versions), SHOWN + 1, squeeze=False, width_ratios=[1] * SHOWN + [WIDER])
        for number, (line, (name, clip)) in enumerate(zip(grid, versions.items(), strict=True)):
            times = np.linspace(0, len(clip) - 1, SHOWN).round().astype(int)
            for axes, time in zip(line, times, strict=False):
                axes.imshow(clip[time], cmap="gray", vmin=0, vmax=255, interpolation="bicubic")
                if number == 0:
                    axes.set_title("x0" if time == 0 else f"{time / fps:.2g} s", fontsize=8)
            line[-1].imshow(m_mode(clip), cmap="gray", vmin=0, vmax=255, aspect="auto")
            line[-1].set_box_aspect(1 / WIDER)  # same height as the frames beside it
            if number == 0:
                line[-1].set_title(f"M-mode, {(len(clip) - 1) / fps:.2g} s", fontsize=8)
            text = label(name) if name in REAL else f"{label(name)}\n({MARK})"
            line[0].set_ylabel(text, rotation=0, ha="right", va="center", fontsize=8)
            for axes in line:
                axes.set_xticks([])
                axes.set_yticks([])
                for spine in axes.spines.values():
                    spine.set_visible(False)
    return figure
