"""The diffusion model as one module: denoiser, standardisation, sampling, saving."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from lddm.diffusion.denoiser import build_denoiser
from lddm.diffusion.process import make_scheduler
from lddm.nn.condition import SamplingOptions
from lddm.nn.latent import LatentSpec
from lddm.nn.whitening import Whitening
from lddm.settings.models import DiffusionSettings
from lddm.training.weights import load_into, load_weights, save_weights


class LatentDiffusion(nn.Module):
    """p(z | x0, label).

    Args:
        settings: the section `diffusion`.
        spec: structure of z.
        size: height and width S of x0.
        classes: number of class labels.
    """

    name = "lddm"

    def __init__(self, settings: DiffusionSettings, spec: LatentSpec, size: int, classes: int):
        super().__init__()
        self.settings, self.spec, self.size, self.classes = settings, spec, size, classes
        used = classes if settings.use_label else 0
        self.denoiser = build_denoiser(spec, size, settings.width, settings.depth, used)
        self.whitening = Whitening(spec)

    @torch.no_grad()
    def sample(self, x0: Tensor, label: Tensor, rng: torch.Generator, options: SamplingOptions) -> Tensor:
        """Draw z for each x0.

        Args:
            x0: float (B, 1, S, S) in [-1, 1].
            label: int64 (B,), -1 unknown.
            rng: on the CPU, so that every device draws the same numbers.

        Returns:
            float (B, D), in the units of stage 1 (not standardised).
        """
        scheduler = make_scheduler(self.settings, options.sampler)
        scheduler.set_timesteps(options.steps)
        z = torch.randn((len(x0), self.spec.size), generator=rng).to(x0)
        for timestep in scheduler.timesteps:
            prediction = self._guided(z, timestep.to(x0.device).expand(len(x0)), x0, label, options.guidance)
            z = scheduler.step(prediction, timestep, z).prev_sample
        return self.whitening.invert(z)

    def _guided(self, z: Tensor, timestep: Tensor, x0: Tensor, label: Tensor, guidance: float) -> Tensor:
        """Classifier-free guidance (Ho & Salimans 2022, eq. 6) away from the model that knows neither image nor label."""
        prediction = self.denoiser(z, timestep, x0, label)
        if guidance == 1:
            return prediction
        nothing = torch.zeros(len(z), dtype=torch.bool, device=z.device)
        free = self.denoiser(z, timestep, x0, label, nothing, nothing)
        return free + guidance * (prediction - free)

    def save(self, path: str | Path, **provenance) -> None:
        """Write weights that describe themselves."""
        about = {
            "settings": self.settings.model_dump(mode="json"),
            "spec": self.spec.to_dict(),
            "size": self.size,
            "classes": self.classes,
        }
        save_weights(path, self, "generator:lddm", **about, provenance=provenance)

    @classmethod
    def load(cls, path: str | Path) -> LatentDiffusion:
        """Read weights; needs nothing but the file."""
        state, about = load_weights(path, "generator:lddm")
        settings = DiffusionSettings.model_validate(about["settings"])
        model = cls(settings, LatentSpec(**about["spec"]), about["size"], about["classes"])
        return load_into(model, state, path)
