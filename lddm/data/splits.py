"""Folds by patient and duplicate cluster, made before anything is trained."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from lddm.data.duplicates import connected
from lddm.errors import LddmError
from lddm.settings.data import SplitSettings

COLUMNS = ["fold", "id", "kind", "label", "patient_id", "cluster", "group", "split", "labelled"]


def make_splits(videos: pd.DataFrame, settings: SplitSettings, seed: int) -> pd.DataFrame:
    """Divide the usable files of a frame store.

    A group is a connected component of patients and clusters over videos and stills; it is never divided. The videos
    of fold k's groups are its test part, some of the others its val part. A still is in "train" (the pool of labelled
    stills), unless its group holds test or val videos of the fold: then it is "withheld".

    Args:
        videos: videos.parquet of the store.

    Returns:
        A row for each fold and usable file: fold, id, kind, label, patient_id, cluster, group, split, and labelled:
        whether training may know its label.

    Raises:
        LddmError: a class has too few patients.
    """
    usable = videos[videos["excluded"].isna()].sort_values("id").reset_index(drop=True)
    usable["group"] = _groups(usable)
    moving = usable[usable["kind"] == "video"]
    # The label of a group is that of most of its videos.
    by_group = moving.groupby("group")["label"].agg(lambda labels: labels.mode().iloc[0]).sort_index()
    _check_counts(by_group, settings)
    folder = StratifiedGroupKFold(settings.folds, shuffle=True, random_state=seed)
    names, labels = by_group.index.to_numpy(), by_group.to_numpy()
    parts = []
    for fold, (rest, test) in enumerate(folder.split(names, labels, groups=names)):
        val = _choose_val(names[rest], labels[rest], settings, np.random.default_rng([seed, fold]))
        split = usable["group"].map(dict.fromkeys(names[test], "test") | dict.fromkeys(val, "val")).fillna("train")
        still = usable["kind"] == "image"
        split = split.mask(still & (split != "train"), "withheld")
        table = usable.assign(fold=fold, split=split, labelled=True)
        pool = table[(table["split"] == "train") & ~still]
        hidden = np.setdiff1d(np.arange(len(pool)), choose_videos(pool, settings.labelled_videos, seed))
        table.loc[pool.index[hidden], "labelled"] = False
        parts.append(table[COLUMNS])
    return pd.concat(parts, ignore_index=True)


def choose_videos(table: pd.DataFrame, count: int | None, seed: int) -> np.ndarray:
    """Rows of `count` videos, half of each class, patient by patient.

    Nested: for one seed, the choice of 16 videos is part of the choice of 32, and it is the same for all regimes.

    Args:
        table: videos or clips with id, patient_id and label.
        count: number of videos; None is all.
    """
    if count is None:
        return np.arange(len(table))
    rng = np.random.default_rng([seed, 7])
    chosen: list[str] = []
    labels = sorted(table["label"].unique())
    for place, label in enumerate(labels):
        members = table[table["label"] == label]
        patients = sorted(members["patient_id"].unique())
        order = {patients[i]: rank for rank, i in enumerate(rng.permutation(len(patients)))}
        videos = members.drop_duplicates("id").sort_values("id", kind="stable")
        videos = videos.assign(rank=videos["patient_id"].map(order)).sort_values("rank", kind="stable")
        share = count // len(labels) + (place < count % len(labels))
        chosen += videos["id"].head(share).tolist()
    return np.flatnonzero(table["id"].isin(chosen).to_numpy())


def _groups(table: pd.DataFrame) -> list[str]:
    pairs = []
    for column in ("patient_id", "cluster"):
        for _, members in table[table[column].notna()].groupby(column):
            pairs += [(members.index[0], other) for other in members.index[1:]]
    names = [""] * len(table)
    for members in connected(len(table), pairs):
        for member in members:
            names[member] = f"group-{members[0]:05d}"
    return names


def _choose_val(names: np.ndarray, labels: np.ndarray, settings: SplitSettings, rng: np.random.Generator) -> list[str]:
    """`val_fraction` of the groups of each class, at least one."""
    chosen: list[str] = []
    for label in np.unique(labels):
        members = names[labels == label]
        count = max(1, round(settings.val_fraction * len(members)))
        chosen += rng.permutation(members)[:count].tolist()
    return chosen


def _check_counts(by_group: pd.Series, settings: SplitSettings) -> None:
    counts = by_group.value_counts()
    # One fold is tested, part of the rest validated; what is left must hold min_patients.
    left = {
        label: count - -(-count // settings.folds) - max(1, round(settings.val_fraction * count))
        for label, count in counts.items()
    }
    for label in sorted(set(counts.index) | {0, 1}):
        if counts.get(label, 0) < settings.folds or left.get(label, 0) < settings.min_patients:
            listed = ", ".join(f"label {k}: {v}" for k, v in sorted(counts.items()))
            raise LddmError(
                f"label {label} has {counts.get(label, 0)} patients (or clusters) with usable videos, too few for "
                f"{settings.folds} folds with at least {settings.min_patients} in train ({listed})",
                "lower split.folds or split.min_patients, or add data",
            )


def check_no_leak(splits: pd.DataFrame) -> None:
    """Raise LddmError if a patient or cluster of a fold stands in more than one part; the last guard before training.

    Withheld stills may share a patient with test or val; stills in train may not.
    """
    seen = splits[splits["split"] != "withheld"]
    for column in ("patient_id", "cluster"):
        known = seen[seen[column].notna()]
        parts = known.groupby(["fold", column])["split"].nunique()
        leaks = parts[parts > 1]
        if len(leaks):
            fold, name = leaks.index[0]
            where = sorted(known[(known["fold"] == fold) & (known[column] == name)]["split"].unique())
            raise LddmError(
                f"leak: {column} '{name}' is in {' and '.join(where)} of fold {fold} ({len(leaks)} leaks in all)",
                "make the splits with `lddm split`; do not edit them by hand",
            )
