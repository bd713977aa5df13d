"""The generators of the package on pairs of CAMUS: each learns p(z | both ED frames, label) from the patients of a pool."""

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
NOISE = 0.05  # pixels of the mosaic: standard deviation of the measurement, as the posterior of z states it
HELD_OUT = 5  # one of so many patients of the pool chooses the weights
LABELLED = ("motion_transfer", "gaussian", "cinn", "lddm")
SETTINGS: dict[str, Any] = {
    # Without distillation: some hundred samples do not pay for a student.
    "lddm": DiffusionSettings(
        distillation=None,
        training=Training(steps=1000, batch_size=32, learning_rate=1e-3, ema_decay=0.99, val_every=100),
    ),
    "cinn": CinnSettings(training=Training(steps=400, batch_size=32, learning_rate=5e-4, ema_decay=0.99, val_every=50)),
    "gaussian": GaussianSettings(),
    "motion_transfer": None,
}


def store_of(mosaics: np.ndarray) -> FrameStore:
    """The x0 of patients as the trainers read them: uint8 (n, 64, 64); clip i is patient i."""
    clips = pd.DataFrame({"clip_id": [str(i) for i in range(len(mosaics))], "first_frame": np.arange(len(mosaics))})
    meta = {"size": mosaics.shape[-1], "clip_length": 1, "fps": 1.0} | TASK.to_meta()
    return FrameStore(mosaics, clips, clips, meta)


def latent_set(z: Tensor, labels: np.ndarray, pool: np.ndarray, seed: int) -> LatentSet:
    """Latents of the patients of a pool; a fifth of them, drawn by label, is for validation.

    Args:
        z: float (n, D), of all patients.
        labels: int (n,), -1 for those whose label may not be known.
        pool: indices of patients.
        seed: of the division.
    """
    order = np.random.default_rng([seed, 5]).permutation(pool)
    order = order[np.argsort(labels[order], kind="stable")]
    train = torch.arange(len(order)) % HELD_OUT > 0
    mean = z[order]
    std = torch.full_like(mean, NOISE)
    std[:, -1:] = 0  # the coefficient is one
    none = torch.zeros(len(order), dtype=torch.bool)
    transform = LatentTransform.fit(SPEC, mean[train], std[train])
    return LatentSet(
        SPEC, mean, std, [str(i) for i in order], none, none, torch.from_numpy(labels[order]), train, transform
    )


def fit(name: str, latents: LatentSet, store: FrameStore, seed: int, folder: Path) -> LatentGenerator | MotionTransfer:
    """Train a generator, or load it if it is there; its weights are `<name>.safetensors` in the folder."""
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
    """One z for the ED frames of each patient, float (n, D); not limited, since both views are in it (see `fields_of`).

    Args:
        patients, labels: int (n,).
        scale: guidance by the label, for diffusion.
    """
    x0 = torch.from_numpy(store.frames[patients]).float()[:, None] / 127.5 - 1
    options = SamplingOptions("unipc", 20, scale)
    rng = torch.Generator().manual_seed(seed)
    sample = generator.sample if isinstance(generator, MotionTransfer) else generator.draw
    return sample(x0, torch.from_numpy(labels[:]), rng, options)
