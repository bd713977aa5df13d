"""The posterior q(z | x), a diagonal Gaussian."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Posterior:
    """Mean and log-variance of z, both float (B, D)."""

    mean: Tensor
    logvar: Tensor

    def sample(self, rng: torch.Generator) -> Tensor:
        """One reparametrised sample; `rng` is on the CPU, so that all devices use the same numbers."""
        noise = torch.randn(self.mean.shape, generator=rng, device=rng.device).to(self.mean)
        return self.mean + (0.5 * self.logvar).exp() * noise

    def kl(self) -> Tensor:
        """KL(q || N(0, I)), mean over batch and dimensions, in nats."""
        return 0.5 * (self.mean.square() + self.logvar.exp() - 1 - self.logvar).mean()
