"""Training of stage 2."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lddm.data.frames import FrameStore
from lddm.diffusion.model import LatentDiffusion
from lddm.diffusion.process import add_noise, loss_weights, make_scheduler
from lddm.settings.models import DiffusionSettings
from lddm.training.latents import LatentReader, LatentSet
from lddm.training.loop import pick_device, step_indices, step_rng, train

logger = logging.getLogger(__name__)


class DiffusionTask:
    """Stage 2 as the training loop sees it; see `lddm.training.loop.Task`."""

    def __init__(self, model: LatentDiffusion, reader: LatentReader, seed: int):
        self.settings, self.reader, self.seed = model.settings, reader, seed
        self.players: dict[str, nn.Module] = {"lddm": model}
        self.scheduler = make_scheduler(model.settings, "ddim")

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        index = step_indices(len(self.reader), self.settings.training.batch_size, self.seed, step)
        return self.reader.read(index, step_rng(self.seed + 1, step))

    def loss(self, player: str, batch: tuple[Tensor, Tensor, Tensor], step: int, rng: torch.Generator):
        x0, z, label = batch
        settings = self.settings
        timestep = torch.randint(settings.noise_steps, (len(z),), generator=rng).to(z.device)
        noise = torch.randn(z.shape, generator=rng).to(z)
        keep_image = (torch.rand(len(z), generator=rng) >= settings.image_dropout).to(z.device)
        keep_label = (torch.rand(len(z), generator=rng) >= settings.label_dropout).to(z.device)
        noisy, target = add_noise(self.scheduler, z, noise, timestep)
        prediction = self.players[player].denoiser(noisy, timestep, x0, label, keep_image, keep_label)
        error = (prediction - target).square().mean(dim=1)
        weights = loss_weights(self.scheduler, timestep, settings.min_snr_gamma)
        return (weights * error).mean(), {"mse": error.mean()}


@torch.no_grad()
def validation_loss(model: LatentDiffusion, reader: LatentReader, seed: int, levels: int = 8) -> dict[str, float]:
    """Denoising error on held-out latents, at fixed noise levels and with fixed noise, so that values compare.

    Returns:
        `loss` (weighted mean, chooses the weights) and `mse_<quarter>` by noise level, low to high.
    """
    scheduler = make_scheduler(model.settings, "ddim")
    rng = torch.Generator().manual_seed(seed)
    edges = np.linspace(0, model.settings.noise_steps, levels + 1)
    errors, weighted = [], []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        x0, z, label = reader.read(np.arange(len(reader)), rng)
        timestep = torch.full((len(z),), int((low + high) / 2), device=z.device)
        noisy, target = add_noise(scheduler, z, torch.randn(z.shape, generator=rng).to(z), timestep)
        error = (model.denoiser(noisy, timestep, x0, label) - target).square().mean()
        errors.append(error.item())
        weighted.append(error.item() * loss_weights(scheduler, timestep[:1], model.settings.min_snr_gamma).item())
    quarters = {f"mse_{i}": float(np.mean(part)) for i, part in enumerate(np.array_split(errors, 4))}
    return {"loss": float(np.mean(weighted)), **quarters}


def train_diffusion(
    settings: DiffusionSettings,
    latents: LatentSet,
    store: FrameStore,
    seed: int,
    state_dir: Path,
    out: Path,
    on_log: Callable[[int, dict[str, float]], None],
) -> None:
    """Train stage 2 on the train latents and write the weights that are best on the val latents."""
    device = pick_device()
    torch.manual_seed(seed)  # initial weights
    model = LatentDiffusion(settings, latents.spec, store.size, len(store.meta["classes"]))
    model.whitening.load_state_dict(latents.whitening.state_dict())
    reader, val_reader = (LatentReader(latents, store, part, device) for part in (True, False))
    logger.info("stage 2: %d train and %d val latents of %d numbers", len(reader), len(val_reader), latents.spec.size)

    def validate(players: dict[str, nn.Module]) -> dict[str, float]:
        return validation_loss(players["lddm"], val_reader, seed)

    identity = f"{latents.mean.double().sum().item()!r} {latents.clip[:1]} {len(latents.clip)}"
    task = DiffusionTask(model, reader, seed)
    train(task, settings.training, seed, state_dir, on_log, validate, keep_best="loss", data_identity=identity)
    model.save(out, seed=seed, latents=len(reader))
