"""One run group of the ablation (classifier, regime, fold) with several seeds; each finished seed is kept."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lddm.classification.heads import Head, head_of
from lddm.classification.measures import prediction_columns, primary_of, primary_value
from lddm.classification.networks import CLASSIFIERS, Classifier
from lddm.classification.regimes import Clips, augmented_clips, pseudo_labelled_clips, real_clips, synthetic_clips
from lddm.classification.statistics import best_threshold
from lddm.classification.train import NO_INPUTS, PACKAGES, Inputs, predict, train_classifier
from lddm.classification.transfer import animated_test_clips
from lddm.data.cache import ArrayCache
from lddm.data.frames import FrameStore
from lddm.data.splits import choose_videos
from lddm.errors import LddmError
from lddm.files import read_json, write_json
from lddm.settings.evaluation import ClassificationSettings
from lddm.task import Task
from lddm.training.identity import Identity, code_hash, library_versions
from lddm.training.state import remove_state

logger = logging.getLogger(__name__)
WITHOUT_VALIDATION = 0.5  # the probability at which two classes are told apart


def classify(
    section: ClassificationSettings,
    classifier: str,
    regime: str,
    store: FrameStore,
    splits: pd.DataFrame,
    fold: int,
    synthetic: list[Path],
    copies: list[Path],
    pseudo_labels: Path | None,
    state: Path,
    out_dir: Path,
    seed: int,
    on_log: Callable[[int, dict[str, float]], None],
    cache: Path | None = None,
    tested_on: Sequence[Path] = (),
) -> list[Path]:
    """Train with each seed and write the predictions for the test videos of the fold.

    A seed determines the initial weights of the network, the order of examples and the subset of `real_videos` real videos.
    The subset is the same for all regimes, so that differences between regimes are paired.

    Args:
        synthetic: manifests of the animated stills of the regime; empty for regimes without a generator.
        copies: tables of copies of training videos, which are excluded; empty = nothing is excluded.
        pseudo_labels: table of pseudo-labels, for `real+pseudo`.
        state: folder of resumable states and of finished seeds, to resume after a kill.
        cache: folder of prepared inputs, shared by jobs; None = no cache.
        tested_on: manifests of animated test clips for which predictions are also made (`lddm.classification.transfer`).

    Returns:
        Paths of seed-<s>.json.
    """
    task = Task.of_meta(store.meta)
    head = head_of(task)
    entry, own = CLASSIFIERS[classifier], {str(name): values for name, values in section.training_overrides.items()}
    training = own.get(classifier, section.training)
    train, val, test = (real_clips(store, splits, fold, part) for part in ("train", "val", "test"))
    animated = synthetic_clips(synthetic, splits, fold, copies) if synthetic else None
    if regime == "real+pseudo":
        if pseudo_labels is None:
            raise LddmError(f"regime '{regime}' needs pseudo-labels, got none", "pass --pseudo-labels TABLE")
        animated = pseudo_labelled_clips(store, splits, fold, pseudo_labels)
    if regime not in ("real", "real+aug") and animated is None:
        raise LddmError(f"regime '{regime}' needs synthetic videos, got none", "pass --synthetic MANIFEST")
    inputs = PreparedInputs(entry, cache)
    # No validation video has a label where all labels count (`split.validation_labels`).
    val_inputs = inputs.of(val) if len(val) else NO_INPUTS
    test_input = inputs.of(test)[0]
    animated_inputs = None if animated is None else inputs.of(animated)
    made = animated_test_clips(tested_on, test.table) if tested_on else {}
    pretrained = entry.pretrained() if entry.pretrained else None
    data = {
        "task": task.to_meta(),
        "train": train,
        "val": val,
        "test": test,
        "added": animated,
        "pretrained": pretrained,
    } | {f"tested on {generator}": clips for generator, clips in made.items()}
    role = {"classifier": classifier, "regime": regime, "fold": fold}
    identity = Identity.of(section, seed, data, PACKAGES, **role)
    paths = []
    for number in range(section.seeds):
        done = state / f"seed-{number}.json"
        if _finished(done, identity):
            logger.info("seed %d was finished before", number)
        else:
            run_seed = 1000 * seed + number
            chosen = choose_videos(train.table, section.real_videos, run_seed)
            real = Clips(train.frames[chosen], train.labels[chosen], train.table.iloc[chosen])
            added, added_inputs = animated, animated_inputs
            if regime == "real+aug":
                added = augmented_clips(real, run_seed)
                added_inputs = entry.prepare(added.frames), added.labels
            logger.info("seed %d: %d real clips, %d added", number, len(real), 0 if added is None else len(added))
            network = train_classifier(
                entry.build,
                training,
                None if regime == "lddm_only" else inputs.of(train, chosen),
                added_inputs,
                val_inputs,
                section.synthetic_share,
                run_seed,
                state / f"training-{number}",
                partial(_log_seed, on_log, number),
                identity.extended(number=number),
                head,
            )
            about = {
                "classifier": classifier,
                "regime": regime,
                "fold": fold,
                "seed": number,
                "n_real_videos": 0 if regime == "lddm_only" else int(real.table["id"].nunique()),
                "n_real_patients": 0 if regime == "lddm_only" else int(real.table["patient_id"].nunique()),
                "n_validation_videos": int(val.table["id"].nunique()),
                "n_labelled_stills": _stills(animated),
                "n_added": 0 if added is None else len(added),
                "steps": training.steps,
                "identity": identity.digest,
                **task.to_meta(),
            }
            found = _evaluate(network, val, val_inputs[0], test, test_input, head)
            if made:
                found["synthetic_predictions"] = {
                    generator: _predictions(network, clips.table, inputs.of(clips)[0], head)
                    for generator, clips in made.items()
                }
            write_json(done, about | found)
            remove_state(state / f"training-{number}")
        paths.append(out_dir / f"seed-{number}.json")
    for path in paths:  # all at the end: a killed job leaves its finished seeds in `state` and no partial result
        write_json(path, read_json(state / path.name))
    for path in state.glob("seed-*.json"):
        path.unlink()
    remove_state(state, *(path.name for path in state.glob("training-*")))
    return paths


def _finished(path: Path, identity: Identity) -> bool:
    """Whether the result of a seed exists; a result of another training is ignored, with a log message."""
    if not path.is_file():
        return False
    try:
        found = json.loads(path.read_text())["identity"]
    except (ValueError, KeyError, TypeError):
        logger.warning("%s is damaged. Training starts from the beginning.", path)
        return False
    if found != identity.digest:
        logger.warning("%s is of other settings, data or code. Training starts from the beginning.", path)
    return found == identity.digest


def _stills(added: Clips | None) -> int:
    """Number of labelled stills behind the added videos; real videos with guessed labels and augmented ones have none."""
    return 0 if added is None or "x0_id" not in added.table else int(added.table["x0_id"].nunique())


def _log_seed(
    on_log: Callable[[int, dict[str, float]], None], number: int, step: int, values: dict[str, float]
) -> None:
    on_log(step, {f"seed-{number}/{key}": value for key, value in values.items()})


class PreparedInputs:
    """Inputs of a classifier. Costly inputs are computed once for all jobs, for whole sets of clips.

    Args:
        entry: registry entry of the classifier.
        folder: folder of the shared inputs.
    """

    def __init__(self, entry: Classifier, folder: Path | None):
        self.entry, self.cache = entry, ArrayCache(folder)
        name = f"{entry.prepare.__module__}.{entry.prepare.__qualname__}"
        self.content = f"{name} {code_hash('classification', 'motion')} {library_versions('cv2', 'numpy', 'scipy')}"

    def of(self, clips: Clips, chosen: np.ndarray | slice = slice(None)) -> Inputs:
        """Inputs float32 and labels of all clips, or of the `chosen` ones."""
        if self.entry.costly:
            return self.cache.get_in_parts(self.content, clips.frames, self.entry.prepare)[chosen], clips.labels[chosen]
        return self.entry.prepare(clips.frames[chosen]), clips.labels[chosen]


def _evaluate(
    network: Any, val: Clips, val_input: np.ndarray, test: Clips, test_input: np.ndarray, head: Head
) -> dict[str, Any]:
    """Predict test videos (mean over the clips of a video), and choose a threshold on validation videos for two classes."""
    task = head.task
    val_videos = by_video(val.table, predict(network, val_input, head=head), task) if len(val) else None
    test_videos = by_video(test.table, predict(network, test_input, head=head), task)
    found: dict[str, Any] = {}
    if task.kind == "binary":
        found["threshold"] = WITHOUT_VALIDATION
        if val_videos is not None:
            found["threshold"] = best_threshold(val_videos["label"].to_numpy(), val_videos["probability"].to_numpy())
    primary = primary_of(task)
    for part, videos in (("val", val_videos), ("test", test_videos)):
        found[f"{part}_{primary}"] = None if videos is None else primary_value(task, videos)
    return found | {"predictions": test_videos.to_dict(orient="records")}


def _predictions(network: Any, table: pd.DataFrame, inputs: np.ndarray, head: Head) -> list[dict[str, Any]]:
    return by_video(table, predict(network, inputs, head=head), head.task).to_dict(orient="records")


def by_video(table: pd.DataFrame, predicted: np.ndarray, task: Task) -> pd.DataFrame:
    """One row per video: id, patient_id, label, class_name, and the prediction averaged over its clips."""
    given = prediction_columns(task, predicted)
    grouped = table[["id", "patient_id", "label"]].assign(**given).groupby("id", sort=True)
    columns = {"patient_id": "first", "label": "first"} | dict.fromkeys(given, "mean")
    videos = grouped.agg(columns).reset_index().astype({"label": task.dtype, "patient_id": str})
    videos.insert(3, "class_name", [task.show(label) for label in videos["label"]])
    return videos
