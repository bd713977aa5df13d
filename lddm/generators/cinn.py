"""Conditional invertible network: p(z | x0) by a normalising flow (Dorkenwald et al., CVPR 2021)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lddm.generators.base import LatentGenerator
from lddm.generators.sampling import Rng, SamplingOptions, normal
from lddm.generators.trainer import LatentTrainer
from lddm.latent.spec import LatentSpec
from lddm.nn.condition import NO_LABELS, LabelSpec, unknown_like, vector_condition
from lddm.settings.models import CinnSettings

CONDITION = 64  # size of the x0 embedding, as in the BAIR configuration of the released code
VALIDATED = 256  # latents in memory at a time


class ConditionalFlow(LatentGenerator):
    """p(z | x0, label) as a conditional invertible network. Arguments as in `LatentGenerator`."""

    name = "cinn"
    settings_type = CinnSettings

    def __init__(
        self,
        settings: CinnSettings,
        spec: LatentSpec,
        size: int,
        labels: LabelSpec,
    ):
        super().__init__(settings, spec, size, labels)
        used = labels if settings.use_label else NO_LABELS
        self.condition = vector_condition(self.new_embedder(), size, 16, CONDITION, used)
        from lddm.generators.flow_blocks import build_flow  # local import: FrEIA is slow to import

        self.flow = build_flow(settings, spec.normalised_size, CONDITION)

    @torch.no_grad()
    def prepare(self, x0: Tensor, z: Tensor, label: Tensor) -> None:
        """Initialise scale and shift of ActNorm from this batch."""
        self.log_prob(z, x0, label)

    def log_prob(self, z: Tensor, x0: Tensor, label: Tensor) -> Tensor:
        """log p(z | x0, label) of normalised z, in nats: (B,)."""
        _, condition = self.condition(x0, label)
        residual, log_det = self.flow(z, c=[condition])
        return -0.5 * (residual.square() + math.log(2 * math.pi)).sum(dim=1) + log_det

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the part that training uses."""
        self.flow.compile(*args, **kwargs)

    def draw(self, x0: Tensor, label: Tensor, rng: Rng, options: SamplingOptions) -> Tensor:
        """As `LatentGenerator.draw`; the diffusion options are ignored."""
        _, condition = self.condition(x0, label)
        residual = normal(rng, (len(x0), self.spec.normalised_size)).to(x0)
        z, _ = self.flow(residual, c=[condition], rev=True)
        return self.transform.invert(z)


class FlowTrainer(LatentTrainer[ConditionalFlow]):
    """Trains a `ConditionalFlow` by maximum likelihood."""

    model_type = ConditionalFlow
    keep_best = "nll_per_dim"

    def loss(self, name: str, batch: tuple[Tensor, Tensor, Tensor], step: int, rng: torch.Generator):
        """Mean negative log-likelihood of a batch, in nats per dimension."""
        x0, z, label = batch
        # Label dropout trains the embedding of the unknown label.
        dropped = torch.rand(len(label), generator=rng, device=rng.device) < self.settings.label_dropout
        label = label.masked_fill(dropped.to(label.device), unknown_like(label))
        nll = -self.networks[name].log_prob(z, x0, label).mean() / z.shape[1]
        return nll, {"nll_per_dim": nll}

    def validate(self, networks: dict[str, Any]) -> dict[str, float]:
        """Negative log-likelihood of the val latents, in nats per dimension."""
        rng, parts = torch.Generator().manual_seed(self.seed), []
        for index in np.array_split(np.arange(len(self.val_dataset)), math.ceil(len(self.val_dataset) / VALIDATED)):
            x0, z, label = self.val_dataset.read(index, rng)
            parts.append(networks[self.model.name].log_prob(z, x0, label))
        return {"nll_per_dim": -torch.cat(parts).mean().item() / self.model.spec.normalised_size}
