"""Training of stage 2."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lddm.diffusion.denoiser import Denoiser
from lddm.diffusion.distillation import distil
from lddm.diffusion.model import LatentDiffusion
from lddm.diffusion.process import add_noise, loss_weights, make_scheduler
from lddm.nn.condition import SamplingOptions
from lddm.settings.models import DiffusionSettings
from lddm.training.generator import LatentTask, fit_generator
from lddm.training.identity import Identity
from lddm.training.latents import LatentReader

logger = logging.getLogger(__name__)
DRAWN, AT_A_TIME = 2048, 128  # about how many samples moments are taken from: a standard deviation is known to 2 %
VALIDATED = 256  # latents in memory at a time


class DiffusionTask(LatentTask):
    """Diffusion as the training loop sees it."""

    def __init__(self, model: LatentDiffusion, reader: LatentReader, seed: int):
        super().__init__(model, reader, seed)
        self.scheduler = make_scheduler(model.settings, "ddim")

    def loss(self, player: str, batch: tuple[Tensor, Tensor, Tensor], step: int, rng: torch.Generator):
        x0, z, label = batch
        settings = self.settings
        timestep = torch.randint(settings.noise_steps, (len(z),), generator=rng).to(z.device)
        noise = torch.randn(z.shape, generator=rng).to(z)
        keep_image = (torch.rand(len(z), generator=rng) >= settings.image_dropout).to(z.device)
        keep_label = (torch.rand(len(z), generator=rng) >= settings.label_dropout).to(z.device)
        noisy, target = add_noise(self.scheduler, z, noise, timestep)
        prediction = self.players[player](noisy, timestep, x0, label, keep_image, keep_label)
        error = (prediction - target).square().mean(dim=1)
        weights = loss_weights(self.scheduler, timestep, settings.min_snr_gamma)
        return (weights * error).mean(), {"mse": error.mean()}


@torch.no_grad()
def validation_loss(
    denoiser: Denoiser, settings: DiffusionSettings, reader: LatentReader, seed: int, levels: int = 8
) -> dict[str, float]:
    """Denoising error on held-out latents, at fixed noise levels and with fixed noise, so that values compare.

    Returns:
        `loss` (weighted mean, chooses the weights) and `mse_<quarter>` by noise level, low to high.
    """
    scheduler = make_scheduler(settings, "ddim")
    rng = torch.Generator().manual_seed(seed)
    edges = np.linspace(0, settings.noise_steps, levels + 1)
    errors, weighted = [], []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        level = int((low + high) / 2)
        parts = []
        for index in np.array_split(np.arange(len(reader)), math.ceil(len(reader) / VALIDATED)):
            x0, z, label = reader.read(index, rng)
            timestep = torch.full((len(z),), level, device=z.device)
            noisy, target = add_noise(scheduler, z, torch.randn(z.shape, generator=rng).to(z), timestep)
            parts.append((denoiser(noisy, timestep, x0, label) - target).square().mean(dim=1))
        errors.append(torch.cat(parts).mean().item())
        weight = loss_weights(scheduler, torch.tensor([level]), settings.min_snr_gamma).item()
        weighted.append(errors[-1] * weight)
    quarters = {f"mse_{i}": float(np.mean(part)) for i, part in enumerate(np.array_split(errors, 4))}
    return {"loss": float(np.mean(weighted)), **quarters}


@torch.no_grad()
def match_moments(model: LatentDiffusion, reader: LatentReader, seed: int, steps: int = 10) -> None:
    """Fit `model.matching`: samples for the x0 and labels of training, without guidance, against their z.

    Each entry of the reader is sampled equally often, since entries (mirrored and reversed copies among them) differ in
    their means; of more than `DRAWN` entries a random subset is compared.

    Args:
        steps: UniPC steps of the samples. ASSUME: the moments of other samplers are close to these.
    """
    rng = torch.Generator().manual_seed(seed)
    chosen = np.arange(len(reader))
    if len(reader) > DRAWN:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(reader))[:DRAWN])
    x0, real, label = reader.read(chosen, rng)
    passes = max(1, round(DRAWN / len(chosen)))
    order = torch.arange(len(chosen), device=x0.device).repeat(passes)
    drawn = []
    for index in order.split(AT_A_TIME):
        noise = torch.randn((len(index), model.spec.size), generator=rng).to(x0)
        drawn.append(model.many_steps(noise, x0[index], label[index], SamplingOptions("unipc", steps)))
    model.matching.fit(model.whitening, torch.cat(drawn), real)
    ratio, offset = model.matching.ratio, model.matching.offset
    logger.info(
        "samples matched: spread times %.2f to %.2f, means by up to %.2f", ratio.min(), ratio.max(), offset.abs().max()
    )


def finish(
    model: LatentDiffusion,
    reader: LatentReader,
    val_reader: LatentReader,
    seed: int,
    state_dir: Path,
    on_log: Callable[[int, dict[str, float]], None],
    identity: Identity,
) -> None:
    """What follows the training of the denoiser: moment matching and distillation."""
    if model.settings.match_moments:
        distillation = model.settings.distillation
        match_moments(model, reader, seed, distillation.sampler_steps if distillation else 10)
    distil(model, reader, val_reader, seed, state_dir, on_log, identity)


PACKAGES = ("diffusion", "nn", "training", "data")
train_diffusion = partial(
    fit_generator, LatentDiffusion, DiffusionTask, validation_loss, "loss", PACKAGES, finish=finish
)
