"""Sampling order, noise and learning rate of each step: pure functions of (seed, step), so no random state is saved."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

from lddm.settings.models import Training
from lddm.training.device import to_device


def step_indices(n: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Indices of the examples of a step, a pure function of (seed, step). Each epoch has its own order.

    Args:
        n: number of examples.
        batch_size: examples per step.

    Returns:
        int64 (batch_size,) in [0, n).
    """
    if n < 1:
        raise ValueError("no examples")
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs = {epoch: _order(n, seed, epoch) for epoch in np.unique(positions // n).tolist()}
    return np.array([epochs[p // n][p % n] for p in positions.tolist()], dtype=np.int64)


@functools.lru_cache(maxsize=4)
def _order(n: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(n)


class IndexTable:
    """`step_indices` on a device, uploaded for many steps at a time.

    Args:
        n, batch_size, seed: as in `step_indices`.
        device: device of the indices.
        ahead: steps per upload.
    """

    def __init__(self, n: int, batch_size: int, seed: int, device: torch.device, ahead: int = 256):
        self.arguments, self.device, self.ahead = (n, batch_size, seed), device, ahead
        self._block, self._table = -1, torch.empty(0)

    def of_host(self, step: int) -> np.ndarray:
        """The same as an array."""
        return step_indices(*self.arguments, step)

    def __getitem__(self, step: int) -> Tensor:
        """int64 (batch_size,) of a step, on the device."""
        if self.device.type == "cpu":
            return torch.from_numpy(self.of_host(step))
        block, row = divmod(step, self.ahead)
        if block != self._block:
            steps = range(block * self.ahead, (block + 1) * self.ahead)
            table = np.stack([self.of_host(one) for one in steps])
            self._block, self._table = block, to_device(table, self.device)
        return self._table[row]


def step_seed(seed: int, step: int) -> int:
    """Seed of a step's noise, a pure function of (seed, step)."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


def step_generator(seed: int, step: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Random generator of a step's noise, on the device that uses it; CPU and GPU differ, but each is reproducible."""
    return torch.Generator(device).manual_seed(step_seed(seed, step))


def seed_global(seed: int, device: torch.device) -> None:
    """Seed the global generator of the device, which dropout uses.

    `torch.manual_seed` also registers lazy seeding of absent devices, with a stack trace each, which takes 1 ms per step.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def learning_rate(training: Training, step: int, peak: float | None = None) -> float:
    """Linear warm-up to the peak (default: `training.learning_rate`), then half a cosine down to zero at the last step."""
    warm = min(1.0, (step + 1) / max(1, training.warmup_steps))
    peak = training.learning_rate if peak is None else peak
    return peak * warm * 0.5 * (1 + math.cos(math.pi * step / training.steps))
