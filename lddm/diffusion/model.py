"""The diffusion model as one module: denoiser, standardisation, sampling."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lddm.diffusion.denoiser import build_denoiser
from lddm.diffusion.process import denoise
from lddm.nn.condition import SamplingOptions
from lddm.nn.latent import LatentSpec
from lddm.settings.models import DiffusionSettings
from lddm.training.generator import LatentGenerator


class LatentDiffusion(LatentGenerator):
    """p(z | x0, label) by diffusion; arguments as in `LatentGenerator`."""

    name = "lddm"
    settings_type = DiffusionSettings

    def __init__(self, settings: DiffusionSettings, spec: LatentSpec, size: int, classes: int):
        super().__init__(settings, spec, size, classes)
        used = classes if settings.use_label else 0
        self.denoiser = build_denoiser(spec, size, settings.width, settings.depth, used)

    def prepare(self, x0: Tensor, z: Tensor, label: Tensor) -> None:
        """The denoiser learns how latents were standardised."""
        self.denoiser.fit(self.whitening)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the part that training calls."""
        self.denoiser.compile(*args, **kwargs)

    @torch.no_grad()
    def sample(self, x0: Tensor, label: Tensor, rng: torch.Generator, options: SamplingOptions) -> Tensor:
        """Draw z for each x0; see `LatentGenerator.sample`."""
        nothing = torch.zeros(len(x0), dtype=torch.bool, device=x0.device)
        known = self.denoiser.condition(x0, label)
        free = self.denoiser.condition(x0, label, nothing if options.guide_by == "image+label" else ~nothing, nothing)

        def predict(z: Tensor, timestep: Tensor, conditioned: bool) -> Tensor:
            return self.denoiser.denoise(z, timestep, *(known if conditioned else free))

        noise = torch.randn((len(x0), self.spec.size), generator=rng).to(x0)
        return self.whitening.invert(denoise(self.settings, options, noise, predict))
