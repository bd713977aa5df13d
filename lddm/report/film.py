"""Images of videos side by side, drawn without matplotlib, whose import takes as long as the animation itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from lddm.files import atomic_path
from lddm.report.fonts import legible, pillow_font
from lddm.report.names import label

SHOWN = 5  # frames of a strip
WIDER = 1.6  # width of the M-mode, in frames
TILE = 160  # pixels of a tile
HEAD = 56  # pixels above the tiles of a loop: title, names, and the mark of synthetic videos
SIDE = 170  # pixels beside the frames of a strip, for the names
MARK = "synthetic"
NEAREST = "nearest training clip"
REAL = ("real", NEAREST)

Row = dict[str, np.ndarray]  # generator -> clip uint8 (T + 1, H, W), "real" first


def film_strip(title: str, versions: Row, fps: float, path: Path) -> Path:
    """One line per version as PNG: frames with their times, and the M-mode of the central column."""
    title, wide = legible(title), round(WIDER * TILE)
    height = HEAD + len(versions) * (TILE + 4)
    picture = Image.new("L", (SIDE + SHOWN * (TILE + 4) + wide, height), 255)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    draw.text((SIDE, 4), title, fill=0, font=pillow_font(title, 15))
    for line, (name, clip) in enumerate(versions.items()):
        top = HEAD + line * (TILE + 4)
        draw.text((6, top + TILE // 2 - 16), label(name), fill=0, font=font)
        draw.text((6, top + TILE // 2), "" if name in REAL else MARK, fill=90, font=font)
        for place, time in enumerate(np.linspace(0, len(clip) - 1, SHOWN).round().astype(int)):
            left = SIDE + place * (TILE + 4)
            picture.paste(_tile(clip[time]), (left, top))
            if line == 0:
                draw.text((left, HEAD - 18), "x0" if time == 0 else f"{time / fps:.2g} s", fill=0, font=font)
        left = SIDE + SHOWN * (TILE + 4)
        picture.paste(Image.fromarray(m_mode(clip)).resize((wide, TILE), Image.Resampling.BICUBIC), (left, top))
        if line == 0:
            draw.text((left, HEAD - 18), f"M-mode, {(len(clip) - 1) / fps:.2g} s", fill=0, font=font)
    with atomic_path(path) as temporary:
        picture.save(temporary)
    return path


def m_mode(clip: np.ndarray) -> np.ndarray:
    """M-mode of the central column, with each frame repeated four times for visibility: uint8 (H, 4 (T + 1))."""
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
        picture.paste(_tile(image), (left, HEAD))
    return picture


def _tile(image: np.ndarray) -> Image.Image:
    """A frame in a square black tile, with its aspect ratio preserved."""
    return ImageOps.pad(Image.fromarray(image), (TILE, TILE), Image.Resampling.BICUBIC)
