"""Synthetic videos on disk: an array of clips, and a manifest with the origin of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lddm.errors import LddmError
from lddm.files import atomic_path, read_table, reading

MANIFEST = (
    "sample_id",
    "generator",
    "source",
    "x0_id",
    "clip_id",
    "label",
    "class_name",
    "patient_id",
    "cluster",
    "sample",
    "seed",
)


def save_synthetic(array_path: str | Path, clips: np.ndarray, manifest: pd.DataFrame) -> None:
    """Write one shard: `array_path` (.npy, uint8 (n, T + 1, S, S), x0 first) and the manifest (.parquet) beside it.

    The array is written last, so that an array on disk always has a manifest.
    """
    array_path = Path(array_path)
    if len(clips) != len(manifest) or clips.dtype != np.uint8 or clips.ndim != 4:
        raise ValueError(f"{len(manifest)} manifest rows for clips {clips.dtype} {clips.shape}")
    with atomic_path(array_path.with_suffix(".parquet")) as temporary:
        manifest.loc[:, list(MANIFEST)].to_parquet(temporary, index=False)
    with atomic_path(array_path) as temporary:
        np.save(temporary, clips, allow_pickle=False)


def load_synthetic(manifests: Sequence[str | Path]) -> tuple[np.ndarray, pd.DataFrame]:
    """Read and concatenate shards.

    Args:
        manifests: paths of the shards: manifest (.parquet) or array (.npy).

    Returns:
        uint8 (n, T + 1, S, S) with x0 first, and the manifest, one row per video in the same order.

    Raises:
        LddmError: no shard, a missing file, or a manifest that does not match its array.
    """
    if not manifests:
        raise LddmError("expected synthetic videos, got no file", "run the rule synthesize")
    arrays, tables = [], []
    for path in map(Path, manifests):
        table = read_table(path.with_suffix(".parquet"), "synthesize", MANIFEST)
        with reading(path.with_suffix(".npy"), "synthesize"):
            array = np.load(path.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
        if len(table) != len(array):
            raise LddmError(
                f"{path}: {len(table)} manifest rows for {len(array)} videos", "run the rule synthesize again"
            )
        arrays.append(array)
        tables.append(table)
    return np.concatenate(arrays), pd.concat(tables, ignore_index=True)
