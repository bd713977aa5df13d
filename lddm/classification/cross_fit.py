"""Cross-fitted logits: each patient is predicted by classifiers that were not trained on this patient.

A classifier is overconfident on its own training videos, so their logits are not representative of other videos with the same
label, whereas p(logit | label) must be estimated from labelled videos. Patients are therefore partitioned, and each partition
is predicted by classifiers trained on the labelled videos of the other partitions (Chernozhukov et al. 2018, Econometrics
Journal 21:C1). Unlabelled patients are partitioned, too, so that all logits have the same distribution.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from lddm.classification.ensemble import OnLog, remove_ensemble_state, train_ensemble
from lddm.classification.heads import head_of
from lddm.classification.networks import CLASSIFIERS
from lddm.classification.train import PACKAGES, predict
from lddm.data.frames import FrameStore
from lddm.errors import LddmError
from lddm.settings.condition import LogitSettings
from lddm.task import Task, level_names, levels
from lddm.training.identity import Identity, clips_content

logger = logging.getLogger(__name__)
LEAST_PROBABILITY = 1e-6  # bounds a probability, so that its logit is finite


def cross_fitted_logits(
    section: LogitSettings,
    component: int,
    store: FrameStore,
    clips: pd.DataFrame,
    val: pd.DataFrame,
    state: Path,
    seed: int,
    on_log: OnLog,
    fold: int = 0,
) -> np.ndarray:
    """Logit of each train and val clip: of the positive class, of class `component` if there are more than two, or the target.

    Val clips are partitioned like unlabelled ones. ASSUME: their labels are used for early stopping, as in all trainings, which
    reveals little about them to the classifiers.

    Args:
        clips, val: rows of `fold_clips`; hidden labels are not read.
        state: folder of the resumable states, which the caller removes (`remove_cross_fit_state`).

    Returns:
        float64 (len(clips) + len(val),).

    Raises:
        LddmError: a class (or quartile of a target) has fewer labelled patients than partitions, or no class `component`.
    """
    task = Task.of_meta(store.meta)
    if component >= (len(task.classes) if task.kind in ("classes", "ordinal") else 1):
        raise LddmError(f"condition.component {component}: {task.said()} has no such class", "set it to 0")
    entry, head, given = CLASSIFIERS[section.classifier], head_of(task), clips["labelled"].to_numpy()
    labels = clips["label"].to_numpy()
    part = deal(clips, val, section.partitions, seed, task)
    inputs = entry.prepare(store.clip_frames(clips))
    others_input, known_val = entry.prepare(store.clip_frames(val)), val["labelled"].to_numpy()
    held_out = (others_input[known_val], val["label"].to_numpy()[known_val])
    everything = np.concatenate([inputs, others_input])
    data = {
        "task": task.to_meta(),
        "known": clips_content(store, clips[given]),
        "val": clips_content(store, val if known_val.all() else val.drop(columns="label")),
        "pretrained": entry.pretrained() if entry.pretrained else None,
    }
    identity = Identity.of(section, seed, data, PACKAGES, fold=fold)
    found = np.full(len(everything), np.nan)
    for number in range(section.partitions):
        others = given & (part[: len(clips)] != number)
        networks = train_ensemble(
            entry,
            section.training,
            section.ensemble_size,
            (inputs[others], labels[others]),
            held_out,
            head,
            1000 * seed + 600 + 50 * number,
            state / f"part-{number}",
            on_log,
            identity.extended(part=number),
        )
        asked = part == number
        if asked.any():
            predicted = [predict(network, everything[asked], head=head) for network in networks]
            found[asked] = np.mean([_logit(one, component, task) for one in predicted], axis=0)
        logger.info(
            "partition %d of %d: %d labelled clips, %d to predict",
            number + 1,
            section.partitions,
            others.sum(),
            asked.sum(),
        )
    return found


def remove_cross_fit_state(state: Path) -> None:
    """Remove the resumable states of `cross_fitted_logits`."""
    for part in state.glob("part-*"):
        remove_ensemble_state(part)


def deal(clips: pd.DataFrame, val: pd.DataFrame, partitions: int, seed: int, task: Task) -> np.ndarray:
    """Assign each train and val clip to a partition, 0 to `partitions` - 1: int64 (len(clips) + len(val),).

    All clips of a patient (a group of `fold_clips`) share a partition. Labelled patients are distributed evenly within their
    class or quartile, the others at random.

    Args:
        clips: with the column `labelled`: whether the label may be used.

    Raises:
        LddmError: a class has fewer labelled patients than partitions.
    """
    rng = np.random.default_rng([seed, 5])
    known = clips[clips["labelled"]].drop_duplicates("patient_id")
    level = levels(known["label"].to_numpy())
    names = level_names(known["label"].to_numpy(), task)
    parts: dict[str, int] = {}
    for number, name in enumerate(names):
        members = rng.permutation(np.sort(known["patient_id"].to_numpy(dtype=str)[level == number]))
        if len(members) < partitions:
            raise LddmError(
                f"{name} has {len(members)} labelled training patients, too few for {partitions} partitions of cross-fitting",
                f"set condition.logit.partitions to {len(members)}, or label more videos"
                if len(members) > 1
                else "label more videos (split.max_labelled_videos)",
            )
        # each class continues where the previous one stopped, so that the partitions have equal size
        parts |= {member: (len(parts) + place) % partitions for place, member in enumerate(members)}
    everybody = pd.concat([clips["patient_id"], val["patient_id"]]).astype(str)
    others = rng.permutation(np.sort([name for name in everybody.unique() if name not in parts]))
    parts |= {other: place % partitions for place, other in enumerate(others)}
    return everybody.map(parts).to_numpy(dtype=np.int64)


def _logit(predicted: np.ndarray, component: int, task: Task) -> np.ndarray:
    """Log-odds (n,) of probabilities (n,) or (n, classes); predicted targets are returned unchanged."""
    if task.is_regression:
        return predicted
    chosen = predicted if predicted.ndim == 1 else predicted[:, component]
    safe = np.clip(chosen, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return np.log(safe / (1 - safe))
