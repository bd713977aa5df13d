"""One still animated at its own size and at the size of the model: docs/images/native.png, and native.webp, which moves.

    python -m benchmarks.native_picture results/phantom/fold-0/generators/lddm/bundle docs/images/native.png [STILL]

Without STILL (a PNG or JPEG) a phantom is simulated at four times the size of the model, so that the picture is free of any
licence.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from lddm.data.sources.phantom import simulate
from lddm.files import atomic_path
from lddm.io.image import read_image
from lddm.settings.data import PhantomSource
from lddm.synthesis.animate import Animator

SHOWN = (0, 4, 8, 12, 16)  # frames
LARGER, SEED, LABEL = 4, 11, 1


def picture(bundle: Path, out: Path, still: Path | None = None) -> None:
    """Animate one still at both sizes and write the figure."""
    animator = Animator.load(bundle)
    if still is None:
        source = PhantomSource(kind="phantom", size=LARGER * animator.size, frames=2)
        image, label = simulate(np.random.default_rng(SEED), source, LABEL)[0][0], LABEL
    else:
        image, label = read_image(still).frames[0], -1
    rows = {
        f"{image.shape[0]} x {image.shape[1]}: the still's own size": animator.animate(image, 1, SEED, label)[0],
        f"{animator.size} x {animator.size}: the size of the model": animator.animate(
            image, 1, SEED, label, size="model"
        )[0],
    }
    figure = Figure(figsize=(2.4 * len(SHOWN), 2.8 * len(rows)), layout="constrained")
    for part, (title, video) in zip(figure.subfigures(len(rows)), rows.items(), strict=True):
        part.suptitle(title, fontsize=11)
        for axis, number in zip(part.subplots(1, len(SHOWN)), SHOWN, strict=True):
            axis.imshow(video[min(number, len(video) - 1)], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axis.set_title("still" if number == 0 else f"synthetic frame {number}", fontsize=8)
            axis.axis("off")
    with atomic_path(out) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    moving(rows, animator.fps, out.with_suffix(".webp"))


def moving(rows: dict[str, np.ndarray], fps: float, out: Path) -> None:
    """Videos uint8 (T + 1, H, W) side by side as an animated WebP, as large as the largest; smaller ones are enlarged."""
    side = max(video.shape[1] for video in rows.values())
    font = ImageFont.load_default(13)
    frames = []
    for time in range(len(next(iter(rows.values())))):
        picture = Image.new("L", ((side + 6) * len(rows) - 6, side + 40), 255)
        for place, (title, video) in enumerate(rows.items()):
            draw = ImageDraw.Draw(picture)
            draw.text((place * (side + 6), 2), title, fill=0, font=font)
            draw.text((place * (side + 6), 19), "synthetic" if time else "the still", fill=90, font=font)
            tile = Image.fromarray(video[time]).resize((side, side), Image.Resampling.NEAREST)
            picture.paste(tile, (place * (side + 6), 40))
        frames.append(picture)
    with atomic_path(out) as temporary:
        frames[0].save(
            temporary, save_all=True, append_images=frames[1:], duration=round(1000 / fps), loop=0, quality=70
        )


if __name__ == "__main__":
    picture(*(Path(argument) for argument in sys.argv[1:4]))
