"""Training of the latent diffusion model (stage 2)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lddm.generators.diffusion.distillation import distil
from lddm.generators.diffusion.model import LatentDiffusion
from lddm.generators.diffusion.process import add_noise, loss_weights, make_scheduler
from lddm.generators.trainer import LatentTrainer, OnLog
from lddm.latent.dataset import LatentDataset
from lddm.training.identity import Identity

VALIDATED = 256  # latents in memory at a time


class DiffusionTrainer(LatentTrainer[LatentDiffusion]):
    """Trains the denoiser, then distils the student."""

    model_type = LatentDiffusion
    keep_best = "loss"

    def __init__(self, model: LatentDiffusion, dataset: LatentDataset, val_dataset: LatentDataset, seed: int):
        super().__init__(model, dataset, val_dataset, seed)
        self.scheduler = make_scheduler(model.settings, "ddim")

    def loss(self, name: str, batch: tuple[Tensor, Tensor, Tensor], step: int, rng: torch.Generator):
        """Weighted squared error at random noise levels."""
        x0, z, label = batch
        settings = self.settings
        drawn: dict[str, Any] = {"generator": rng, "device": rng.device}
        timestep = torch.randint(settings.num_train_timesteps, (len(z),), **drawn).to(z.device)
        noise = torch.randn(z.shape, **drawn).to(z)
        image_mask = (torch.rand(len(z), **drawn) >= settings.image_dropout).to(z.device)
        label_mask = (torch.rand(len(z), **drawn) >= settings.label_dropout).to(z.device)
        noisy, target = add_noise(self.scheduler, z, noise, timestep)
        prediction = self.networks[name](noisy, timestep, x0, label, image_mask, label_mask)
        error = (prediction - target).square().mean(dim=1)
        weights = loss_weights(self.scheduler, timestep, settings.min_snr_gamma)
        return (weights * error).mean(), {"mse": error.mean()}

    def validate(self, networks: dict[str, Any], levels: int = 8) -> dict[str, float]:
        """Denoising error on the validation latents. Noise levels and noise are fixed, so that values are comparable.

        Returns:
            `loss` (weighted mean; chooses the weights) and `mse_<quarter>` per quarter of the noise levels, low to high.
        """
        denoiser, dataset = networks[self.model.name], self.val_dataset
        rng = torch.Generator().manual_seed(self.seed)
        edges = np.linspace(0, self.settings.num_train_timesteps, levels + 1)
        errors, weighted = [], []
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            level = int((low + high) / 2)
            parts = []
            for index in np.array_split(np.arange(len(dataset)), math.ceil(len(dataset) / VALIDATED)):
                x0, z, label = dataset.read(index, rng)
                timestep = torch.full((len(z),), level, device=z.device)
                noisy, target = add_noise(self.scheduler, z, torch.randn(z.shape, generator=rng).to(z), timestep)
                parts.append((denoiser(noisy, timestep, x0, label) - target).square().mean(dim=1))
            errors.append(torch.cat(parts).mean().item())
            weight = loss_weights(self.scheduler, torch.tensor([level]), self.settings.min_snr_gamma).item()
            weighted.append(errors[-1] * weight)
        quarters = {f"mse_{i}": float(np.mean(part)) for i, part in enumerate(np.array_split(errors, 4))}
        return {"loss": float(np.mean(weighted)), **quarters}

    def post_train(self, state_dir: Path, on_log: OnLog, identity: Identity) -> None:
        """Distil the student."""
        distil(self.model, self.dataset, self.val_dataset, self.seed, state_dir, on_log, identity)
