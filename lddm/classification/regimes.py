"""Training sets of the regimes: real videos, and the videos that a regime adds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from lddm.data.frames import FrameStore, fold_clips, is_named
from lddm.data.synthetic import load_synthetic
from lddm.errors import LddmError

logger = logging.getLogger(__name__)

AUGMENTED_COPIES = 16  # augmented copies per real clip, in the regime real+aug


@dataclass(frozen=True)
class Clips:
    """Labelled clips: frames uint8 (n, T + 1, S, S), labels (n,), and their rows of the clips table."""

    frames: np.ndarray
    labels: np.ndarray
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.frames)


def real_clips(store: FrameStore, splits: pd.DataFrame, fold: int, part: str) -> Clips:
    """Clips of the train, val or test part of a fold whose label may be used."""
    table = fold_clips(store, splits, fold, part)
    table = table[table["labelled"]].reset_index(drop=True)
    return Clips(store.clip_frames(table), table["label"].to_numpy(), table)


def synthetic_clips(manifests: list[Path], splits: pd.DataFrame, fold: int, copies: Sequence[Path] = ()) -> Clips:
    """Read animated stills and check them against the fold.

    Args:
        copies: tables of the rule `score`; videos marked as copies of training videos are excluded.

    Raises:
        LddmError: a still shares its patient or duplicate cluster with a val or test video of the fold.
    """
    frames, table = load_synthetic(manifests)
    held_out = splits[(splits["fold"] == fold) & splits["split"].isin(["val", "test"])]
    for column in ("patient_id", "cluster"):
        common = set(table[column].dropna()) & set(held_out[column].dropna())
        if common:
            raise LddmError(
                f"leak: synthetic videos of {column} '{min(common)}', which is held out in fold {fold}",
                "run the rules split and synthesize again",
            )
    stills = table["source"] == "stills"
    if not stills.all():
        raise LddmError(
            f"{int((~stills).sum())} synthetic videos do not come from stills",
            "pass the manifests of the source 'stills'",
        )
    if copies:
        listed = pd.concat([pd.read_csv(path) for path in copies])
        unknown = set(table["sample_id"]) - set(listed["sample_id"])
        if unknown:
            raise LddmError(f"'{min(unknown)}' was not searched for copies", "run the rule score again")
        kept = ~table["sample_id"].isin(listed.loc[listed["copied"], "sample_id"]).to_numpy()
        logger.info("%d of %d synthetic videos are excluded as copies of training videos", (~kept).sum(), len(kept))
        classes = 0 if table["label"].dtype.kind == "f" else max(2, table["label"].nunique())
        frames, table = frames[kept], table[kept].reset_index(drop=True)
        if table["label"].nunique() < classes:
            raise LddmError(
                "all synthetic videos of a class are copies of training videos",
                "set classification.exclude_copies false",
            )
    return Clips(frames, table["label"].to_numpy(), table)


def pseudo_labelled_clips(store: FrameStore, splits: pd.DataFrame, fold: int, pseudo_labels: Path) -> Clips:
    """Unlabelled training clips with the labels from `lddm.classification.pseudo_labels`."""
    table = fold_clips(store, splits, fold, "train").drop(columns="label")
    table = table.merge(
        pd.read_parquet(pseudo_labels)[["clip_id", "label", "given"]], on="clip_id", validate="one_to_one"
    )
    table = table[~table["given"] & ~table["labelled"] & is_named(table["label"])].reset_index(drop=True)
    return Clips(store.clip_frames(table), table["label"].to_numpy(), table)


def augmented_clips(real: Clips, seed: int) -> Clips:
    """Classical augmentation: random translation, rotation, scale, grey levels and speed of each real clip.

    All frames of a copy share the transform, which preserves the motion.
    """
    index = np.repeat(np.arange(len(real)), AUGMENTED_COPIES)
    frames = np.stack([_augment(real.frames[i], np.random.default_rng([seed, n])) for n, i in enumerate(index)])
    return Clips(frames, real.labels[index], real.table.iloc[index].reset_index(drop=True))


def _augment(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One augmented copy of a clip uint8 (T + 1, S, S)."""
    count, size = clip.shape[:2]
    speed = rng.uniform(0.7, 1.0)  # slower only: a faster clip would need frames after the last
    times = np.minimum(np.round(np.arange(count) * speed), count - 1).astype(int)
    if rng.random() < 0.5:
        times = times[::-1]
    centre = (size - 1) / 2
    matrix = cv2.getRotationMatrix2D((centre, centre), rng.uniform(-8, 8), rng.uniform(1.0, 1.2))
    matrix[:, 2] += rng.uniform(-0.05, 0.05, 2) * size
    gamma, gain = rng.uniform(0.8, 1.25), rng.uniform(0.85, 1.15)
    levels = np.clip(255 * gain * (np.arange(256) / 255) ** gamma, 0, 255).astype(np.uint8)
    warped = [
        cv2.warpAffine(clip[t], matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        for t in times
    ]
    return levels[np.stack(warped)]
