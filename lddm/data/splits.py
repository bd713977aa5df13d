"""Folds by patient and duplicate cluster, made before anything is trained."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from lddm.data.duplicates import connected
from lddm.errors import LddmError
from lddm.settings.data import SplitSettings
from lddm.task import LEVELS, levels

logger = logging.getLogger(__name__)

FEW_VALIDATION = 10  # groups per class below which model selection and decision threshold are unreliable
COLUMNS = ["fold", "id", "kind", "label", "patient_id", "cluster", "group", "split", "labelled"]


def make_splits(videos: pd.DataFrame, settings: SplitSettings, seed: int, classes: int = 2) -> pd.DataFrame:
    """Split the usable files of a frame store.

    A group is a connected component of patients and clusters over videos and stills; it is never split. The videos
    of fold k's groups are its test set, some of the others its val set. A still is in "train" (the pool of labelled
    stills), unless its group has test or val videos in the fold: then it is "withheld".

    Folds and validation sets are stratified by class, or by quartile of the target, and also by source if there are several
    and each has enough groups; otherwise a set could contain a class from only one clinic.

    Args:
        videos: videos.parquet of the store.
        classes: number of classes; 0 = labels are targets.

    Returns:
        One row per fold and usable file: fold, id, kind, label, patient_id, cluster, group, split, and labelled
        (whether training may use the label).

    Raises:
        LddmError: a class, or a quartile of the target, has too few patients.
    """
    usable = videos[videos["excluded"].isna()].sort_values("id").reset_index(drop=True)
    usable["group"] = _groups(usable)
    moving = usable[usable["kind"] == "video"]
    by_group = _group_labels(moving)
    _check_counts(by_group, settings, _class_names(usable, classes), len(moving), classes or by_group.nunique())
    from sklearn.model_selection import StratifiedGroupKFold  # here: jobs that only read splits do without

    folder = StratifiedGroupKFold(settings.folds, shuffle=True, random_state=seed)
    names, labels = by_group.index.to_numpy(), by_group.to_numpy()
    strata = _strata(moving, by_group, settings.folds)
    parts = []
    for fold, (rest, test) in enumerate(folder.split(names, strata, groups=names)):
        rng = np.random.default_rng([seed, fold])
        val = _choose_val(names[rest], labels[rest], strata[rest], settings, rng)
        split = usable["group"].map(dict.fromkeys(names[test], "test") | dict.fromkeys(val, "val")).fillna("train")
        still = usable["kind"] == "image"
        split = split.mask(still & (split != "train"), "withheld")
        table = usable.assign(fold=fold, split=split, labelled=True)
        pool = table[(table["split"] == "train") & ~still]
        hidden = np.setdiff1d(np.arange(len(pool)), choose_videos(pool, settings.max_labelled_videos, seed))
        table.loc[pool.index[hidden], "labelled"] = False
        if settings.validation_labels == "within_budget":
            table.loc[table["split"] == "val", "labelled"] = False
        parts.append(table[COLUMNS])
    splits = pd.concat(parts, ignore_index=True)
    levels_known = splits.assign(label=splits["group"].map(by_group).fillna(-1).astype(int))
    if settings.validation_labels == "extra":
        _warn_of_few(levels_known[levels_known["fold"] < settings.folds_to_run], _class_names(usable, classes))
    return splits


def check_stills(splits: pd.DataFrame, folds: int) -> None:
    """Refuse folds whose pool of stills lacks a class, because no synthetic videos of it could be made.

    Args:
        splits: from `make_splits`.
        folds: number of folds that are run.

    Raises:
        LddmError: a class has no still; raised before any training.
    """
    for fold, part in splits[splits["fold"] < folds].groupby("fold"):
        pool = part[(part["kind"] == "image") & (part["split"] == "train")]
        if len(pool) == 0 and part["label"].dtype.kind == "f":
            raise LddmError(
                f"fold {fold} has no still image to animate",
                "add images with a target, or set synthesis.samples.stills to 0 and classification.regimes to [real]",
            )
        classes = part["label"].dtype.kind != "f"
        missing = sorted(set(part.loc[part["kind"] == "video", "label"]) - set(pool["label"])) if classes else []
        if missing:
            raise LddmError(
                f"fold {fold} has no still image of label {', '.join(map(str, missing))} to animate: {len(pool)} images are "
                "of patients without validation or test videos",
                "add images of each class, or set synthesis.samples.stills to 0 and classification.regimes to [real]",
            )


def choose_videos(table: pd.DataFrame, count: int | None, seed: int) -> np.ndarray:
    """Rows of `count` videos, balanced over classes, patient by patient; a smaller class is used completely, with a warning.

    For numeric targets, quartiles are used as classes.

    Selections are nested: for one seed, the 16 videos are among the 32, and the selection is the same for all regimes.

    Args:
        table: videos or clips with id, patient_id and label.
        count: number of videos; None is all.
    """
    if count is None:
        return np.arange(len(table))
    rng = np.random.default_rng([seed, 7])
    chosen: list[str] = []
    level = levels(table["label"].to_numpy())
    labels = sorted(np.unique(level))
    for place, label in enumerate(labels):
        members = table[level == label]
        patients = sorted(members["patient_id"].unique())
        order = {patients[i]: rank for rank, i in enumerate(rng.permutation(len(patients)))}
        videos = members.drop_duplicates("id").sort_values("id", kind="stable")
        videos = videos.assign(rank=videos["patient_id"].map(order)).sort_values("rank", kind="stable")
        share = count // len(labels) + (place < count % len(labels))
        if len(videos) < share:
            logger.warning(
                "label %s has %d videos, fewer than its share of the %d requested: the classes are not balanced",
                label, len(videos), count,
            )  # fmt: skip
        chosen += videos["id"].head(share).tolist()
    return np.flatnonzero(table["id"].isin(chosen).to_numpy())


def _groups(table: pd.DataFrame) -> list[str]:
    pairs = []
    for column in ("patient_id", "cluster"):
        for _, members in table[table[column].notna()].groupby(column):
            pairs += [(members.index[0], other) for other in members.index[1:]]
    names = [""] * len(table)
    for members in connected(len(table), pairs):
        patients = table.loc[members, "patient_id"].dropna().astype(str)
        for member in members:  # named after one of its patients, since no patient is in two groups
            names[member] = min(patients) if len(patients) else f"group-{members[0]:05d}"
    return names


def _group_labels(moving: pd.DataFrame) -> pd.Series:
    """Group -> most frequent class of its videos, or quartile of their mean target; int, sorted by group."""
    labels = moving.groupby("group")["label"]
    if moving["label"].dtype.kind == "f":
        mean = labels.mean().sort_index()
        return pd.Series(levels(mean.to_numpy()), index=mean.index)
    return labels.agg(lambda found: found.mode().iloc[0]).sort_index()


def _class_names(table: pd.DataFrame, classes: int = 2) -> dict[int, str]:
    """Label -> "class 'name'", or "label 0" if the table has no names; quartiles of the target for 0 classes."""
    if classes == 0:
        return {level: f"quartile {level + 1} of the target" for level in range(LEVELS)}
    names = {label: f"label {label}" for label in range(classes)}
    if "class_name" in table:
        known = table.dropna(subset="class_name").drop_duplicates("label")
        names |= {int(row.label): f"class '{row.class_name}'" for row in known.itertuples()}
    return names


def origins(table: pd.DataFrame) -> pd.Series:
    """Origin of each file: its source and top folder, which distinguishes two sources of one kind."""
    if "source" not in table or "path" not in table:
        return pd.Series("", index=table.index)
    tops = [path.split("/")[0].split(":")[0] for path in table["path"].astype(str)]
    names = [kind if top == kind else f"{kind} {top}" for kind, top in zip(table["source"], tops, strict=True)]
    return pd.Series(names, index=table.index, dtype=object)


def _strata(moving: pd.DataFrame, by_group: pd.Series, folds: int) -> np.ndarray:
    """Strata of the groups: label and source; label only, if a class of the source has fewer groups than folds."""
    labels = by_group.to_numpy()
    origin = origins(moving)
    if origin.nunique() < 2:
        return labels
    source = origin.groupby(moving["group"]).agg(lambda found: found.mode().iloc[0]).reindex(by_group.index)
    joint = pd.Series([f"{label} {name}" for label, name in zip(labels, source, strict=True)])
    rare = joint.map(joint.value_counts()) < folds
    return joint.mask(rare, pd.Series(labels).astype(str)).to_numpy()


def _choose_val(
    names: np.ndarray, labels: np.ndarray, strata: np.ndarray, settings: SplitSettings, rng: np.random.Generator
) -> list[str]:
    """`val_fraction` of the groups of each class, at least one, spread evenly over the strata of the class."""
    chosen: list[str] = []
    for label in np.unique(labels):
        members, inside = names[labels == label], strata[labels == label]
        count = max(1, round(settings.val_fraction * len(members)))
        order = rng.permutation(len(members))
        rank = pd.Series(inside[order]).groupby(inside[order]).rank(method="first", pct=True)
        # The first of each stratum, then the second, ... in proportion to size; a single stratum keeps its order.
        chosen += members[order[np.argsort(rank.to_numpy(), kind="stable")]][:count].tolist()
    return chosen


def _room(count: int, folds: int, val_fraction: float) -> int:
    """Groups of a class that remain in train after test and val."""
    return count - -(-count // folds) - max(1, round(val_fraction * count))


def _enough(count: int, folds: int, val_fraction: float, in_train: int) -> bool:
    return count >= folds and _room(count, folds, val_fraction) >= in_train


def fitting_split(count: int, settings: SplitSettings) -> tuple[int, int] | None:
    """The largest (folds, min_patients), at most the configured ones, for `count` patients of the smaller class."""
    choices = (
        (folds, least)
        for folds in range(min(settings.folds, count), 1, -1)
        for least in range(settings.min_patients, min(settings.min_patients, 2) - 1, -1)
        if _enough(count, folds, settings.val_fraction, least)
    )
    return next(choices, None)


def _check_counts(
    by_group: pd.Series, settings: SplitSettings, names: dict[int, str], videos: int, classes: int
) -> None:
    counts = {label: int((by_group == label).sum()) for label in sorted(set(by_group) | set(range(classes)))}
    fraction = settings.val_fraction
    for label, count in counts.items():
        if _enough(count, settings.folds, fraction, settings.min_patients):
            continue
        needed = next(n for n in range(1, 10**6) if _enough(n, settings.folds, fraction, settings.min_patients))
        listed = ", ".join(f"{names.get(k, k)}: {v}" for k, v in counts.items())
        fitting = fitting_split(min(counts.values()), settings)
        least_needed = next(n for n in range(1, 10**6) if _enough(n, 2, fraction, 2))
        hint = (
            f"set split.folds to {fitting[0]} and split.min_patients to {fitting[1]}, or add patients"
            if fitting
            else f"add patients: at least {least_needed} per class are needed with split.min_patients 2"
        )
        if len(by_group) < videos // 2:
            hint += "; many files share a patient or a duplicate cluster, see `lddm check-data`"
        raise LddmError(
            f"{names.get(label, label)} has {count} patients (or clusters) with usable videos, but {settings.folds} folds "
            f"with at least {settings.min_patients} in train need {needed} ({listed})",
            hint,
        )


def _warn_of_few(splits: pd.DataFrame, names: dict[int, str]) -> None:
    """Warn about validation sets with few patients of a class."""
    val = splits[(splits["split"] == "val") & (splits["kind"] == "video")]
    counts = val.groupby(["fold", "label"])["group"].nunique()
    few = counts[counts < FEW_VALIDATION]
    if len(few):
        label = int(few.idxmin()[1])
        logger.warning(
            "validation has %d patients (or clusters) of %s; with fewer than %d, early stopping and the decision threshold "
            "are unreliable, and so are accuracy, sensitivity and specificity (AUC does not depend on the threshold)",
            int(few.min()), names.get(label, label), FEW_VALIDATION,
        )  # fmt: skip


def check_no_leak(splits: pd.DataFrame) -> None:
    """Raise LddmError if a patient or cluster is in more than one set of a fold; the last check before training.

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
