"""The generators of the package on pairs of CAMUS: p(z | both ED frames, label), trained on the patients of a pool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.camus_pairs import SPEC
from lddm.data.frames import FrameStore
from lddm.generators.base import LatentGenerator
from lddm.generators.motion_transfer import MotionTransfer
from lddm.generators.registry import find_generator
from lddm.generators.sampling import SamplingOptions
from lddm.latent.dataset import LatentSet
from lddm.latent.transform import LatentTransform
from lddm.settings.models import CinnSettings, DiffusionSettings, GaussianSettings, Training
from lddm.task import Task

TASK = Task("binary", ("preserved", "reduced"))
NOISE = 0.05  # pixels of the mosaic: standard deviation of the posterior of z
HELD_OUT = 5  # one in this many patients of the pool is used for validation
LABELLED = ("motion_transfer", "gaussian", "cinn", "lddm")
SETTINGS: dict[str, Any] = {
    # Without distillation, whose training takes longer than it saves for a few hundred samples.
    "lddm": DiffusionSettings(
        distillation=None,
        training=Training(steps=1000, batch_size=32, learning_rate=1e-3, ema_decay=0.99, val_every=100),
    ),
    "cinn": CinnSettings(training=Training(steps=400, batch_size=32, learning_rate=5e-4, ema_decay=0.99, val_every=50)),
    "gaussian": GaussianSettings(),
    "motion_transfer": None,
}


def store_of(mosaics: np.ndarray) -> FrameStore:
    """Frame store of the x0 of patients, uint8 (n, 64, 64), for the trainers; clip i is patient i."""
    clips = pd.DataFrame({"clip_id": [str(i) for i in range(len(mosaics))], "first_frame": np.arange(len(mosaics))})
    meta = {"size": mosaics.shape[-1], "clip_length": 1, "fps": 1.0} | TASK.to_meta()
    return FrameStore(mosaics, clips, clips, meta)


def latent_set(z: Tensor, labels: np.ndarray, pool: np.ndarray, seed: int) -> LatentSet:
    """Latents of the patients of a pool, of which a fifth, stratified by label, is for validation.

    Args:
        z: float (n, D), latents of all patients.
        labels: int (n,), -1 for patients whose label is hidden.
        pool: indices of patients.
        seed: seed of the split.
    """
    order = np.random.default_rng([seed, 5]).permutation(pool)
    order = order[np.argsort(labels[order], kind="stable")]
    train = torch.arange(len(order)) % HELD_OUT > 0
    mean = z[order]
    std = torch.full_like(mean, NOISE)
    std[:, -1:] = 0  # the only coefficient is one
    none = torch.zeros(len(order), dtype=torch.bool)
    transform = LatentTransform.fit(SPEC, mean[train], std[train])
    return LatentSet(
        SPEC, mean, std, [str(i) for i in order], none, none, torch.from_numpy(labels[order]), train, transform
    )


def fit(name: str, latents: LatentSet, store: FrameStore, seed: int, folder: Path) -> LatentGenerator | MotionTransfer:
    """Train a generator, or load it from `<name>.safetensors` in the folder if that exists."""
    weights = folder / f"{name}.safetensors"
    entry = find_generator(name)
    if not weights.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        entry.fit(SETTINGS[name], latents, store, seed, folder / f"state-{name}", weights, lambda *_: None)
    return entry.model.load(weights).eval()


@torch.no_grad()
def draw(
    generator: Any, store: FrameStore, patients: np.ndarray, labels: np.ndarray, scale: float, seed: int
) -> Tensor:
    """Sample one z for the ED frames of each patient, float (n, D).

    The strain is not limited here, since z contains both views (see `fields_of`).

    Args:
        patients, labels: int (n,).
        scale: guidance scale for the label (diffusion only).
    """
    x0 = torch.from_numpy(store.frames[patients]).float()[:, None] / 127.5 - 1
    options = SamplingOptions("unipc", 20, scale)
    rng = torch.Generator().manual_seed(seed)
    sample = generator.sample if isinstance(generator, MotionTransfer) else generator.draw
    return sample(x0, torch.from_numpy(labels[:]), rng, options)
