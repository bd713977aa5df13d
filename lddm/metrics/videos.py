"""Sets of videos that are scored: random subsets, and which of them are compared with clips of other patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lddm.statistics.resampling import halves

Pair = tuple[np.ndarray, np.ndarray]  # which clips of the reference, which videos


@dataclass(frozen=True)
class Videos:
    """Clips uint8 (n, T + 1, S, S) and the patient of each, and the table they come from."""

    clips: np.ndarray
    patients: np.ndarray
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.clips)

    def take(self, index: np.ndarray) -> Videos:
        """Some of them."""
        return Videos(self.clips[index], self.patients[index], self.table.iloc[index].reset_index(drop=True))

    def at_most(self, count: int, seed: int) -> Videos:
        """A random subset, in its old order; each first frame keeps one video before another keeps two."""
        if len(self) <= count:
            return self
        return self.take(np.sort(self.shuffled(np.random.default_rng(seed))[:count]))

    def shuffled(self, rng: np.random.Generator) -> np.ndarray:
        """All indices in random order: one video of each first frame, then a second one of each, and so on."""
        order = rng.permutation(len(self))
        return order[
            np.argsort(pd.Series(self.first_frames[order]).groupby(self.first_frames[order]).cumcount(), kind="stable")
        ]

    @property
    def first_frames(self) -> np.ndarray:
        """Name of the first frame of each video: its clip, or the still that it is."""
        names = self.table["clip_id"]
        return (names.fillna(self.table["x0_id"]) if "x0_id" in self.table else names).astype(str).to_numpy()


def pairs_of_other_patients(real: Videos, videos: Videos, seed: int) -> list[Pair]:
    """The clips of one half of the patients of `real`, and as many videos of as many patients that are not in it.

    Each of a few fixed divisions into halves gives two pairs; one video of each first frame is taken as far as they go.
    """
    chosen = []
    for number, side in enumerate(halves(real.patients, real.table["label"].to_numpy(), seed)):
        order = videos.shuffled(np.random.default_rng([seed, number]))
        for half in (side, ~side):
            theirs = real.patients[~half]
            patients = videos.patients[order]
            free = ~np.isin(patients, theirs)
            names = pd.unique(patients[free])[: len(np.unique(real.patients[half]))]
            taken = order[free & np.isin(patients, names)][: int(half.sum())]
            chosen.append((np.flatnonzero(~half), np.sort(taken)))
    return chosen


def best_of_samples(values: np.ndarray, videos: Videos, higher: bool) -> tuple[int, np.ndarray, np.ndarray]:
    """Best of the samples of each x0: how near the truth a generator can come, not how near it mostly is.

    First frames that lost a sample to `max_videos` are left out: the best of fewer is worse.

    Args:
        values: float (n,), one of each video.
        videos: n videos.
        higher: whether the largest value is the best.

    Returns:
        The number of samples of each x0, and the best value and the patient of each of m first frames, both (m,).
    """
    of_clip = pd.Series(values).groupby(videos.table["clip_id"].to_numpy())
    counts = of_clip.size()
    samples = int(counts.max())
    best = (of_clip.max() if higher else of_clip.min())[counts == samples]
    patients = videos.table.drop_duplicates("clip_id").set_index("clip_id").loc[best.index, "patient_id"]
    return samples, best.to_numpy(), patients.to_numpy()
