"""One-step student network for distillation."""

from __future__ import annotations

from torch import Tensor, nn

from lddm.errors import LddmError
from lddm.generators.diffusion.denoiser import Denoiser
from lddm.generators.sampling import SamplingOptions
from lddm.settings.models import DistillationSettings


class Student(nn.Module):
    """Predicts the sampler's normalised z from noise, guidance scale, x0 and label in one step.

    Source: Luhman & Luhman 2021; Meng et al. 2023.

    z = noise - f(noise): most directions of z are independent of x0, so the sampler barely changes their noise and the
    residual f is small. The timestep input encodes the guidance scale.

    Args:
        network: a denoiser, initialised from the trained teacher.
        settings: distillation settings, with the range of guidance scales.
        num_train_timesteps: range of the timestep input.
    """

    def __init__(self, network: Denoiser, settings: DistillationSettings, num_train_timesteps: int):
        super().__init__()
        self.network, self.settings = network, settings
        self.guidance_to_timestep = num_train_timesteps / settings.max_guidance_scale

    def forward(self, noise: Tensor, guidance_scale: Tensor, x0: Tensor, label: Tensor) -> Tensor:
        """noise (B, N), guidance_scale (B,), x0 (B, 1, S, S), label (B,) -> normalised z (B, N)."""
        return noise - self.network(noise, self.guidance_to_timestep * guidance_scale, x0, label)

    def check(self, options: SamplingOptions) -> None:
        """Raise LddmError for sampling options that the student was not trained for."""
        known = self.settings
        if not known.supports(options.guidance_scale, options.guidance_target):
            raise LddmError(
                f"sampler 'distilled' was asked for guidance {options.guidance_scale:g} by {options.guidance_target}; the "
                f"model was distilled for 1 to {known.max_guidance_scale:g} by {known.guidance_target}",
                "take sampler unipc, or change diffusion.distillation and train again",
            )
