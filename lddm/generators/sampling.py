"""How z is sampled: options of the samplers, and random numbers per video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# On the CPU, so that every device draws the same numbers. With one generator per video, in the order of the batch, the
# noise of a video does not depend on the batch that it is in.
Rng = torch.Generator | Sequence[torch.Generator]


@dataclass(frozen=True)
class SamplingOptions:
    """How to sample z. These are the defaults of the function, not of a model: a bundle carries its own.

    Attributes:
        sampler: "distilled" (one step, if the model was distilled), "unipc", "ddim" or "ddpm" (diffusion only).
        num_inference_steps: denoising steps of unipc, ddim and ddpm (diffusion only).
        guidance_scale: classifier-free guidance scale; 1 = off (diffusion only).
        guidance_target: the condition that guidance strengthens: "label" (the image stays in the unconditioned side; no effect on
            a still of unknown label) or "image+label".
    """

    sampler: str = "unipc"
    num_inference_steps: int = 10
    guidance_scale: float = 1.0
    guidance_target: str = "label"


def normal(rng: Rng, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise, float32 of a shape (B, ...), on the CPU."""
    if isinstance(rng, torch.Generator):
        return torch.randn(shape, generator=rng)
    _check(rng, shape[0])
    return torch.stack([torch.randn(shape[1:], generator=one) for one in rng])


def integers(rng: Rng, highs: Sequence[int]) -> list[int]:
    """A random integer from 0 to high - 1 for each video of a batch; highs (B,)."""
    if not isinstance(rng, torch.Generator):
        _check(rng, len(highs))
    each = [rng] * len(highs) if isinstance(rng, torch.Generator) else rng
    return [int(torch.randint(high, (1,), generator=one)) for high, one in zip(highs, each, strict=True)]


def _check(rngs: Sequence[torch.Generator], batch: int) -> None:
    if len(rngs) != batch:
        raise ValueError(f"expected a generator for each of {batch} videos, got {len(rngs)}")
