"""Share of stills detected as out of distribution by a model: the table of docs/models.md.

    python -m benchmarks.stills --run results/phantom BUSI=data/busi POCUS=data/pocus/pocus_images CAMUS=data/camus

The rows of `--run` are the first frames of the validation and test videos of fold 0, and the stills. If the model was trained
in that run, the validation row sets the threshold. Each NAME=FOLDER is one row for all its PNG and JPEG files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from skimage import data

from lddm.data.frames import FrameStore
from lddm.data.square import fit_square
from lddm.errors import LddmError
from lddm.io.image import decode_image
from lddm.synthesis.model_store import DEFAULT, find_model, read_about
from lddm.synthesis.out_of_distribution import compare

PHOTOGRAPHS = (
    "astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "moon", "page", "rocket",
)  # fmt: skip


def of_run(run: Path) -> Iterator[tuple[str, list[np.ndarray]]]:
    """First frames uint8 (S, S) of the validation and test videos of fold 0, and the stills, by name of the group."""
    store = FrameStore.open(run / "data/frames")
    splits = pd.read_parquet(run / "data/splits.parquet").query("fold == 0").set_index("id")
    videos = store.videos.join(splits["split"], on="id")
    for title, rows in (
        ("validation, which sets the threshold", videos.query("kind == 'video' and split == 'val'")),
        ("test", videos.query("kind == 'video' and split == 'test'")),
        ("other stills", videos.query("kind == 'image'")),
    ):
        yield f"simulated: {title}", [*store.frames[rows["first_frame"].to_numpy(dtype=np.int64)]]


def of_folder(folder: Path) -> list[np.ndarray]:
    """Images below a folder, uint8 (H, W), sorted by name.

    Raises:
        LddmError: the folder contains no image.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not paths:
        raise LddmError(f"expected PNG or JPEG files below {folder}, got none", "NAME=FOLDER names a folder of stills")
    return [decode_image(path) for path in paths]


def photographs() -> list[np.ndarray]:
    """Photographs and textures of scikit-image, uint8 (H, W)."""
    images = [getattr(data, name)() for name in PHOTOGRAPHS]
    return [image if image.ndim == 2 else np.rint(image[..., :3].mean(axis=2)).astype(np.uint8) for image in images]


def main(
    folders: Annotated[list[str] | None, typer.Argument(help="NAME=FOLDER of stills")] = None,
    run: Annotated[Path | None, typer.Option(help="results/<experiment> in which the model was trained")] = None,
    model: Annotated[str, typer.Option(help="as in `lddm animate --model`")] = DEFAULT,
) -> None:
    """Score the stills of each group and print the table."""
    about = read_about(find_model(model))
    sets = [*of_run(run)] if run is not None else []
    for name, _, folder in (text.partition("=") for text in folders or []):
        sets.append((name, of_folder(Path(folder))))
    sets.append(("photographs and textures of scikit-image", photographs()))
    typer.echo(f"| stills, with `{model}` | n | out of distribution | median score |\n|---|---|---|---|")
    for name, stills in sets:
        squares = [fit_square(still[None], about["size"], about.get("fit", "pad"))[0] for still in stills]
        compared = [one for square in squares if (one := compare(square, about)) is not None]
        if not compared:
            raise LddmError(f"{model} does not describe its training stills", "export it again with this version")
        outside = sum(one.is_out_of_distribution for one in compared)
        typer.echo(f"| {name} | {len(compared)} | {outside} | {np.median([one.score for one in compared]):.2g} |")
    typer.echo(
        f"threshold {compared[0].threshold:.3g}; score of the cat {compared[PHOTOGRAPHS.index('chelsea')].score:.2g}"
    )


if __name__ == "__main__":
    typer.run(main)
