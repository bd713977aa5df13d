"""Training of the image autoencoder whose frozen embedding of x0 conditions a generator of vector latents."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lddm.latent.dataset import LatentDataset
from lddm.latent.stills import Stills
from lddm.nn.embedder import AutoencoderEmbedder
from lddm.settings.models import EmbedderSettings, Training
from lddm.training.identity import Identity
from lddm.training.loop import train
from lddm.training.schedule import IndexTable

EMBEDDER = "embedder"  # subfolder of the state of this training
VALIDATED = 256  # frames in memory at a time


class EmbedderTask:
    """Training task of the autoencoder of x0; implements `lddm.training.step.Task`.

    ASSUME: L1 over all pixels plus KL. The released code adds LPIPS and, later in training, an adversarial loss
    (stage2_cINN/AE/modules/loss.py). Both sharpen the decoded frame, but only the embedding is used here.
    """

    def __init__(self, embedder: AutoencoderEmbedder, x0: Stills, settings: EmbedderSettings, seed: int):
        self.x0, self.settings = x0, settings
        self.indices = IndexTable(len(x0), settings.batch_size, seed, x0.device)
        self.networks: dict[str, Any] = {EMBEDDER: embedder}

    def batch(self, number: int) -> Tensor:
        """x0 float (B, 1, S, S)."""
        return self.x0[self.indices[number]]

    @property
    def reads_ahead(self) -> bool:
        """Whether `lddm.training.feed.feed` prefetches batches."""
        return not self.x0.resident

    def host_batch(self, number: int) -> tuple[Tensor, Tensor]:
        """First half of `batch`, run in a loader thread."""
        return self.x0.gather(self.indices.of_host(number))

    def upload(self, host_batch: tuple[Tensor, Tensor]) -> Tensor:
        """Second half of `batch`, on the device."""
        return self.x0.upload(host_batch)

    def loss(self, name: str, batch: Tensor, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        network = self.networks[name]
        noise = torch.randn((len(batch), network.dim), generator=rng, device=rng.device).to(batch)
        decoded, kl = network.reconstruct(batch, noise)
        l1 = (decoded - batch).abs().mean()
        pixels = batch[0].numel()  # the released code sums over pixels; the mean over pixels has the same optimum
        return l1 + self.settings.kl_weight / pixels * kl.mean(), {"l1": l1, "kl": kl.mean()}


def fit_embedder(
    embedder: AutoencoderEmbedder,
    settings: EmbedderSettings,
    generator_training: Training,
    dataset: LatentDataset,
    val_dataset: LatentDataset,
    seed: int,
    state_dir: Path,
    on_log: Callable[[int, dict[str, float]], None],
    identity: Identity,
) -> None:
    """Train the autoencoder in place on the x0 of the training latents, then freeze it.

    Args:
        generator_training: training settings of the generator, for the number of processes and the precision.
        dataset, val_dataset: sources of x0 for training and for the choice of the weights.
        state_dir: state folder of the generator; the state of this training is kept in a subfolder.
        on_log: called with (0, values), since the steps of the generator follow.
    """

    @torch.no_grad()
    def validate(networks: dict[str, Any]) -> dict[str, float]:
        parts = []
        for start in range(0, len(val_dataset), VALIDATED):
            x0 = val_dataset.x0[start : start + VALIDATED]
            decoded, _ = networks[EMBEDDER].reconstruct(x0, x0.new_zeros(len(x0), embedder.dim))
            parts.append((decoded - x0).abs().mean(dim=(1, 2, 3)))
        return {"l1": torch.cat(parts).mean().item()}

    every = max(1, math.ceil(settings.steps / 8))
    changes = {
        "steps": settings.steps,
        "batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "warmup_steps": 0,
        "ema_decay": 0.99,
        "val_every": every,
        "checkpoint_every": every,
        "log_every": min(50, every),
        "compile": False,
    }
    training = generator_training.model_copy(update=changes)

    def log(_: int, values: dict[str, float]) -> None:
        on_log(0, {f"{EMBEDDER}/{name}": value for name, value in values.items()})

    task = EmbedderTask(embedder, dataset.x0, settings, seed)
    identity = identity.extended(stage=EMBEDDER)
    train(task, training, seed, state_dir / EMBEDDER, log, validate, "l1", identity=identity)
    embedder.requires_grad_(False)
