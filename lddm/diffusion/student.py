"""One step instead of many: a network that has learnt what the sampler makes of noise."""

from __future__ import annotations

from torch import Tensor, nn

from lddm.diffusion.denoiser import Denoiser
from lddm.errors import LddmError
from lddm.nn.condition import SamplingOptions
from lddm.settings.models import DistillationSettings


class Student(nn.Module):
    """Noise, guidance scale, x0 and label -> white z, as the sampler would (Luhman & Luhman 2021; Meng et al. 2023).

    z = noise - f(noise): most directions of white z cannot be predicted from x0, and the sampler leaves their noise nearly
    as it is, so that there is little to learn. The denoiser's clock, which has no time to tell here, shows the guidance
    scale.

    Args:
        network: a denoiser; trained as one, it is a good beginning.
        settings: for which guidance it is taught.
        noise_steps: the range of the denoiser's clock.
    """

    def __init__(self, network: Denoiser, settings: DistillationSettings, noise_steps: int):
        super().__init__()
        self.network, self.settings = network, settings
        self.tick = noise_steps / settings.highest_guidance

    def forward(self, noise: Tensor, guidance: Tensor, x0: Tensor, label: Tensor) -> Tensor:
        """noise (B, D), guidance (B,), x0 (B, 1, S, S), label (B,) -> white z (B, D)."""
        return noise - self.network(noise, self.tick * guidance, x0, label)

    def check(self, options: SamplingOptions) -> None:
        """Raise LddmError for options that it was not taught."""
        known = self.settings
        if not known.teaches(options.guidance, options.guide_by):
            raise LddmError(
                f"sampler 'distilled' was asked for guidance {options.guidance:g} by {options.guide_by}; the model was "
                f"distilled for 1 to {known.highest_guidance:g} by {known.guide_by}",
                "take sampler unipc, or change diffusion.distillation and train again",
            )
