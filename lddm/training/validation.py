"""Selection of the validation clips that determine which weights are kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest

import numpy as np
import pandas as pd


def spread_clips(clips: pd.DataFrame, count: int) -> np.ndarray:
    """Select clips evenly over patients: one clip of each patient, then a second one of each, and so on.

    The clips of a patient come from as many videos as possible, and those of a video are spread over its length.

    Args:
        clips: table with the columns patient_id and id (of the video), in a fixed order.
        count: number of clips; at least one per patient is selected, even if that is more.

    Returns:
        Positions in `clips`, int64, ascending.
    """
    numbered = clips[["patient_id", "id"]].astype(str).assign(position=np.arange(len(clips)))
    patients = []
    for _, of_patient in numbered.groupby("patient_id", sort=True):
        videos = [_spread(of_video["position"].tolist()) for _, of_video in of_patient.groupby("id", sort=True)]
        patients.append(list(_in_turn(videos)))
    chosen = list(_in_turn(patients))[: max(count, len(patients))]
    return np.sort(np.array(chosen, dtype=np.int64))


def _spread(members: list[int]) -> list[int]:
    """Reorder by reversed binary digits, so that every prefix is spread over the whole list."""
    return [members[i] for i in sorted(range(len(members)), key=lambda i: f"{i:032b}"[::-1])]


def _in_turn(groups: Iterable[list[int]]) -> Iterator[int]:
    """The first of each group, then the second of each, and so on."""
    return (member for turn in zip_longest(*groups) for member in turn if member is not None)
