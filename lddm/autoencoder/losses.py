"""Losses of stage 1, as pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lddm.nn.precision import in_float32


def temporal_l1(frames: Tensor, target: Tensor, x0: Tensor) -> Tensor:
    """L1 between frame-to-frame differences, x0 counted as frame 0.

    Args:
        frames: float (B, C, T, H, W), decoded frames 1..T.
        target: real frames of the same shape.
        x0: float (B, C, H, W).
    """
    first = x0[:, :, None]
    return F.l1_loss(
        torch.cat([first, frames], dim=2).diff(dim=2),
        torch.cat([first, target], dim=2).diff(dim=2),
    )


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """0.5 (E[relu(1 - D(real))] + E[relu(1 + D(fake))])."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def hinge_generator(fake: Tensor) -> Tensor:
    """-E[D(fake)]."""
    return -fake.mean()


def feature_matching(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Mean L1 between a discriminator's features of real (no gradient) and decoded clips."""
    return torch.stack([F.l1_loss(f, r.detach()) for r, f in zip(real, fake, strict=True)]).mean()


@in_float32
def r1_penalty(logits: Tensor, real: Tensor, form: str = "per_clip") -> Tensor:
    """R1: E ||d D(x) / d x||^2 (Mescheder et al. 2018, eq. 9).

    The gradient is computed in float32 even under autocast; `logits` should be float32 too.

    Args:
        logits: float (B, 1), computed from `real`.
        real: float32 (B, ...), requires gradients.
        form: "per_clip", as published, or "batch_mean", as in the cINN release (stage1_VAE/modules/loss.py): the gradient of
            the batch mean of the logits, which divides the penalty by B^2.
    """
    reduced = logits.mean() if form == "batch_mean" else logits.sum()
    (gradient,) = torch.autograd.grad(reduced, real, create_graph=True)
    return gradient.square().flatten(1).sum(dim=1).mean()
