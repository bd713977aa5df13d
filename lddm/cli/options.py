"""What the verbs of the workflow share: their options, and opening the data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import pandas as pd

    from lddm.data.frames import FrameStore


def option(text: str, *names: str) -> Callable:
    """An option with its help text."""
    return typer.Option(*names, help=text)


SettingsText = Annotated[str, option('JSON: {"seed": 0, "<section>": {...}}', "--settings")]
DataRoot = Annotated[Path, option("folder of the raw data")]
Frames = Annotated[Path, option("folder made by preprocess")]
Splits = Annotated[Path, option("table made by split")]
Fold = Annotated[int, option("fold number, from 0")]
State = Annotated[Path, option("folder of the resumable state")]
Out = Annotated[Path, option("file to write")]
OutDir = Annotated[Path, option("folder to write")]
Synthetic = Annotated[list[Path], option("synthetic shards (manifest or array); may be repeated")]
Results = Annotated[Path, option("results/<experiment>")]
Records = Annotated[Path | None, typer.Option("--record", hidden=True)]
Workers = Annotated[int, option("processes")]


def open_data(frames: Path, splits: Path) -> tuple[FrameStore, pd.DataFrame]:
    """The store and the splits table."""
    import pandas as pd

    from lddm.data.frames import FrameStore
    from lddm.files import reading

    with reading(splits, "split"):
        table = pd.read_parquet(splits)
    return FrameStore.open(frames), table
