"""Real and synthetic videos side by side: as film strips with M-mode, and as loops. Synthetic ones say so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont, ImageOps

from lddm.files import atomic_path
from lddm.report.fonts import class_names, legible, pillow_font, use_fonts
from lddm.report.style import empty, in_order, label, subplots
from lddm.task import levels

if TYPE_CHECKING:
    from lddm.report.results import Results

SHOWN = 5  # frames of a strip
WIDER = 1.6  # of the M-mode, in frames
TILE = 160  # pixels of a loop's tile
HEAD = 56  # pixels above the tiles of a loop: title, names, and what is synthetic
MARK = "synthetic"
NEAREST = "nearest training clip"
REAL = ("real", NEAREST)

Row = dict[str, np.ndarray]  # generator -> clip uint8 (T + 1, H, W), "real" first


def choose(results: Results, count: int) -> list[tuple[str, Row]]:
    """The first `count` held-out clips, spread over the patients and classes of the first fold, in all versions.

    Returns:
        For each: a title (class or target, patient) and the versions that begin with the same frame.
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
            line[-1].set_box_aspect(1 / WIDER)  # as high as the frames beside it
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


def m_mode(clip: np.ndarray) -> np.ndarray:
    """The central column over time, each frame repeated so that it can be seen: uint8 (H, 4 (T + 1))."""
    return np.repeat(clip[:, :, clip.shape[2] // 2].T, 4, axis=1)


def loop(title: str, versions: Row, fps: float, path: Path) -> Path:
    """All versions of one first frame side by side as an animated WebP."""
    title, names, clips = legible(title), list(versions), list(versions.values())
    frames = [_tiles(title, names, [clip[t] for clip in clips]) for t in range(len(clips[0]))]
    duration = round(1000 / fps)
    with atomic_path(path) as temporary:
        frames[0].save(temporary, save_all=True, append_images=frames[1:], duration=duration, loop=0, quality=80)
    return path


def _tiles(title: str, names: list[str], images: list[np.ndarray]) -> Image.Image:
    picture = Image.new("L", (TILE * len(names) + 4 * (len(names) - 1), TILE + HEAD), 255)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    draw.text((0, 0), title, fill=0, font=pillow_font(title, 14))
    for place, (name, image) in enumerate(zip(names, images, strict=True)):
        left = place * (TILE + 4)
        draw.text((left, 21), label(name), fill=0, font=font)
        draw.text((left, 37), "" if name in REAL else MARK, fill=90, font=font)
        tile = ImageOps.pad(Image.fromarray(image), (TILE, TILE), Image.Resampling.BICUBIC)  # aspect kept, on black
        picture.paste(tile, (left, HEAD))
    return picture
