"""Sampling options and per-video random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# On the CPU, so that all devices get the same numbers. With one generator per video, in batch order, the noise of a video
# does not depend on its batch.
Rng = torch.Generator | Sequence[torch.Generator]


@dataclass(frozen=True)
class SamplingOptions:
    """Options for sampling z. A model package stores its own values, which replace these defaults.

    Attributes:
        sampler: "distilled" (one step, if the model was distilled), "unipc", "ddim" or "ddpm" (diffusion only).
        num_inference_steps: denoising steps of unipc, ddim and ddpm (diffusion only).
        guidance_scale: classifier-free guidance scale; 1 = off (diffusion only).
        guidance_target: condition that guidance strengthens. "label": the unconditional prediction keeps the image (no
            effect if the label is unknown); "image+label": it drops both.
    """

    sampler: str = "unipc"
    num_inference_steps: int = 10
    guidance_scale: float = 1.0
    guidance_target: str = "label"


def normal(rng: Rng, shape: tuple[int, ...]) -> Tensor:
    """Draw standard normal noise of a shape (B, ...): float32, on the CPU."""
    if isinstance(rng, torch.Generator):
        return torch.randn(shape, generator=rng)
    _check(rng, shape[0])
    return torch.stack([torch.randn(shape[1:], generator=one) for one in rng])


def integers(rng: Rng, highs: Sequence[int]) -> list[int]:
    """Draw one uniform integer in [0, high) per video; `highs` has length B."""
    if not isinstance(rng, torch.Generator):
        _check(rng, len(highs))
    each = [rng] * len(highs) if isinstance(rng, torch.Generator) else rng
    return [int(torch.randint(high, (1,), generator=one)) for high, one in zip(highs, each, strict=True)]


def _check(rngs: Sequence[torch.Generator], batch: int) -> None:
    if len(rngs) != batch:
        raise ValueError(f"expected one random generator per video ({batch}), got {len(rngs)}")
