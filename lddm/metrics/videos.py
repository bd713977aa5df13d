"""Sets of videos to score: random subsets, and pairing with clips of other patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lddm.statistics.resampling import halves

Pair = tuple[np.ndarray, np.ndarray]  # indices of reference clips, indices of videos


@dataclass(frozen=True)
class Videos:
    """Clips uint8 (n, T + 1, S, S) with their patients and their rows of the clips table."""

    clips: np.ndarray
    patients: np.ndarray
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.clips)

    def take(self, index: np.ndarray) -> Videos:
        """Select a subset."""
        return Videos(self.clips[index], self.patients[index], self.table.iloc[index].reset_index(drop=True))

    def at_most(self, count: int, seed: int) -> Videos:
        """Random subset in the original order; no first frame keeps a second video before all keep one."""
        if len(self) <= count:
            return self
        return self.take(np.sort(self.shuffled(np.random.default_rng(seed))[:count]))

    def shuffled(self, rng: np.random.Generator) -> np.ndarray:
        """All indices in random order: first one video per first frame, then a second one of each, and so on."""
        order = rng.permutation(len(self))
        return order[
            np.argsort(pd.Series(self.first_frames[order]).groupby(self.first_frames[order]).cumcount(), kind="stable")
        ]

    @property
    def first_frames(self) -> np.ndarray:
        """Id of the first frame of each video: its clip or still."""
        names = self.table["clip_id"]
        return (names.fillna(self.table["x0_id"]) if "x0_id" in self.table else names).astype(str).to_numpy()


def pairs_of_other_patients(real: Videos, videos: Videos, seed: int) -> list[Pair]:
    """Pairs of the clips of one half of the patients of `real`, and equally many videos of equally many other patients.

    Each of a few fixed splits into halves gives two pairs. Videos with distinct first frames are preferred.
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
    """Best sample of each x0: the smallest distance of a generator to the true video, not its typical distance.

    First frames with fewer samples (due to `max_videos`) are excluded, since the best of fewer samples is worse.

    Args:
        values: float (n,), one value per video.
        videos: n videos.
        higher: whether the largest value is the best.

    Returns:
        The number of samples per x0; the best value and the patient of each of m first frames, both (m,).
    """
    of_clip = pd.Series(values).groupby(videos.table["clip_id"].to_numpy())
    counts = of_clip.size()
    samples = int(counts.max())
    best = (of_clip.max() if higher else of_clip.min())[counts == samples]
    patients = videos.table.drop_duplicates("clip_id").set_index("clip_id").loc[best.index, "patient_id"]
    return samples, best.to_numpy(), patients.to_numpy()
