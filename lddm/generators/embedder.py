"""Training of the autoencoder whose frozen code of x0 is the condition of a generator of vectors."""

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
    """The autoencoder of x0 as the training loop sees it; see `lddm.training.step.Task`.

    ASSUME: L1 over all pixels and KL. The release adds LPIPS and, late, an adversarial loss (stage2_cINN/AE/modules/loss.py),
    which sharpen the decoded frame; only the code is used.
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
        """As `lddm.training.feed.feed` asks."""
        return not self.x0.resident

    def host_batch(self, number: int) -> tuple[Tensor, Tensor]:
        """The part of `batch` that a thread does."""
        return self.x0.gather(self.indices.of_host(number))

    def upload(self, host_batch: tuple[Tensor, Tensor]) -> Tensor:
        """The rest of `batch`."""
        return self.x0.upload(host_batch)

    def loss(self, name: str, batch: Tensor, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        network = self.networks[name]
        noise = torch.randn((len(batch), network.dim), generator=rng, device=rng.device).to(batch)
        decoded, kl = network.reconstruct(batch, noise)
        l1 = (decoded - batch).abs().mean()
        pixels = batch[0].numel()  # the release sums over pixels and KL; a mean over pixels has the same optimum
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
    """Train the autoencoder on the x0 of training latents, in place, and freeze it.

    Args:
        generator_training: that of the generator, whose processes and precision it shares.
        dataset, val_dataset: whose x0 are encoded; those of validation choose the weights.
        state_dir: of the generator; the state of this training is in a folder below it.
        on_log: called with (0, values): the steps of the generator follow.
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
