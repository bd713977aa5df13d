"""Latent diffusion model: denoiser, distilled student, standardisation and sampling in one module."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from lddm.errors import LddmError
from lddm.generators.base import LatentGenerator
from lddm.generators.diffusion.denoiser import build_denoiser
from lddm.generators.diffusion.process import denoise
from lddm.generators.diffusion.student import Student
from lddm.generators.sampling import Rng, SamplingOptions, normal
from lddm.latent.spec import LatentSpec
from lddm.nn.condition import NO_LABELS, LabelSpec
from lddm.settings.models import DiffusionSettings
from lddm.training.graphs import replayed


class LatentDiffusion(LatentGenerator):
    """p(z | x0, label) as a diffusion model. Arguments as in `LatentGenerator`."""

    name = "lddm"
    settings_type = DiffusionSettings

    def __init__(
        self,
        settings: DiffusionSettings,
        spec: LatentSpec,
        size: int,
        labels: LabelSpec,
    ):
        super().__init__(settings, spec, size, labels)
        used = labels if settings.use_label else NO_LABELS
        network = (spec, size, settings.width, settings.depth, used)
        self.denoiser = build_denoiser(*network, self.new_embedder())
        self.student: Student | None = None
        if settings.distillation:  # trained after the denoiser (lddm.generators.diffusion.distillation)
            student = Student(
                build_denoiser(*network, self.new_embedder()), settings.distillation, settings.num_train_timesteps
            )
            self.student = student.requires_grad_(False)

    def prepare(self, x0: Tensor, z: Tensor, label: Tensor) -> None:
        """Pass the fitted whitening to the denoiser."""
        self.denoiser.fit(self.transform.whitening)

    def trained(self) -> nn.Module:
        """Return the denoiser; the student is distilled from it afterwards."""
        return self.denoiser

    def draw(self, x0: Tensor, label: Tensor, rng: Rng, options: SamplingOptions) -> Tensor:
        """As `LatentGenerator.draw`.

        Raises:
            LddmError: sampler "distilled" for a model that was not distilled, or not for this guidance scale.
        """
        noise = normal(rng, (len(x0), self.spec.normalised_size)).to(x0)
        if options.sampler == "distilled":
            return self.transform.invert(self.sample_student(noise, x0, label, options))
        return self.transform.invert(self.sample_steps(noise, x0, label, options, rng=rng))

    def sample_student(self, noise: Tensor, x0: Tensor, label: Tensor, options: SamplingOptions) -> Tensor:
        """Map noise (B, N) to normalised z (B, N) by one step of the student."""
        if self.student is None:
            raise LddmError(
                "the model was not distilled", "take sampler unipc, or set diffusion.distillation and train"
            )
        self.student.check(options)
        return replayed(self.student)(noise, noise.new_full((len(noise),), options.guidance_scale), x0, label)

    def sample_steps(
        self,
        noise: Tensor,
        x0: Tensor,
        label: Tensor,
        options: SamplingOptions,
        guidance_scale: Tensor | None = None,
        rng: Rng | None = None,
    ) -> Tensor:
        """Map noise (B, N) to normalised z (B, N) with the sampler of the options.

        Args:
            guidance_scale: float (B, 1), one scale per sample; overrides the scale of the options.
            rng: source of the noise that sampler "ddpm" adds at each step.
        """
        nothing = torch.zeros(len(x0), dtype=torch.bool, device=x0.device)

        @cache  # computed once for all steps; the unconditional branch only with guidance
        def condition(conditioned: bool) -> tuple[Tensor, Tensor]:
            if conditioned:
                return self.denoiser.condition(x0, label)
            image_mask = nothing if options.guidance_target == "image+label" else ~nothing
            return self.denoiser.condition(x0, label, image_mask, nothing)

        step = replayed(self.denoiser, "denoise")

        def predict(z: Tensor, timestep: Tensor, conditioned: bool) -> Tensor:
            return step(z, timestep, *condition(conditioned))

        return denoise(self.settings, options, noise, predict, guidance_scale, rng)
