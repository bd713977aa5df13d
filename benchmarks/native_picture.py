"""Picture docs/images/native.webp: one still animated at native size and at the size of the model.

    python -m benchmarks.native_picture results/phantom/fold-0/generators/lddm/bundle docs/images/native.webp [STILL]

Without STILL (a PNG or JPEG), a phantom is simulated at four times the size of the model, so that no licence applies to the
picture.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lddm.data.sources.phantom import simulate
from lddm.files import atomic_path
from lddm.io.image import read_image
from lddm.settings.data import PhantomSource
from lddm.synthesis.animate import Animator

LARGER, SEED, LABEL = 4, 11, 1
HEAD, GAP = 40, 6  # pixels above and between the videos


def picture(bundle: Path, out: Path, still: Path | None = None) -> None:
    """Animate one still at both sizes and write the picture."""
    animator = Animator.load(bundle)
    if still is None:
        source = PhantomSource(kind="phantom", size=LARGER * animator.size, frames=2)
        image, label = simulate(np.random.default_rng(SEED), source, LABEL)[0][0], LABEL
    else:
        image, label = read_image(still).frames[0], -1
    videos = {
        f"{image.shape[0]} x {image.shape[1]}: the still's own size": animator.animate(image, 1, SEED, label)[0],
        f"{animator.size} x {animator.size}: the size of the model": animator.animate(
            image, 1, SEED, label, size="model"
        )[0],
    }
    write(videos, animator.fps, out)


def write(videos: dict[str, np.ndarray], fps: float, out: Path) -> None:
    """Write videos uint8 (T + 1, H, W) side by side as an animated WebP, upsampled to the size of the largest."""
    side = max(video.shape[1] for video in videos.values())
    font, frames = ImageFont.load_default(13), []
    for time in range(len(next(iter(videos.values())))):
        frame = Image.new("L", ((side + GAP) * len(videos) - GAP, side + HEAD), 255)
        draw = ImageDraw.Draw(frame)
        for place, (title, video) in enumerate(videos.items()):
            left = place * (side + GAP)
            draw.text((left, 2), title, fill=0, font=font)
            draw.text((left, 19), "synthetic" if time else "the still", fill=90, font=font)
            frame.paste(Image.fromarray(video[time]).resize((side, side), Image.Resampling.NEAREST), (left, HEAD))
        frames.append(frame)
    with atomic_path(out) as temporary:
        frames[0].save(
            temporary, save_all=True, append_images=frames[1:], duration=round(1000 / fps), loop=0, quality=70
        )


if __name__ == "__main__":
    picture(*(Path(argument) for argument in sys.argv[1:4]))
