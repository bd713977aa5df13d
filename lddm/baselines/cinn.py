"""Conditional invertible network: p(z | x0) by a normalising flow (Dorkenwald et al., CVPR 2021)."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lddm.nn.condition import ImageCondition, SamplingOptions
from lddm.nn.latent import LatentSpec
from lddm.nn.noise import Rng, normal
from lddm.settings.models import CinnSettings
from lddm.training.generator import LatentGenerator, LatentTask, fit_generator
from lddm.training.latents import LatentReader

CONDITION = 64  # size of the x0 embedding, as in the BAIR configuration of the release
VALIDATED = 256  # latents in memory at a time


class ConditionalFlow(LatentGenerator):
    """p(z | x0, label) by an invertible network; arguments as in `LatentGenerator`."""

    name = "cinn"
    settings_type = CinnSettings

    def __init__(self, settings: CinnSettings, spec: LatentSpec, size: int, classes: int):
        super().__init__(settings, spec, size, classes)
        self.condition = ImageCondition(size, None, 16, CONDITION, classes if settings.use_label else 0)
        from lddm.baselines.flow_blocks import build_flow  # here: only this baseline pays for importing FrEIA

        self.flow = build_flow(settings, spec.size, CONDITION)

    @torch.no_grad()
    def prepare(self, x0: Tensor, z: Tensor, label: Tensor) -> None:
        """ActNorm takes its first scale and shift from this batch."""
        self.log_prob(z, x0, label)

    def log_prob(self, z: Tensor, x0: Tensor, label: Tensor) -> Tensor:
        """log p(z | x0, label) of standardised z, in nats: (B,)."""
        _, condition = self.condition(x0, label)
        residual, log_det = self.flow(z, c=[condition])
        return -0.5 * (residual.square() + math.log(2 * math.pi)).sum(dim=1) + log_det

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the part that training calls."""
        self.flow.compile(*args, **kwargs)

    def draw(self, x0: Tensor, label: Tensor, rng: Rng, options: SamplingOptions) -> Tensor:
        """As `LatentGenerator.draw`; the options of diffusion do not apply."""
        _, condition = self.condition(x0, label)
        residual = normal(rng, (len(x0), self.spec.size)).to(x0)
        z, _ = self.flow(residual, c=[condition], rev=True)
        return self.whitening.invert(z)


class FlowTask(LatentTask):
    """The flow as the training loop sees it."""

    def loss(self, player: str, batch: tuple[Tensor, Tensor, Tensor], step: int, rng: torch.Generator):
        x0, z, label = batch
        dropped = torch.rand(len(label), generator=rng) < self.settings.label_dropout  # trains the unknown label, too
        label = label.masked_fill(dropped.to(label.device), -1)
        nll = -self.players[player].log_prob(z, x0, label).mean() / z.shape[1]
        return nll, {"nll_per_dim": nll}


def validation_nll(model: ConditionalFlow, settings: CinnSettings, reader: LatentReader, seed: int) -> dict[str, float]:
    """Negative log-likelihood of held-out latents, in nats per dimension."""
    rng, parts = torch.Generator().manual_seed(seed), []
    for index in np.array_split(np.arange(len(reader)), math.ceil(len(reader) / VALIDATED)):
        x0, z, label = reader.read(index, rng)
        parts.append(model.log_prob(z, x0, label))
    return {"nll_per_dim": -torch.cat(parts).mean().item() / z.shape[1]}


PACKAGES = ("baselines", "nn", "training", "data")
train_cinn = partial(fit_generator, ConditionalFlow, FlowTask, validation_nll, "nll_per_dim", PACKAGES)
