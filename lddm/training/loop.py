"""The one training loop.

Each step's data and noise are pure functions of (seed, step). So a run that was killed and resumed ends, on one
machine and thread count, with the same weights as an unbroken one, and no random state has to be saved.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lddm.errors import LddmError
from lddm.settings.models import Training
from lddm.training.state import load_state, optimizer_tensors, restore_optimizer, save_state
from lddm.training.weights import cpu_state

logger = logging.getLogger(__name__)


class Task(Protocol):
    """What is trained.

    Attributes:
        players: networks by name; each has its own optimiser and takes its turn in each step, in this order
            (a generator and its discriminators; most tasks have one).
    """

    players: dict[str, nn.Module]

    def batch(self, step: int) -> Any:
        """The data of a step, a pure function of the step; on any device."""

    def loss(self, player: str, batch: Any, step: int, rng: torch.Generator) -> tuple[Tensor | None, dict[str, Any]]:
        """The player's loss (None: it rests in this step) and numbers for the log. `rng` is on the CPU."""


def pick_device() -> torch.device:
    """The device that jobs run on: the first visible GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def step_indices(n: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Indices of the examples of a step: shuffled anew for each pass over the data, a pure function of (seed, step).

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


def step_rng(seed: int, step: int) -> torch.Generator:
    """The source of a step's noise, on the CPU so that a GPU run draws the same numbers."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1))


def learning_rate(training: Training, step: int) -> float:
    """Linear warm-up, then half a cosine down to zero at the last step."""
    warm = min(1.0, (step + 1) / max(1, training.warmup_steps))
    return training.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / training.steps))


def train(
    task: Task,
    training: Training,
    seed: int,
    state_dir: str | Path,
    on_log: Callable[[int, dict[str, float]], None],
    validate: Callable[[dict[str, nn.Module]], dict[str, float]] | None = None,
    keep_best: str | None = None,
    device: torch.device | None = None,
    data_identity: str = "",
) -> dict[str, nn.Module]:
    """Train the players for `training.steps` steps, resuming from `state_dir` if it holds a state of the same run.

    Args:
        task: networks, data and losses; its players are moved to the device and trained in place.
        training: budget and optimiser.
        seed: seed of everything random.
        state_dir: folder of the resumable state; it is left there for the caller to remove.
        on_log: called with (step, mean values since the last line).
        validate: called with the players that carry the averaged weights, in eval mode.
        keep_best: name of the validation value whose minimum chooses the weights; None keeps the last.
        device: where to train; the first GPU, else the CPU.
        data_identity: what the run is trained on, e.g. a hash; a state made from other data is not resumed.

    Returns:
        The players with the averaged (or chosen) weights, in eval mode, on the device.

    Raises:
        LddmError: the loss is not finite; the last good state stays in `state_dir`.
    """
    device = device or pick_device()
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=training.precision)
    players = task.players
    for player in players.values():
        player.to(device).train()
    optimizers = {
        name: torch.optim.AdamW(player.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay)
        for name, player in players.items()
    }
    averages = {
        name: AveragedModel(player, multi_avg_fn=get_ema_multi_avg_fn(training.ema_decay), use_buffers=False)
        for name, player in players.items()
    }
    identity = _identity(training, seed, players, data_identity)
    start, best_value, best_step, best = _restore(Path(state_dir), identity, players, averages, optimizers)
    if start:
        logger.info("resumed at step %d of %d", start, training.steps)
    means = _Means()
    began = time.monotonic()
    for step in range(start, training.steps):
        batch = task.batch(step)
        for turn, (name, player) in enumerate(players.items()):
            with accelerator.autocast():
                loss, logs = task.loss(name, batch, step, step_rng(seed * 8 + turn, step))
            means.add(logs)
            if loss is None:
                continue
            if not torch.isfinite(loss):
                raise LddmError(
                    f"the loss of '{name}' is {loss.item()} at step {step}",
                    "lower learning_rate or grad_clip, or use precision 'no'; the last good state is kept",
                )
            for group in optimizers[name].param_groups:
                group["lr"] = learning_rate(training, step)
            optimizers[name].zero_grad(set_to_none=True)
            accelerator.backward(loss)
            norm = nn.utils.clip_grad_norm_(player.parameters(), training.grad_clip)
            means.add({f"{name}/loss": loss, f"{name}/grad_norm": norm})
            optimizers[name].step()
            averages[name].update_parameters(player)
        done = step + 1
        if validate is not None and (done % training.val_every == 0 or done == training.steps):
            values = validate(_averaged(averages))
            means.add({f"val/{key}": value for key, value in values.items()})
            if keep_best is not None and values[keep_best] < best_value:
                best_value, best_step = values[keep_best], done
                best = {name: cpu_state(average.module) for name, average in averages.items()}
        if done % training.log_every == 0 or done == training.steps:
            values = means.flush() | {"steps_per_second": (done - start) / max(1e-9, time.monotonic() - began)}
            logger.info("step %d/%d %s", done, training.steps, " ".join(f"{k} {v:.4g}" for k, v in values.items()))
            on_log(done, values)
        if done % training.checkpoint_every == 0 and done < training.steps:
            about = {"best_value": best_value if math.isfinite(best_value) else None, "best_step": best_step}
            save_state(Path(state_dir), identity, done, about, _groups(players, averages, optimizers, best))
    if best:
        logger.info("kept the weights of step %d: val %s %.4g", best_step, keep_best, best_value)
        for name, state in best.items():
            averages[name].module.load_state_dict(state)
    for name, player in players.items():
        player.load_state_dict(averages[name].module.state_dict())
        player.eval()
    return players


class _Means:
    """Mean values since the last flush."""

    def __init__(self):
        self.sums: dict[str, Any] = {}
        self.counts: dict[str, int] = {}

    def add(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            # Tensors stay tensors until the flush: reading one from a GPU would stall every step.
            value = value.detach() if isinstance(value, Tensor) else value
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def flush(self) -> dict[str, float]:
        means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means


def _averaged(averages: dict[str, AveragedModel]) -> dict[str, nn.Module]:
    return {name: average.module.eval() for name, average in averages.items()}


def _identity(training: Training, seed: int, players: dict[str, nn.Module], data_identity: str) -> str:
    """What the run is: its settings, its seed, its data, and the shapes and first values of its networks."""
    first = {
        name: [(key, list(value.shape), float(value.float().sum())) for key, value in player.state_dict().items()]
        for name, player in players.items()
    }
    text = json.dumps([training.model_dump(mode="json"), seed, data_identity, first])
    return hashlib.sha256(text.encode()).hexdigest()


def _groups(players, averages, optimizers, best) -> dict[str, dict[str, Tensor]]:
    groups = {}
    for name in players:
        groups[f"weights:{name}"] = players[name].state_dict()
        groups[f"average:{name}"] = averages[name].state_dict()
        groups[f"optimizer:{name}"] = optimizer_tensors(optimizers[name])
        if best:
            groups[f"best:{name}"] = best[name]
    return groups


def _restore(folder: Path, identity: str, players, averages, optimizers) -> tuple[int, float, int, dict]:
    saved = load_state(folder, identity)
    if saved is None:
        return 0, math.inf, 0, {}
    step, about, groups = saved
    for name in players:
        players[name].load_state_dict(groups[f"weights:{name}"])
        averages[name].load_state_dict(groups[f"average:{name}"])
        restore_optimizer(optimizers[name], groups.get(f"optimizer:{name}", {}))
    best = {name: groups[f"best:{name}"] for name in players if f"best:{name}" in groups}
    value = about["best_value"]
    return step, math.inf if value is None else value, about["best_step"], best
