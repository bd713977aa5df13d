"""Training steps as CUDA graphs (`lddm.training.graphs`)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lddm.training import graphs
from lddm.training.parallel import world_size
from lddm.training.schedule import step_seed
from lddm.training.step import Step
from lddm.training.update import DeviceUpdate

logger = logging.getLogger(__name__)


def capturable(task: Any) -> bool:
    """Whether a task is a `CapturableTask`, with its data on the device."""
    parts = all(hasattr(task, name) for name in ("indices", "read", "batch_seed"))
    return len(task.networks) == 1 and parts and not getattr(task, "reads_ahead", False)


class GraphedStep(Step):
    """A step as two graphs: forward and backward pass of a micro-batch, and the update.

    The update is not captured if a step has several micro-batches or processes. Before use, the first graph is compared with
    eager execution on two micro-batches, and the second on one update, which is undone. If the results differ or a capture
    fails, e.g. for lack of memory, operations are launched one by one, with a log message. `update` is a `DeviceUpdate` and
    `task` a `CapturableTask`.
    """

    task: Any
    update: DeviceUpdate

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        ((self.name, network),) = self.task.networks.items()
        self._parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._index = torch.empty_like(self.task.indices[0])
        self._generators = [torch.Generator(self.device) for _ in range(2)]
        self._loss = torch.zeros((), device=self.device)
        self._logs: dict[str, Tensor] = {}
        self._begun = False
        self._gradients: Callable[[], None] | None = None
        self._update: Callable[[], None] | None = None

    def __call__(self, step: int) -> None:
        """As `Step.__call__`."""
        if not self._begun:
            self._begun = True
            self._record(step)
        if self._gradients is None:
            super().__call__(step)
            return
        self.update.begin()
        self._zero()
        logged: list[dict[str, Any]] = []
        for part in self.mine:
            self._feed(step * self.parts + part)
            self._gradients()
            logged.append(self._logs)
            if len(self.mine) > 1:  # the next replay overwrites this memory
                logged[-1] = {name: value.clone() for name, value in self._logs.items()}
        if self._update is None:
            self.update.finish(step, {self.name: self._loss}, logged)
        else:
            self.update.set_step(step)
            self._update()

    def _feed(self, number: int) -> None:
        """Write the inputs of the graph for a micro-batch: indices of its examples and seeds of its noise."""
        self._index.copy_(self.task.indices[number])
        for generator, seed in zip(self._generators, (self.task.batch_seed, self.seed * 8), strict=True):
            generator.manual_seed(step_seed(seed, number))
        torch.manual_seed(step_seed(self.seed * 8 + 4, number))  # dropout uses the default generator

    def _zero(self) -> None:
        torch._foreach_zero_([*(p.grad for p in self._parameters if p.grad is not None), self._loss])

    def _body(self) -> None:
        """Forward and backward pass of the micro-batch set by `_feed`; accumulates loss and gradients."""
        batch = self.task.read(self._index, self._generators[0])
        loss, logs = self.backward(self.name, batch, 0, self._generators[1])
        assert loss is not None
        self._loss.add_(loss)
        for name, value in logs.items():  # into fixed memory, which the update and each replay use
            if name not in self._logs:
                self._logs[name] = torch.zeros((), device=self.device)
            if isinstance(value, Tensor):
                self._logs[name].copy_(value.detach())
            else:
                self._logs[name].fill_(value)

    def _record(self, step: int) -> None:
        first = step * self.parts + self.mine[0]
        # The warm-up allocates gradients in the layout of an eager step, so that norms are summed in the same order.
        for parameter in self._parameters:
            parameter.grad = None
        self.update.begin()
        self._feed(first)
        graphs.warm_up(self._body, self.device)
        try:
            gradients = graphs.capture(self._body, self._generators)
            difference = self._compare(gradients, (first, first + 1))
        except RuntimeError as error:  # raised by torch for operations that a graph does not support
            logger.warning("no CUDA graph of the step, operations are launched one by one: %s", error)
            return
        finally:
            self._restore_buffers()
        if not difference < graphs.TOLERANCE:
            logger.warning(
                "the CUDA graph of the step gives other gradients (relative difference %.2g), operations are launched one "
                "by one",
                difference,
            )
            return
        self._gradients = gradients
        if len(self.mine) == 1 and world_size() == 1:
            self._record_update(step)
        logger.info("the step is %s", "two CUDA graphs" if self._update else "a CUDA graph and the update")

    def _compare(self, gradients: Callable[[], None], numbers: Sequence[int]) -> float:
        """Largest relative difference between the gradients of the graph and of eager execution."""
        worst = 0.0
        for number in numbers:
            found = []
            for run in (self._body, gradients):
                self._zero()
                self._feed(number)
                run()
                flat = torch.cat([p.grad.flatten() for p in self._parameters if p.grad is not None])
                found.append(flat.double().nan_to_num(0, 0, 0))  # a step that is not finite is skipped, not compared
            worst = max(worst, ((found[1] - found[0]).norm() / found[0].norm().clamp_min(1e-12)).item())
        return worst

    def _restore_buffers(self) -> None:
        for buffer, value in zip(self.update.buffers, self.update._before, strict=True):
            buffer.copy_(value)

    def _record_update(self, step: int) -> None:
        """Capture the update. Its warm-up is a non-finite step, which changes nothing."""

        def update() -> None:
            self.update.select({self.name: self._loss}, [self._logs])

        kept = self.update._skips.clone()
        self._loss.fill_(torch.nan)
        graphs.warm_up(update, self.device)
        self.update._skips.copy_(kept)
        for last in self.update._last.values():
            last.zero_()
        try:
            recorded = graphs.capture(update)
            difference = self._compare_updates(update, recorded, step)
            if not difference < graphs.TOLERANCE:
                raise RuntimeError(f"it gives other weights (relative difference {difference:.2g})")
            self._update = recorded
        except RuntimeError as error:
            logger.warning("no CUDA graph of the update: %s", error)

    def _compare_updates(self, update: Callable[[], None], recorded: Callable[[], None], step: int) -> float:
        """Difference between the weights updated by the graph and by eager execution, relative to the size of the update.

        All state written by the update is restored afterwards.
        """
        places = self._written_by_update()
        before, made = [place.clone() for place in places], []
        self.update.set_step(step)
        weights = [*self._parameters, *self.update.averages[self.name].module.parameters()]
        start = torch.cat([weight.detach().flatten() for weight in weights]).double()
        for run in (update, recorded):
            self._loss.fill_(1.0)
            rng = torch.Generator(self.device).manual_seed(0)  # the gradients of this step may not be finite
            for parameter in self._parameters:
                if parameter.grad is not None:
                    parameter.grad.normal_(generator=rng)
            run()
            made.append(torch.cat([weight.detach().flatten() for weight in weights]).double() - start)
            with torch.no_grad():
                torch._foreach_copy_(places, before)
        return ((made[1] - made[0]).norm() / made[0].norm().clamp_min(1e-12)).item()

    def _written_by_update(self) -> list[Tensor]:
        update, network = self.update, self.task.networks[self.name]
        state = [value for each in update.optimizers[self.name].state.values() for value in each.values()]
        kept = [*update._last.values(), *update._means.values(), update._skips, self._loss, *self._logs.values()]
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        average = update.averages[self.name]
        modules = [*network.parameters(), *network.buffers(), *average.parameters(), *average.buffers()]
        return [value for value in (*modules, *gradients, *state, *kept) if isinstance(value, Tensor)]
