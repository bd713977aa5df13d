"""What the commands of the workflow share: their options, and opening the data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lddm.errors import LddmError

if TYPE_CHECKING:
    import pandas as pd

    from lddm.autoencoder.measured import MeasuredMotion
    from lddm.data.frames import FrameStore


def option(text: str, *names: str) -> Callable:
    """An option with its help text."""
    return typer.Option(*names, help=text)


SettingsFile = Annotated[str, option("settings/<stage>.yaml of an experiment, or a whole config", "--settings")]
WholeConfig = Annotated[str, option("settings/whole.yaml of an experiment, or a whole config", "--settings")]
DataRoot = Annotated[Path, option("folder of the raw data")]
Frames = Annotated[Path, option("folder made by preprocess")]
Splits = Annotated[Path, option("table made by split")]
Motion = Annotated[Path | None, option("motion of the clips, made by measure-motion; for decoder warp")]
Fold = Annotated[int, option("fold number, from 0")]
State = Annotated[Path, option("folder of the resumable state")]
Out = Annotated[Path, option("file to write")]
OutDir = Annotated[Path, option("folder to write")]
Synthetic = Annotated[
    list[Path], option("folder of synthetic shards, with --shards; or one shard (manifest or array); may be repeated")
]
Shards = Annotated[int | None, option("shards in each folder of --synthetic")]
Results = Annotated[Path, option("results/<experiment>")]
Records = Annotated[Path | None, typer.Option("--record", hidden=True)]
Workers = Annotated[int, option("processes")]


def open_data(frames: Path, splits: Path) -> tuple[FrameStore, pd.DataFrame]:
    """The store and the splits table."""
    from lddm.data.frames import SPLIT_COLUMNS, FrameStore
    from lddm.files import read_table

    table = read_table(splits, "split", SPLIT_COLUMNS)
    return FrameStore.open(frames), table


def open_model_data(frames: Path, splits: Path) -> tuple[FrameStore, pd.DataFrame]:
    """As `open_data`, with frames of the size that the generators are trained on."""
    store, table = open_data(frames, splits)
    return store.at_model_size(), table


def open_motion(path: Path | None) -> MeasuredMotion | None:
    """What measure-motion wrote, or None without a path."""
    from lddm.autoencoder.measured import MeasuredMotion

    return MeasuredMotion.load(path) if path else None


def shard_files(synthetic: list[Path], shards: int | None) -> list[Path]:
    """Manifests of synthetic videos: of a folder shard 0 to `shards` - 1, whatever else lies there.

    Raises:
        LddmError: a folder without --shards.
    """
    files: list[Path] = []
    for path in synthetic:
        if not path.is_dir():
            files.append(path)
            continue
        if shards is None:
            raise LddmError(f"--synthetic {path} is a folder", "say with --shards how many shards it has")
        files += [path / f"shard-{number}.parquet" for number in range(shards)]
    return files
