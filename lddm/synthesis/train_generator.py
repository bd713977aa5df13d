"""Stage 2 with any generator: from latents to a model package."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lddm.autoencoder.model import Autoencoder
from lddm.data.attribute import load_attribute
from lddm.data.frames import FrameStore
from lddm.errors import LddmError
from lddm.generators.embedder import EMBEDDER
from lddm.generators.registry import find_generator
from lddm.generators.trainer import STUDENT
from lddm.latent.dataset import LatentSet
from lddm.settings.base import Section
from lddm.synthesis.bundle import write_bundle
from lddm.synthesis.out_of_distribution import KEY, describe
from lddm.task import Task
from lddm.training.parallel import is_first
from lddm.training.state import remove_state
from lddm.training.weights import count_parameters

SOURCE_WORDS = {"phantom": "simulated breast ultrasound"}  # other sources are shown by name


def train_generator(
    name: str,
    settings: Section | None,
    autoencoder: Path,
    latents_path: Path,
    store: FrameStore,
    fold: int,
    seed: int,
    state_dir: Path,
    out_dir: Path,
    on_log: Callable[[int, dict[str, float]], None],
    pseudo_labels: Path | None = None,
    attribute: Path | None = None,
) -> None:
    """Train the generator `name` on the latents of a fold and write its model package to `out_dir`.

    Args:
        pseudo_labels: labels of unlabelled training clips (`lddm.classification.pseudo_labels`), used like true labels.
        attribute: measured attribute of all clips, the condition of the generator instead of labels
            (`lddm.data.attribute`).

    Raises:
        LddmError: unknown generator, or latents of another autoencoder.
    """
    entry = find_generator(name)
    latents = LatentSet.load(latents_path)
    if Autoencoder.load(autoencoder).spec != latents.spec:
        raise LddmError(f"{latents_path} was not encoded by {autoencoder}", "run the rule encode again")
    if pseudo_labels is not None:
        latents = latents.relabelled(pd.read_parquet(pseudo_labels).set_index("clip_id")["label"])
    given, measured = store, None
    if attribute is not None:
        measured, values = load_attribute(attribute)
        latents = latents.conditioned(values)
        given = replace(store, meta=store.meta | measured.task.to_meta())
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "generator.safetensors"
        entry.fit(settings, latents, given, seed, state_dir, weights, on_log, keep_state=True)
        if is_first():
            about = _about(store, out_dir, fold, seed, latents, settings)
            about |= {"condition": measured.to_meta()} if measured else {}
            about["parameters"] = count_parameters(entry.model.load(weights))
            write_bundle(out_dir, name, weights, autoencoder, about)
        remove_state(state_dir, STUDENT, EMBEDDER)  # only now: until here the weights were in a temporary folder


def _about(store: FrameStore, out_dir: Path, fold: int, seed: int, latents: LatentSet, settings) -> dict[str, Any]:
    """Metadata of the model package."""
    return {
        "experiment": store.meta.get("experiment", out_dir.resolve().parents[3].name),
        "fold": fold,
        "seed": seed,
        "size": store.size,
        "frames": store.clip_length,
        "fps": store.fps,
        "fit": store.meta.get("fit", "pad"),
        **Task.of_meta(store.meta).to_meta(),
        "clips": len(_clips(latents, train=True)),
        "licences": sorted(store.videos["licence"].dropna().unique().tolist()),
        "trained_on": sources_of(store, latents),
        KEY: training_stills(store, latents),
        "settings": {} if settings is None else settings.model_dump(mode="json"),
    }


def sources_of(store: FrameStore, latents: LatentSet) -> str:
    """Short description of the training data: number of clips and their sources."""
    names = _clips(latents, train=True)
    clips = store.clips[store.clips["clip_id"].isin(names)]
    sources = store.videos[store.videos["id"].isin(clips["id"])]["source"].unique()
    said = sorted(SOURCE_WORDS.get(source, str(source)) for source in sources)
    return f"{len(names)} clips of {' and '.join(said)}"


def training_stills(store: FrameStore, latents: LatentSet) -> dict[str, Any] | None:
    """Statistics (`describe`) of the first frames of the train and val clips; None for too few clips."""
    first = store.clips.set_index("clip_id")["first_frame"]
    train, validation = (
        store.frames[first.loc[sorted(_clips(latents, part))].to_numpy(dtype=np.int64)] for part in (True, False)
    )
    return describe(train, validation)


def _clips(latents: LatentSet, train: bool) -> set[str]:
    """Ids of the train clips, or of the val clips."""
    return {name for name, of_train in zip(latents.clip, latents.train.tolist(), strict=True) if of_train == train}
