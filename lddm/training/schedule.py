"""What a step draws and how fast it learns: pure functions of (seed, step), so that no random state has to be saved."""

from __future__ import annotations

import math

import numpy as np
import torch

from lddm.settings.models import Training


def step_indices(n: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Indices of the examples of a step, a pure function of (seed, step). Each pass over the data has its own order.

    Args:
        n: number of examples.
        batch_size: examples of a step.

    Returns:
        int64 (batch_size,) in [0, n).
    """
    if n < 1:
        raise ValueError("no examples")
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs = {
        epoch: np.random.default_rng([seed, epoch]).permutation(n) for epoch in np.unique(positions // n).tolist()
    }
    return np.array([epochs[p // n][p % n] for p in positions.tolist()], dtype=np.int64)


def step_generator(seed: int, step: int) -> torch.Generator:
    """The source of a step's noise, on the CPU so that a GPU run draws the same numbers."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1))


def learning_rate(training: Training, step: int, peak: float | None = None) -> float:
    """Linear warm-up to the peak (default: `training.learning_rate`), then half a cosine down to zero at the last step."""
    warm = min(1.0, (step + 1) / max(1, training.warmup_steps))
    peak = training.learning_rate if peak is None else peak
    return peak * warm * 0.5 * (1 + math.cos(math.pi * step / training.steps))
