"""Measurement of the configured attribute in all train and val clips of a fold, and estimate of p(attribute | label)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from lddm.autoencoder.measured import MeasuredMotion
from lddm.classification.cross_fit import cross_fitted_logits
from lddm.classification.ensemble import OnLog
from lddm.classification.measures import predicted_of
from lddm.data.attribute import LIMIT, Attribute, AttributePrior
from lddm.data.frames import FrameStore, fold_clips
from lddm.errors import LddmError
from lddm.files import read_table
from lddm.metrics.domain_network import domain_videos
from lddm.motion.divergence import area_change
from lddm.motion.strain import strain_maps, strain_ratio
from lddm.settings.condition import ConditionSettings
from lddm.task import Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measuring:
    """Inputs for the measurement of an attribute.

    Attributes:
        section: settings of the condition.
        store: frames at the input size of the classifiers.
        splits: split of the clips into train and val, with the clips whose label may be used.
        fold, seed: fold and seed of the experiment.
        state: folder of resumable states.
        on_log: called with (step, values).
        motion: file of the measured motion, for "divergence".
        domain_network: weight file, for "features".
        pseudo_labels: table written by the rule pseudo_label, for "soft_label".
    """

    section: ConditionSettings
    store: FrameStore
    splits: pd.DataFrame
    fold: int
    seed: int
    state: Path
    on_log: OnLog
    motion: Path | None = None
    domain_network: Path | None = None
    pseudo_labels: Path | None = None

    @property
    def task(self) -> Task:
        """Prediction task of the study."""
        return Task.of_meta(self.store.meta)

    @cached_property
    def train(self) -> pd.DataFrame:
        """Train clips."""
        return fold_clips(self.store, self.splits, self.fold, "train")

    @cached_property
    def val(self) -> pd.DataFrame:
        """Val clips."""
        return fold_clips(self.store, self.splits, self.fold, "val")

    @property
    def clips(self) -> pd.DataFrame:
        """Train clips, then val clips."""
        return pd.concat([self.train, self.val], ignore_index=True)

    def needed(self, name: str) -> Path:
        """Path of an optional input that the attribute requires.

        Raises:
            LddmError: the input was not given.
        """
        path: Path | None = getattr(self, name)
        if path is None:
            option = name.replace("_", "-")
            raise LddmError(f"attribute {self.section.attribute} needs {name}, got none", f"pass --{option} FILE")
        return path


def _strain_ratio(given: Measuring) -> tuple[np.ndarray, str]:
    frames = given.store.at_model_size().clip_frames(given.clips)
    return strain_ratio(strain_maps(frames)), "logarithm of the strain ratio, sides to centre"


def _divergence(given: Measuring) -> tuple[np.ndarray, str]:
    code = MeasuredMotion.load(given.needed("motion")).of(given.clips)
    return area_change(code, given.store.at_model_size().size), "change of area in %"


def _features(given: Measuring) -> tuple[np.ndarray, str]:
    from sklearn.decomposition import PCA

    network, _ = domain_videos(given.needed("domain_network"))
    features = network.extract(given.store.clip_frames(given.clips))  # (n, d)
    component, most = given.section.component, min(len(given.train), features.shape[1])
    if component >= most:
        raise LddmError(
            f"condition.component {component}: there are {most} components", f"set it to {most - 1} or less"
        )
    pca = PCA(component + 1, svd_solver="full").fit(features[: len(given.train)])
    share = pca.explained_variance_ratio_[component]
    logger.info("component %d has %.3f of the variance of %d features", component, share, features.shape[1])
    return pca.transform(features)[:, component], f"principal component {component} of the domain network's features"


def _logit(given: Measuring) -> tuple[np.ndarray, str]:
    own, component, task = given.section.logit, given.section.component, given.task
    found = cross_fitted_logits(
        own, component, given.store, given.train, given.val, given.state, given.seed, given.on_log, given.fold
    )
    if task.is_regression:
        return found, f"cross-fitted prediction of {task.name}"
    return found, f"cross-fitted log-odds of {task.classes[1 if task.kind == 'binary' else component]}"


MEASURES: dict[str, Callable[[Measuring], tuple[np.ndarray, str]]] = {
    "strain_ratio": _strain_ratio,
    "divergence": _divergence,
    "features": _features,
    "logit": _logit,
}


def measure_attribute(given: Measuring) -> tuple[Attribute, dict[str, float]]:
    """Measure the attribute, standardise it on the train clips and estimate p(attribute | label) on the labelled ones.

    Neither test videos nor hidden labels are read.

    Returns:
        The attribute, and its standardised value for each train and val clip, by clip id.

    Raises:
        LddmError: no attribute is configured, all train clips have the same value, or too few labels.
    """
    name = given.section.attribute
    if name is None:
        raise LddmError("condition.attribute is null", "name an attribute, e.g. strain_ratio")
    if name == "soft_label":
        return _soft_labels(given)
    measured, what = MEASURES[name](given)
    train = measured[: len(given.train)]
    mean, std = float(train.mean()), float(train.std())
    if not np.isfinite(measured).all() or std < 1e-9:
        raise LddmError(
            f"attribute {name} does not vary over the train clips of fold {given.fold}", "choose another attribute"
        )
    values = np.clip((measured - mean) / std, -LIMIT, LIMIT)
    labelled = given.train["labelled"].to_numpy()
    known = given.train[labelled]
    prior = AttributePrior.fit(
        known["label"].to_numpy(dtype=float),
        values[: len(train)][labelled],
        known["id"].tolist(),
        given.section.smoothing,
        given.task,
    )
    attribute = Attribute(name, what, mean, std, -LIMIT, LIMIT, prior)
    logger.info("%s: %d clips, %d of them labelled", what, len(values), len(known))
    logger.info("the label explains %.3f of the variance in labelled clips", prior.explained())
    return attribute, dict(zip(given.clips["clip_id"], values.tolist(), strict=True))


def _soft_labels(given: Measuring) -> tuple[Attribute, dict[str, float]]:
    """True labels where known, and predictions of the classifiers of `pseudo_label` for all other train clips."""
    path, task = given.needed("pseudo_labels"), given.task
    if task.kind in ("classes", "ordinal"):
        raise LddmError(
            f"a soft label is a single number, but the task has the classes {task.said()}", "use attribute logit"
        )
    said = "prediction" if task.is_regression else "probability"
    table = read_table(path, "pseudo_label", ("clip_id", said, "given")).set_index("clip_id")
    if missing := set(given.train["clip_id"]) - set(table.index):
        raise LddmError(f"clip {min(missing)} has no row in {path}", "run the rule pseudo_label again")
    predicted = predicted_of(task, table.loc[given.train["clip_id"]])
    low, high = task.target_range or (0.0, 1.0)
    values = np.where(given.train["labelled"], given.train["label"], np.clip(predicted, low, high)).astype(float)
    what = task.said() if task.is_regression else f"probability of {task.classes[1]}"
    values = np.concatenate([values, given.val["label"].to_numpy(dtype=float)])
    attribute = Attribute(
        "soft_label", what, 0.0, 1.0, low, high, AttributePrior(numbers=task.is_regression, exact=True)
    )
    return attribute, dict(zip(given.clips["clip_id"], values.tolist(), strict=True))
