"""Preprocessed data of an experiment: memory-mapped frames and the tables that describe them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lddm.data.square import reduced
from lddm.errors import LddmError
from lddm.files import read_json, read_table, reading

if TYPE_CHECKING:
    import pandas as pd

# Required columns of the tables.
VIDEO_COLUMNS = ("id", "first_frame")
SPLIT_COLUMNS = ("fold", "id", "kind", "group", "split", "labelled")
CLIP_COLUMNS = ("clip_id", "id", "first_frame", "label", "patient_id", "excluded")


class ReducedFrames:
    """Stored frames, downsampled on access for a model of smaller size.

    Args:
        frames: uint8 (N, k S, k S).
        size: S.
    """

    def __init__(self, frames: np.ndarray, size: int):
        self.frames, self.size = frames, size
        self.shape, self.dtype = (len(frames), size, size), frames.dtype

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index) -> np.ndarray:
        return reduced(self.frames[index], self.size)


@dataclass(frozen=True)
class FrameStore:
    """Output of the rule `preprocess`.

    Attributes:
        frames: uint8 (N, S, S), memory-mapped: the frames of all files, concatenated.
        videos: the completed index, one row per file, with `first_frame` and `stored_frames`.
        clips: one row per clip of T + 1 frames, with `first_frame` (offset in `frames`) and `excluded` (reason or null).
        meta: size S in pixels, model_size, fps in Hz, clip_length T, classes.
    """

    frames: np.ndarray | ReducedFrames
    videos: pd.DataFrame
    clips: pd.DataFrame
    meta: dict

    @classmethod
    def open(cls, folder: str | Path) -> FrameStore:
        """Open the folder; frames stay on disk until they are used.

        Raises:
            LddmError: a file is missing, or the files are inconsistent.
        """
        folder = Path(folder)
        with reading(folder / "meta.json", "preprocess"):
            meta = read_json(folder / "meta.json")
            shape = (int(meta["size"]), int(meta["size"]))
            length = int(meta["clip_length"])
        with reading(folder / "frames.npy", "preprocess"):
            frames = np.load(folder / "frames.npy", mmap_mode="r", allow_pickle=False)
        videos = read_table(folder / "videos.parquet", "preprocess", VIDEO_COLUMNS)
        clips = read_table(folder / "clips.parquet", "preprocess", CLIP_COLUMNS)
        with reading(folder / "clips.parquet", "preprocess"):
            last = int(clips["first_frame"].max()) + length + 1 if len(clips) else 0
        if frames.dtype != np.uint8 or frames.shape[1:] != shape:
            raise LddmError(
                f"{folder}/frames.npy: expected uint8 frames of {shape[0]} pixels, got {frames.dtype} {frames.shape}",
                "run the rule preprocess again",
            )
        if last > len(frames):
            raise LddmError(
                f"{folder}: clips reach frame {last}, but there are {len(frames)}", "run the rule preprocess again"
            )
        return cls(frames, videos, clips, meta)

    @property
    def size(self) -> int:
        """Height and width S in pixels."""
        return self.meta["size"]

    def at_model_size(self) -> FrameStore:
        """The same store at the frame size of the networks of both stages; larger stored frames are downsampled."""
        size = self.meta.get("model_size", self.size)
        if size == self.size or isinstance(self.frames, ReducedFrames):
            return self
        return replace(self, frames=ReducedFrames(self.frames, size), meta=self.meta | {"size": size})

    @property
    def fps(self) -> float:
        """Frame rate in Hz."""
        return self.meta["fps"]

    @property
    def clip_length(self) -> int:
        """T: frames of a clip after x0."""
        return self.meta["clip_length"]

    def clip_frames(self, clips: pd.DataFrame) -> np.ndarray:
        """Frames of the clips, x0 first: uint8 (n, T + 1, S, S)."""
        length = self.clip_length + 1
        starts = clips["first_frame"].to_numpy(dtype=np.int64)
        return self.frames[starts[:, None] + np.arange(length)]  # (n, T + 1, S, S)

    def still_frames(self, videos: pd.DataFrame) -> np.ndarray:
        """The first frame of each file: uint8 (n, S, S)."""
        return self.frames[videos["first_frame"].to_numpy(dtype=np.int64)]


def is_named(labels: pd.Series) -> pd.Series:
    """Mask of known labels; unknown ones are -1 for classes (int) and NaN for targets (float)."""
    return labels.notna() if labels.dtype.kind == "f" else labels >= 0


def fold_clips(store: FrameStore, splits: pd.DataFrame, fold: int, split: str) -> pd.DataFrame:
    """The usable clips of one part (train, val or test) of a fold, in a fixed order; `labelled`: the label may be used.

    `patient_id` is the id of the group: patients who share a recording, or a duplicate of one, are a single unit for
    resampling and for splits.

    Raises:
        LddmError: there are no usable clips.
    """
    part = splits[(splits["fold"] == fold) & (splits["split"] == split) & (splits["kind"] == "video")]
    clips = store.clips[store.clips["excluded"].isna() & store.clips["id"].isin(part["id"])]
    known = part.set_index("id")
    clips = clips.assign(
        labelled=clips["id"].map(known["labelled"]).astype(bool), patient_id=clips["id"].map(known["group"]).astype(str)
    )
    if clips.empty:
        raise LddmError(
            f"fold {fold} has no usable {split} clips", "see the exclusion reasons in data/frames/clips.parquet"
        )
    return clips.sort_values(["id", "first_frame"]).reset_index(drop=True)


def fold_stills(store: FrameStore, splits: pd.DataFrame, fold: int) -> pd.DataFrame:
    """The still images that the generators of a fold may animate for training, without those of val or test patients."""
    part = splits[(splits["fold"] == fold) & (splits["split"] == "train") & (splits["kind"] == "image")]
    stills = store.videos[store.videos["excluded"].isna() & store.videos["id"].isin(part["id"])]
    return stills.sort_values("id").reset_index(drop=True)
