"""Leak report: differences between the classes other than the disease, and patients with files in both classes.

A network that recognises the device or clinic of a file can score well without using the tissue (DeGrave et al., Nature
Machine Intelligence 3:610, 2021). If a small decision tree predicts the class from file metadata, such a shortcut exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.tree import DecisionTreeClassifier

from lddm.data.splits import origins
from lddm.files import write_json
from lddm.task import Task, level_names, levels

FOLDS = 5
PERMUTATIONS = 99
MOST_FILES = 2000  # larger sets are subsampled by patient: the test would take minutes with the same result
PREDICTED = 0.15  # balanced accuracy above chance at which the class counts as predicted, if p is small too
PERFECT = 0.95
SIGNIFICANT = 0.05
NUMBERS = {"fps": "frame rate", "n_frames": "number of frames", "height": "height", "width": "width"}


@dataclass(frozen=True)
class Predictability:
    """How well file metadata predict the class, by cross-validation over patients.

    Attributes:
        files, patients: numbers used.
        score: balanced accuracy of all metadata together; chance is one over the number of classes.
        p_value: p-value of `score`, by permutation of the patients' classes; None if the score is too low to matter.
        single: feature -> balanced accuracy of this feature alone, best first.
        classes: number of classes.
    """

    files: int
    patients: int
    score: float
    p_value: float | None
    single: dict[str, float]
    classes: int = 2

    @property
    def chance(self) -> float:
        """Balanced accuracy at chance level."""
        return 1 / self.classes

    @property
    def alarming(self) -> bool:
        """Whether the class is predicted well enough to invalidate results."""
        return self.score >= PERFECT or (self.p_value is not None and self.p_value <= SIGNIFICANT)


@dataclass(frozen=True)
class LeakReport:
    """Result of `leak_report` for the usable files.

    Attributes:
        by_class: class -> counts of files, patients and sources, and the ranges of frame rate and size.
        patients_in_both: number of patients with files of both classes.
        clusters: number of clusters of near-duplicates.
        duplicates_in_both: number of files excluded because a near-duplicate has the other class.
        predictability: None if a class has too few patients for the test.
    """

    by_class: dict[str, dict[str, str | int]]
    patients_in_both: int
    clusters: int
    duplicates_in_both: int
    predictability: Predictability | None

    def lines(self) -> list[str]:
        """The report as sentences, the most important first."""
        found = [self._prediction()]
        for name, about in self.by_class.items():
            found.append(
                f"class {name}: {about['videos']} videos and {about['images']} stills of {about['patients']} patients "
                f"(unknown patients, one per file: {about['unknown']}); sources {about['sources']}; "
                f"file types {about['types']}; frame rates {about['fps']}; sizes {about['sizes']}"
                + (f"; devices {about['devices']}" if about["devices"] else "")
            )
        if self.patients_in_both:
            found.append(f"{self.patients_in_both} patients have files of both classes; splits keep each on one side")
        if self.clusters:
            found.append(f"{self.clusters} clusters of near-duplicates; splits keep each on one side")
        if self.duplicates_in_both:
            found.append(f"{self.duplicates_in_both} files are excluded because a near-duplicate has the other class")
        return found

    def write(self, path: str | Path) -> None:
        """Write the report as JSON."""
        write_json(path, asdict(self) | {"lines": self.lines()})

    def _prediction(self) -> str:
        found = self.predictability
        if found is None:
            return "prediction of the class from file metadata was not tested: a class has fewer than 2 patients"
        chance = "" if found.p_value is None else f", p = {found.p_value:.2f}"
        numbers = f"balanced accuracy {found.score:.2f}{chance}, {found.patients} patients"
        if not found.alarming:
            return f"file metadata alone do not predict the class ({numbers}; chance is {found.chance:.2f})"
        best = ", ".join(
            f"{name} {score:.2f}" for name, score in list(found.single.items())[:3] if score > found.chance + PREDICTED
        )
        few = "; with so few patients this may be chance" if (found.p_value or 0) > SIGNIFICANT else ""
        return (
            f"WARNING: FILE METADATA ALONE PREDICT THE CLASS ({numbers}{few}). "
            + (f"Single features: {best}. " if best else "")
            + "A classifier can learn how the files were made instead of what they show; balance or re-export them"
        )


def with_classes(videos: pd.DataFrame, task: Task) -> tuple[pd.DataFrame, list[str]]:
    """Files with class labels, and the class names; a target is replaced by its quartiles."""
    if not task.is_regression:
        return videos, list(task.classes)
    used = videos["label"].where(videos["excluded"].isna()).to_numpy(dtype=float)
    return videos.assign(label=levels(used)), level_names(used, task)


def leak_report(videos: pd.DataFrame, classes: Sequence[str], seed: int = 0) -> LeakReport:
    """Compare the classes by everything except pixels.

    Args:
        videos: the completed index (videos.parquet): one row per file with kind, label, path, source, patient_id, id,
            fps (Hz, as in the file), n_frames, height, width, cluster, excluded, and device if known.
        classes: class names; the position is the label.
        seed: seed of folds and permutations.
    """
    usable = videos[videos["excluded"].isna() & videos["label"].between(0, len(classes) - 1)]
    by_class = {name: _describe(usable[usable["label"] == label]) for label, name in enumerate(classes)}
    in_both = int((usable.groupby("patient_id")["label"].nunique() > 1).sum())
    doubled = int(videos["excluded"].dropna().astype(str).str.contains("another class|other class").sum())
    moving = usable[usable["kind"] == "video"]
    tested = moving if moving["label"].nunique() > 1 else usable
    return LeakReport(by_class, in_both, int(usable["cluster"].nunique()), doubled, predict_class(tested, seed))


def predict_class(files: pd.DataFrame, seed: int = 0) -> Predictability | None:
    """Predict labels from file metadata by a tree of depth 3, cross-validated over patients; None if there are too few."""
    groups, first = np.unique(files["patient_id"].astype(str), return_inverse=True)
    labels = files["label"].to_numpy(dtype=int)
    rng = np.random.default_rng(seed)
    if len(files) > MOST_FILES:
        order = rng.permutation(len(groups))[first]
        kept = np.sort(np.argsort(order, kind="stable")[:MOST_FILES])
        return predict_class(files.iloc[kept], seed)
    per_group = pd.Series(labels).groupby(first).agg(lambda found: found.mode().iloc[0]).to_numpy()
    counts = np.unique(per_group, return_counts=True)[1]
    if len(counts) < 2 or counts.min() < 2:
        return None
    folder = StratifiedGroupKFold(min(FOLDS, int(counts.min())), shuffle=True, random_state=seed)
    fold_of_group = np.zeros(len(groups), int)
    for fold, (_, test) in enumerate(folder.split(per_group, per_group, np.arange(len(groups)))):
        fold_of_group[test] = fold
    folds = fold_of_group[first]
    features = _features(files)
    score = _score(np.column_stack(list(features.values())), labels, folds)
    single = {name: _score(values, labels, folds) for name, values in features.items()}
    p_value = None
    if score >= 1 / len(counts) + PREDICTED:
        values = np.column_stack(list(features.values()))
        drawn = [_score(values, _permuted(per_group, fold_of_group, rng)[first], folds) for _ in range(PERMUTATIONS)]
        p_value = (1 + sum(value >= score - 1e-9 for value in drawn)) / (1 + PERMUTATIONS)
    best_first = dict(sorted(single.items(), key=lambda item: -item[1]))
    return Predictability(len(files), len(groups), score, p_value, best_first, len(counts))


def _features(files: pd.DataFrame) -> dict[str, np.ndarray]:
    """Feature -> values (n, d): numbers unchanged (-1 if unknown), categories one-hot."""
    features: dict[str, np.ndarray] = {}
    for column, name in NUMBERS.items():
        source = f"native_{column}" if f"native_{column}" in files else column
        values = pd.to_numeric(files[source], errors="coerce").fillna(-1).to_numpy(dtype=float)
        features[name] = values[:, None]
    kinds = {"source": origins(files), "file type": _suffixes(files)}
    if "device" in files:
        kinds["device"] = files["device"].fillna("")
    features |= {name: pd.get_dummies(values).to_numpy(dtype=float) for name, values in kinds.items()}
    return features


def _score(values: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> float:
    """Balanced accuracy of out-of-fold predictions."""
    predicted = np.empty_like(labels)
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        tree = DecisionTreeClassifier(
            max_depth=3, min_samples_leaf=max(1, len(labels) // 50), class_weight="balanced", random_state=0
        )
        predicted[test] = tree.fit(values[train], labels[train]).predict(values[test])
    return float(balanced_accuracy_score(labels, predicted))


def _permuted(labels: np.ndarray, folds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels of groups, permuted within folds, so that the folds stay stratified."""
    out = labels.copy()
    for fold in np.unique(folds):
        members = np.flatnonzero(folds == fold)
        out[members] = labels[rng.permutation(members)]
    return out


def _describe(files: pd.DataFrame) -> dict[str, str | int]:
    moving = files[files["kind"] == "video"]
    fps = moving["native_fps" if "native_fps" in moving else "fps"].astype(float)
    known = fps[fps > 0]
    sizes = files[["height", "width"]].drop_duplicates().sort_values(["height", "width"]).to_numpy()
    rates = f"{known.min():.3g} to {known.max():.3g} Hz (median {known.median():.3g})" if len(known) else "unknown"
    ends = [f"{height} x {width}" for height, width in (sizes[[0, -1]] if len(sizes) > 1 else sizes)]
    devices = files["device"].replace("", np.nan) if "device" in files else pd.Series(dtype=object)
    return {
        "videos": len(moving),
        "images": int((files["kind"] == "image").sum()),
        "patients": int(files["patient_id"].nunique()),
        # Each phantom file is one simulated patient.
        "unknown": int(((files["patient_id"] == files["id"]) & (files["source"] != "phantom")).sum()),
        "sources": _counts(origins(files)),
        "types": _counts(_suffixes(files)),
        "fps": rates,
        "sizes": " to ".join(ends) or "none",
        "devices": _counts(devices),
    }


def _counts(values: pd.Series) -> str:
    found = values.dropna().astype(str).value_counts()
    return ", ".join(f"{name} ({count})" for name, count in found.head(4).items())


def _suffixes(files: pd.DataFrame) -> pd.Series:
    names = [PurePosixPath(str(path)).suffix.lower() or "none" for path in files["path"]]
    return pd.Series(names, index=files.index, dtype=object)
