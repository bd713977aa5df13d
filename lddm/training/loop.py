"""The one training loop.

Each step's data and noise are pure functions of (seed, step). So a run that was killed and resumed ends, on one
machine and thread count, with the same weights as an unbroken one, and no random state has to be saved. The same holds
for how a step is spread: two processes make the step that one process makes with twice the accumulation.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lddm.errors import LddmError
from lddm.settings.models import Training
from lddm.training.parallel import average_gradients, is_first, pick_device
from lddm.training.schedule import learning_rate, step_rng
from lddm.training.state import load_state, optimizer_tensors, restore_optimizer, save_state
from lddm.training.weights import cpu_state

logger = logging.getLogger(__name__)


class Task(Protocol):
    """What is trained.

    Attributes:
        players: networks by name; each has its own optimiser and takes its turn in each step, in this order
            (a generator and its discriminators; most tasks have one).
    """

    players: dict[str, Any]

    def batch(self, number: int) -> Any:
        """Micro-batch `number` of the run, a pure function of the number; on any device."""

    def loss(self, player: str, batch: Any, step: int, rng: torch.Generator) -> tuple[Tensor | None, dict[str, Any]]:
        """The player's loss (None: it rests in this step) and numbers for the log. `rng` is on the CPU."""


def train(
    task: Task,
    training: Training,
    seed: int,
    state_dir: str | Path,
    on_log: Callable[[int, dict[str, float]], None],
    validate: Callable[[dict[str, Any]], dict[str, float]] | None = None,
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
    from accelerate import Accelerator  # here: jobs that train nothing do not pay for its import

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
    # A step is made of micro-batches: `accumulation` of them in each process, one after the other.
    world = accelerator.num_processes
    parts = training.accumulation * world
    mine = range(
        accelerator.process_index * training.accumulation, (accelerator.process_index + 1) * training.accumulation
    )
    identity = _identity(training, seed, players, f"{data_identity} {world}")
    start, best_value, best_step, best = _restore(Path(state_dir), identity, players, averages, optimizers)
    if start:
        logger.info("resumed at step %d of %d", start, training.steps)
    if training.compile:
        for player in players.values():
            player.compile()
    means = _Means()
    began = time.monotonic()
    for step in range(start, training.steps):
        losses: dict[str, Tensor] = {}
        for optimizer in optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        for part in mine:
            batch = task.batch(step * parts + part)
            for turn, (name, player) in enumerate(players.items()):
                with _only(players, player):
                    with accelerator.autocast():
                        loss, logs = task.loss(name, batch, step, step_rng(seed * 8 + turn, step * parts + part))
                    means.add(logs)
                    if loss is None:
                        continue
                    loss = loss / training.accumulation
                    losses[name] = losses.get(name, 0) + loss.detach()
                    accelerator.backward(loss)
        for name, loss in losses.items():
            loss = average_gradients(players[name], loss, world)
            norm = nn.utils.clip_grad_norm_(players[name].parameters(), training.grad_clip)
            if not torch.isfinite(loss + norm):
                raise LddmError(
                    f"the loss of '{name}' is {loss.item()}, its gradient's norm {norm.item()} at step {step}",
                    "lower learning_rate or grad_clip, or use precision 'no'; the last good state is kept",
                )
            for group in optimizers[name].param_groups:
                group["lr"] = learning_rate(training, step)
            means.add({f"{name}/loss": loss, f"{name}/grad_norm": norm})
            optimizers[name].step()
            averages[name].update_parameters(players[name])
        done = step + 1
        if validate is not None and (done % training.val_every == 0 or done == training.steps):
            values = validate(_averaged(averages))
            means.add({f"val/{key}": value for key, value in values.items()})
            if keep_best is not None and values[keep_best] < best_value:
                best_value, best_step = values[keep_best], done
                best = {name: cpu_state(average.module) for name, average in averages.items()}
        if done % training.log_every == 0 or done == training.steps:
            rate = (done - start) / max(1e-9, time.monotonic() - began)
            values = means.flush() | {"steps_per_second": rate}
            numbers = " ".join(f"{k} {v:.4g}" for k, v in values.items())
            left = (training.steps - done) / rate
            logger.info("step %d/%d, %d:%02d left, %s", done, training.steps, *divmod(round(left), 60), numbers)
            on_log(done, values)
        if done % training.checkpoint_every == 0 and done < training.steps and is_first():
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


@contextlib.contextmanager
def _only(players: dict[str, nn.Module], player: nn.Module) -> Iterator[None]:
    """Gradients for one player's weights only: a generator's loss goes through its judges, but does not train them."""
    others = [p for other in players.values() if other is not player for p in other.parameters() if p.requires_grad]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)


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
