"""Random numbers of sampling: one generator for a whole batch, or one per video."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# On the CPU, so that every device draws the same numbers. With one generator per video, in the order of the batch, the
# noise of a video does not depend on the batch that it is in.
Rng = torch.Generator | Sequence[torch.Generator]


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
