"""Pseudo-labels for the unlabelled training videos of a fold, by classifiers trained on the labelled ones.

If labels are scarce, a generator can learn tissue motion from all videos, but the relation of label and motion from only a
few. A classifier whose most confident predictions are mostly right extends the labels to many more videos (self-training,
Scudder 1965). Neither hidden labels nor labels of test videos are read; labels of val videos choose the weights of the
classifiers where these may be used (`split.validation_labels`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from lddm.classification.ensemble import train_ensemble
from lddm.classification.heads import head_of
from lddm.classification.measures import prediction_columns
from lddm.classification.networks import CLASSIFIERS
from lddm.classification.train import NO_INPUTS, PACKAGES, predict
from lddm.data.frames import FrameStore, fold_clips
from lddm.errors import LddmError
from lddm.settings.evaluation import PseudoLabelSettings
from lddm.task import Task
from lddm.training.identity import Identity, clips_content

logger = logging.getLogger(__name__)


def pseudo_label(
    section: PseudoLabelSettings,
    store: FrameStore,
    splits: pd.DataFrame,
    fold: int,
    state: Path,
    seed: int,
    on_log: Callable[[int, dict[str, float]], None],
) -> pd.DataFrame:
    """Train an ensemble on the labelled training clips and pseudo-label its most confident predictions of the other clips.

    Args:
        state: folder of resumable states; the caller removes it (`remove_ensemble_state`) once the table is written.

    Returns:
        One row per training clip: clip_id, id, label (-1, or NaN for targets = left unlabelled), given (True: true label,
        False: pseudo-label), and the ensemble mean: probability, p_<class>, or prediction (as in
        `lddm.classification.measures.prediction_columns`). For classes, equally many of each are labelled, the most confident
        ones; for targets, those on which the members agree most.

    Raises:
        LddmError: no classifier is set, or all training videos are labelled.
    """
    if section.classifier is None:
        raise LddmError("pseudo_labels.classifier is null", "name a network, e.g. strain")
    entry, task = CLASSIFIERS[section.classifier], Task.of_meta(store.meta)
    head = head_of(task)
    clips, val = (fold_clips(store, splits, fold, part) for part in ("train", "val"))
    val = val[val["labelled"]]
    given = clips["labelled"].to_numpy()
    if given.all():
        raise LddmError(
            f"fold {fold} has no unlabelled training videos",
            "set split.max_labelled_videos, or pseudo_labels.classifier null",
        )
    inputs = entry.prepare(store.clip_frames(clips))
    labels = clips["label"].to_numpy()
    known = (inputs[given], labels[given])
    held_out = NO_INPUTS
    if len(val):
        held_out = (entry.prepare(store.clip_frames(val)), val["label"].to_numpy())
    # The labels of all other clips are hidden, so they are not part of the identity either.
    data = {
        "task": task.to_meta(),
        "known": clips_content(store, clips[given]),
        "others": clips_content(store, clips[~given].drop(columns="label")),
        "val": clips_content(store, val),
        "pretrained": entry.pretrained() if entry.pretrained else None,
    }
    identity = Identity.of(section, seed, data, PACKAGES, fold=fold)
    networks = train_ensemble(
        entry,
        section.training,
        section.ensemble_size,
        known,
        held_out,
        head,
        1000 * seed + 500,
        state,
        on_log,
        identity,
    )
    predictions = [predict(network, inputs, head=head) for network in networks]
    named = labels.astype(task.dtype)
    named[~given] = select_pseudo_labels(task, np.stack(predictions)[:, ~given], section.share)
    left = np.isnan(named) if task.is_regression else named < 0
    logger.info(
        "%d true labels, %d pseudo-labels, %d clips left unlabelled", given.sum(), (~given & ~left).sum(), left.sum()
    )
    mean = prediction_columns(task, np.mean(predictions, axis=0))
    return clips[["clip_id", "id"]].assign(label=named, **mean, given=given).reset_index(drop=True)


def select_pseudo_labels(task: Task, predictions: np.ndarray, share: float) -> np.ndarray:
    """Pseudo-labels for a `share` of the clips; unknown for the others.

    Args:
        predictions: predictions per member, float (members, n) or (members, n, classes).

    Returns:
        Labels (n,), with the dtype of labels of the task.
    """
    mean = predictions.mean(axis=0)
    if task.kind == "binary":
        return most_confident(mean, share)
    if task.is_regression:
        spread = predictions.std(axis=0)
        agreed = np.argsort(spread, kind="stable")[: int(share * len(mean))]
        named = np.full(len(mean), np.nan)
        named[agreed] = np.clip(mean[agreed], task.low, task.high)
        return named
    return most_confident_classes(mean, share)


def most_confident_classes(probability: np.ndarray, share: float) -> np.ndarray:
    """Label a `share` of all clips, balanced over classes: float (n, classes) -> int64 (n,), -1 for the rest.

    Each class receives its most probable clips among those for which it is the most probable class, if there are enough."""
    count, classes = probability.shape
    named, best = np.full(count, -1, dtype=np.int64), probability.argmax(axis=1)
    for label in range(classes):
        order = np.argsort(-probability[:, label], kind="stable")
        named[order[best[order] == label][: int(share * count / classes)]] = label
    return named


def most_confident(probability: np.ndarray, share: float) -> np.ndarray:
    """Label the most and least probable clips as 1 and 0, equally many, a `share` of all; -1 for the rest and for NaN."""
    order = np.argsort(probability, kind="stable")  # NaN last
    order = order[: np.count_nonzero(~np.isnan(probability))]
    each = int(share * len(order) / 2)
    named = np.full(len(probability), -1, dtype=np.int64)
    named[order[:each]] = 0
    named[order[len(order) - each :]] = 1
    return named
