"""Options shared by the workflow commands, and functions that open the data."""

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
    """Option with a help text."""
    return typer.Option(*names, help=text)


SettingsFile = Annotated[str, option("settings/<stage>.yaml of an experiment, or a complete config", "--settings")]
WholeConfig = Annotated[str, option("settings/whole.yaml of an experiment, or a complete config", "--settings")]
DataRoot = Annotated[Path, option("folder of the raw data")]
Frames = Annotated[Path, option("folder written by preprocess")]
Splits = Annotated[Path, option("table written by split")]
Motion = Annotated[Path | None, option("motion of the clips, written by measure-motion; for decoder warp")]
Fold = Annotated[int, option("fold number, from 0")]
State = Annotated[Path, option("folder of the resumable state")]
Out = Annotated[Path, option("file to write")]
OutDir = Annotated[Path, option("folder to write")]
Synthetic = Annotated[
    list[Path], option("folder of synthetic shards, with --shards; or one shard (manifest or array); may be repeated")
]
Shards = Annotated[int | None, option("number of shards in each folder of --synthetic")]
Results = Annotated[Path, option("results/<experiment>")]
Records = Annotated[Path | None, typer.Option("--record", hidden=True)]
Workers = Annotated[int, option("number of processes")]


def open_data(frames: Path, splits: Path) -> tuple[FrameStore, pd.DataFrame]:
    """Open the frame store and the table of splits."""
    from lddm.data.frames import SPLIT_COLUMNS, FrameStore
    from lddm.files import read_table

    table = read_table(splits, "split", SPLIT_COLUMNS)
    return FrameStore.open(frames), table


def open_model_data(frames: Path, splits: Path) -> tuple[FrameStore, pd.DataFrame]:
    """As `open_data`, with frames at the input size of the generators."""
    store, table = open_data(frames, splits)
    return store.at_model_size(), table


def open_motion(path: Path | None) -> MeasuredMotion | None:
    """Load the file written by measure-motion; None without a path."""
    from lddm.autoencoder.measured import MeasuredMotion

    return MeasuredMotion.load(path) if path else None


def shard_files(synthetic: list[Path], shards: int | None) -> list[Path]:
    """Manifests of synthetic videos; for a folder, those of shards 0 to `shards` - 1 only.

    Raises:
        LddmError: a folder without --shards.
    """
    files: list[Path] = []
    for path in synthetic:
        if not path.is_dir():
            files.append(path)
            continue
        if shards is None:
            raise LddmError(f"--synthetic {path} is a folder", "pass the number of its shards with --shards")
        files += [path / f"shard-{number}.parquet" for number in range(shards)]
    return files
