"""The training loop.

The data and the noise of a step are pure functions of (seed, step). So a run that was killed and resumed ends, on one
machine and thread count, with the same weights as an unbroken one, and no random state has to be saved. The same holds
for how a step is divided: two processes compute the step that one process computes with twice the accumulation (discriminators
aside: their spectral norms take a power iteration in each forward pass).
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from lddm.errors import LddmError
from lddm.settings.models import Training
from lddm.training.averages import average_of
from lddm.training.identity import Identity, content_hash
from lddm.training.parallel import (
    average_gradients,
    connect,
    from_first,
    is_first,
    pick_device,
    rank,
    share_weights,
    world_size,
)
from lddm.training.progress import Progress
from lddm.training.schedule import learning_rate, step_generator
from lddm.training.state import State, load_state, optimizer_tensors, restore_optimizer, save_state
from lddm.training.weights import cpu_state

logger = logging.getLogger(__name__)


class Task(Protocol):
    """What is trained.

    Attributes:
        networks: networks by name; each has its own optimiser and takes its turn in each step, in this order
            (a generator and its discriminators; most tasks have one).
    """

    networks: dict[str, Any]

    def batch(self, number: int) -> Any:
        """Micro-batch `number` of the run, a pure function of the number; on any device."""

    def loss(self, name: str, batch: Any, step: int, rng: torch.Generator) -> tuple[Tensor | None, dict[str, Any]]:
        """Loss of the network (None: it rests in this step) and numbers for the log. `rng` is on the CPU."""


def train(
    task: Task,
    training: Training,
    seed: int,
    state_dir: str | Path,
    on_log: Callable[[int, dict[str, float]], None],
    validate: Callable[[dict[str, Any]], dict[str, float]] | None = None,
    keep_best: str | None = None,
    device: torch.device | None = None,
    identity: Identity | None = None,
    learning_rates: Mapping[str, float] | None = None,
) -> dict[str, nn.Module]:
    """Train the networks for `training.steps` steps, resuming from `state_dir` if it holds a state of the same run.

    A step in which the loss or a gradient of any network is not finite changes nothing: no network is updated and the
    step is counted as skipped.

    Args:
        task: networks, data and losses; its networks are moved to the device and trained in place.
        training: budget and optimiser.
        seed: seed of everything random.
        state_dir: folder of the resumable state. Call `remove_state` when the output has been written.
        on_log: called with (step, mean values since the last line).
        validate: called with the networks that carry the averaged weights, in eval mode.
        keep_best: name of the validation value whose minimum chooses the weights; None keeps the last.
        device: where to train; default: the first GPU, else the CPU.
        identity: what the run is; a state of another identity is not resumed. Default: the settings, the seed and the
            initial weights, which say nothing of data and losses.
        learning_rates: peaks of networks that do not take `training.learning_rate`, by name.

    Returns:
        The networks with the averaged (or chosen) weights, in eval mode, on the device.

    Raises:
        LddmError: too many steps in a row are not finite, or no validation value is. The last state stays in
            `state_dir`.
    """
    device = device or pick_device()
    connect(device)
    networks = task.networks
    identity = identity or Identity({"run": _identity(training, seed, networks)})
    identity = from_first(identity.extended(networks={name: _shapes(network) for name, network in networks.items()}))
    for network in networks.values():
        network.to(device).train()
    share_weights(*networks.values())
    optimizers = {
        name: torch.optim.AdamW(
            network.parameters(),
            lr=training.learning_rate,
            betas=(training.adam_beta1, training.adam_beta2),
            weight_decay=training.weight_decay,
            fused=True,
        )
        for name, network in networks.items()
    }
    peaks = {name: (learning_rates or {}).get(name, training.learning_rate) for name in networks}
    averages = {name: average_of(network, training.ema_decay) for name, network in networks.items()}
    parts, mine = _micro_batches(training)
    start, progress, best = _restore(Path(state_dir), identity, networks, averages, optimizers)
    if start:
        logger.info("resumed at step %d of %d", start, training.steps)
    if training.compile:
        for network in networks.values():
            network.compile()
    buffers = [buffer for network in networks.values() for buffer in network.buffers()]
    means = _Means()
    began = time.monotonic()
    for step in range(start, training.steps):
        before = [buffer.clone() for buffer in buffers]  # a forward pass updates those of batch normalisation
        losses: dict[str, Tensor] = {}
        logged: list[dict[str, Any]] = []
        for optimizer in optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        for part in mine:
            batch = task.batch(step * parts + part)
            for turn, (name, network) in enumerate(networks.items()):
                number = step * parts + part
                torch.manual_seed(
                    step_generator(seed * 8 + 4 + turn, number).initial_seed()
                )  # dropout has no other source
                with _only(networks, network):
                    with torch.autocast(device.type, torch.bfloat16, enabled=training.precision == "bf16"):
                        loss, logs = task.loss(name, batch, step, step_generator(seed * 8 + turn, number))
                    logged.append(logs)
                    if loss is None:
                        continue
                    loss = loss / len(mine)
                    losses[name] = losses.get(name, 0) + loss.detach()
                    loss.backward()
        norms: dict[str, Tensor] = {}
        for name in losses:
            losses[name] = average_gradients(networks[name], losses[name])
            norms[name] = nn.utils.clip_grad_norm_(networks[name].parameters(), training.grad_clip or math.inf)
        # One read from the device per step, for all networks. All processes have the same sums, so all decide alike.
        values = torch.stack([value.float() for value in (*losses.values(), *norms.values())]) if losses else None
        if values is not None and not torch.isfinite(values).all():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
            progress.skip(step, training.steps, losses, norms)
        else:
            progress.in_a_row = 0
            for logs in logged:
                means.add(logs)
            for name, loss in losses.items():
                for group in optimizers[name].param_groups:
                    group["lr"] = learning_rate(training, step, peaks[name])
                means.add({f"{name}/loss": loss, f"{name}/grad_norm": norms[name]})
                optimizers[name].step()
                averages[name].update_parameters(networks[name])
        done = step + 1
        if validate is not None and (done % training.val_every == 0 or done == training.steps):
            found = from_first(validate(_averaged(averages)))
            means.add({f"val/{key}": value for key, value in found.items()})
            if keep_best is not None and found[keep_best] < progress.best_value:
                progress.best_value, progress.best_step = found[keep_best], done
                best = {name: cpu_state(average.module) for name, average in averages.items()}
        if done % training.log_every == 0 or done == training.steps:
            rate = (done - start) / max(1e-9, time.monotonic() - began)
            line = means.flush() | {"steps_per_second": rate} | progress.to_log()
            numbers = " ".join(f"{k} {v:.4g}" for k, v in line.items())
            left = (training.steps - done) / rate
            logger.info("step %d/%d, %d:%02d left, %s", done, training.steps, *divmod(round(left), 60), numbers)
            on_log(done, line)
        if done % training.checkpoint_every == 0 and done < training.steps:
            share_weights(*networks.values(), *averages.values())  # buffers follow the data of each process
            if is_first():
                groups = _groups(networks, averages, optimizers, best)
                save_state(Path(state_dir), identity, done, progress.to_dict(), groups)
    if keep_best is not None and validate is not None and not best:
        raise LddmError(
            f"validation '{keep_best}' was never finite",
            "look at the losses in the log; lower training.learning_rate, or set training.precision: 'no'",
        )
    if best:
        logger.info("kept the weights of step %d: val %s %.4g", progress.best_step, keep_best, progress.best_value)
        for name, state in best.items():
            averages[name].module.load_state_dict(state)
    for name, network in networks.items():
        network.load_state_dict(averages[name].module.state_dict())
        network.eval()
    share_weights(*networks.values())
    return networks


def _micro_batches(training: Training) -> tuple[int, range]:
    """Micro-batches of a step, and which of them are this process's.

    A step has `accumulation` micro-batches for each of the `processes` of the settings, however many processes there
    are: a run that was begun by two processes can be continued by one.
    """
    parts, world = training.accumulation * training.processes, world_size()
    if parts % world:
        raise LddmError(
            f"{world} processes cannot share the {parts} micro-batches of a step",
            "set training.processes to the number of processes that torchrun starts",
        )
    share = parts // world
    return parts, range(rank() * share, (rank() + 1) * share)


@contextlib.contextmanager
def _only(networks: dict[str, nn.Module], network: nn.Module) -> Iterator[None]:
    """Gradients for the weights of one network only: the loss of a generator passes through its discriminators."""
    others = [p for other in networks.values() if other is not network for p in other.parameters() if p.requires_grad]
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


def _identity(training: Training, seed: int, networks: dict[str, nn.Module]) -> str:
    """Hash of the settings, the seed and the bytes of the initial weights: what the loop itself knows of a run."""
    return content_hash({"training": training, "seed": seed, "networks": networks})


def _shapes(network: nn.Module) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in network.state_dict().items()}


def _groups(networks, averages, optimizers, best) -> dict[str, dict[str, Tensor]]:
    groups = {}
    for name in networks:
        groups[f"weights:{name}"] = networks[name].state_dict()
        groups[f"average:{name}"] = averages[name].state_dict()
        groups[f"optimizer:{name}"] = optimizer_tensors(optimizers[name])
        if best:
            groups[f"best:{name}"] = best[name]
    return groups


def _restore(folder: Path, identity: Identity, networks, averages, optimizers) -> tuple[int, Progress, dict]:
    """Steps done, progress and best weights. The first process decides whether there is a state to resume."""
    saved: State | None = load_state(folder, identity) if is_first() else None
    step = from_first(saved[0] if saved else 0)
    if not step:
        return 0, Progress(), {}
    saved = saved or load_state(folder, identity)
    if saved is None or saved[0] != step:
        raise LddmError(
            f"{folder} is not the same for all processes", "put the results on a file system that all share"
        )
    _, about, groups = saved
    for name in networks:
        networks[name].load_state_dict(groups[f"weights:{name}"])
        averages[name].load_state_dict(groups[f"average:{name}"])
        restore_optimizer(optimizers[name], groups.get(f"optimizer:{name}", {}))
    return step, Progress(**about), {name: groups[f"best:{name}"] for name in networks if f"best:{name}" in groups}
