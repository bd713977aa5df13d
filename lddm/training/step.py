"""One step of training: forward and backward passes over its micro-batches, then the update."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lddm.errors import LddmError
from lddm.settings.models import Training
from lddm.training.parallel import rank, world_size
from lddm.training.schedule import IndexTable, seed_global, step_generator, step_seed
from lddm.training.update import HostUpdate


class Task(Protocol):
    """Networks, data and losses of a training.

    Attributes:
        networks: networks by name; each has its own optimiser, and they are updated in this order in each step (a generator
            and its discriminators; most tasks have one network).
    """

    networks: dict[str, Any]

    def batch(self, number: int) -> Any:
        """Micro-batch `number` of the run: a pure function of the number; on any device."""

    def loss(self, name: str, batch: Any, step: int, rng: torch.Generator) -> tuple[Tensor | None, dict[str, Any]]:
        """Loss of a network (None = no update in this step) and values for the log. `rng` is on the training device."""


class CapturableTask(Task, Protocol):
    """A task whose step can be captured in a CUDA graph.

    It has data on the device, one network, and a loss that depends neither on `step` nor on values that the host reads from
    the device.

    Attributes:
        indices: indices of the examples of each micro-batch.
        batch_seed: seed of the random numbers of `read`.
    """

    indices: IndexTable
    batch_seed: int

    def read(self, index: Tensor, rng: torch.Generator) -> Any:
        """As `batch`, from indices on the device and a random generator."""


def micro_batches(training: Training) -> tuple[int, range]:
    """Number of micro-batches per step, and those of this process.

    A step has `accumulation` micro-batches for each of the configured `processes`, regardless of the actual number of
    processes: a run started by two processes can be continued by one.
    """
    parts, world = training.accumulation * training.processes, world_size()
    if parts % world:
        raise LddmError(
            f"{world} processes cannot share the {parts} micro-batches of a step",
            "set training.processes to the number of processes started by torchrun",
        )
    share = parts // world
    return parts, range(rank() * share, (rank() + 1) * share)


class Step:
    """Run a step eagerly, operation by operation.

    Args:
        task: networks, data and losses.
        training: budget and optimiser.
        seed: seed of the noise.
        device: device of the networks.
        update: update after the backward pass.
        batch: returns micro-batches by number, like `task.batch`.
    """

    def __init__(
        self,
        task: Task,
        training: Training,
        seed: int,
        device: torch.device,
        update: HostUpdate,
        batch: Callable[[int], Any],
    ):
        self.task, self.training, self.seed, self.device = task, training, seed, device
        self.update, self.batch = update, batch
        self.parts, self.mine = micro_batches(training)

    def __call__(self, step: int) -> None:
        """Run step number `step`, from 0.

        Raises:
            LddmError: see `HostUpdate.finish`.
        """
        self.update.begin()
        for optimizer in self.update.optimizers.values():
            optimizer.zero_grad()
        losses: dict[str, Tensor] = {}
        logged: list[dict[str, Any]] = []
        for part in self.mine:
            number = step * self.parts + part
            batch = self.batch(number)
            for turn, (name, network) in enumerate(self.task.networks.items()):
                seed_global(step_seed(self.seed * 8 + 4 + turn, number), self.device)
                with _only(self.task.networks, network):
                    rng = step_generator(self.seed * 8 + turn, number, self.device)
                    loss, logs = self.backward(name, batch, step, rng)
                logged.append(logs)
                if loss is not None:
                    losses[name] = losses.get(name, 0) + loss
        self.update.finish(step, losses, logged)

    def backward(self, name: str, batch: Any, step: int, rng: torch.Generator) -> tuple[Tensor | None, dict[str, Any]]:
        """Accumulate the gradients of a micro-batch; returns its share of the loss of the step, and values for the log."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.training.precision == "bf16"):
            loss, logs = self.task.loss(name, batch, step, rng)
        if loss is None:
            return None, logs
        loss = loss / len(self.mine)
        loss.backward()
        return loss.detach(), logs


@contextlib.contextmanager
def _only(networks: dict[str, nn.Module], network: nn.Module) -> Iterator[None]:
    """Enable gradients for one network only, because the loss of a generator passes through its discriminators."""
    others = [p for other in networks.values() if other is not network for p in other.parameters() if p.requires_grad]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)
