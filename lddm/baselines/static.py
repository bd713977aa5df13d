"""Static: x0 repeated. What a classifier gains from it comes from the extra stills, not from motion."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from lddm.nn.condition import SamplingOptions
from lddm.training.weights import load_weights, save_weights


class Static(nn.Module):
    """No latent at all: `sample` gives None, and the animator then repeats x0."""

    name = "static"

    def sample(self, x0: Tensor, label: Tensor, rng: torch.Generator, options: SamplingOptions) -> None:
        """None, by design."""
        return None

    def save(self, path: str | Path, **provenance) -> None:
        """Write a file that only says what it is."""
        save_weights(path, {"none": torch.zeros(1)}, "generator:static", provenance=provenance)

    @classmethod
    def load(cls, path: str | Path) -> Static:
        """Read what `save` wrote."""
        load_weights(path, "generator:static")
        return cls()
