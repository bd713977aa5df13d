"""CUDA graphs: the kernels of a function, recorded once and launched together.

Networks of many small layers wait for the launch of each kernel. A graph launches the same kernels on the same memory, so its
results are those of the function. What is recorded reads its inputs from fixed tensors and must not read from the device.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn

from lddm.training.parallel import world_size
from lddm.training.schedule import step_seed
from lddm.training.step import Step
from lddm.training.update import DeviceUpdate

logger = logging.getLogger(__name__)
WARM_UP = 3  # calls before a recording, in which libraries choose kernels and allocate
TOLERANCE = (
    0.02  # largest relative difference of gradients between a graph and its function; other noise differs by about 1
)


def capture(function: Callable[[], Any], generators: Sequence[torch.Generator] = ()) -> Callable[[], None]:
    """Record a function that was called before; returns what runs the recording.

    Args:
        function: reads and writes tensors that stay where they are.
        generators: sources of random numbers that it uses, beside the default one. Each run takes up the seed that they have.
    """
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        function()
    return graph.replay


def warm_up(function: Callable[[], Any], device: torch.device) -> None:
    """Call a function before it is recorded: on a stream of its own, as `torch.cuda.graph` asks for."""
    if device.type != "cuda":
        for _ in range(WARM_UP):
            function()
        return
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            function()
    torch.cuda.current_stream(device).wait_stream(stream)


def capturable(task: Any) -> bool:
    """Whether a task is a `CapturableTask`, with its data on the device."""
    parts = all(hasattr(task, name) for name in ("indices", "read", "batch_seed"))
    return len(task.networks) == 1 and parts and not getattr(task, "reads_ahead", False)


class GraphedStep(Step):
    """A step as two graphs: forward and backward pass of a micro-batch, and the update.

    The second one is left out where a step has several micro-batches or processes. Before the first is used it is compared
    with the function on two steps; if they differ, or if the recording fails, steps run operation by operation, and the log
    says so. `update` is a `DeviceUpdate` and `task` a `CapturableTask`.
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
            if len(self.mine) > 1:  # the next run writes to the same memory
                logged[-1] = {name: value.clone() for name, value in self._logs.items()}
        if self._update is None:
            self.update.finish(step, {self.name: self._loss}, logged)
        else:
            self.update.set_step(step)
            self._update()

    def _feed(self, number: int) -> None:
        """Point the graph to a micro-batch: its examples and the seeds of its noise."""
        self._index.copy_(self.task.indices[number])
        for generator, seed in zip(self._generators, (self.task.batch_seed, self.seed * 8), strict=True):
            generator.manual_seed(step_seed(seed, number))
        torch.manual_seed(step_seed(self.seed * 8 + 4, number))  # dropout has no other source

    def _zero(self) -> None:
        torch._foreach_zero_([*(p.grad for p in self._parameters if p.grad is not None), self._loss])

    def _body(self) -> None:
        """Forward and backward pass of the micro-batch that `_feed` has pointed to; adds to loss and gradients."""
        batch = self.task.read(self._index, self._generators[0])
        loss, logs = self.backward(self.name, batch, 0, self._generators[1])
        assert loss is not None
        self._loss.add_(loss)
        for name, value in logs.items():  # into fixed memory: the update, and each run of the recording, know no other
            if name not in self._logs:
                self._logs[name] = torch.zeros((), device=self.device)
            if isinstance(value, Tensor):
                self._logs[name].copy_(value.detach())
            else:
                self._logs[name].fill_(value)

    def _record(self, step: int) -> None:
        first = step * self.parts + self.mine[0]
        # The warm-up allocates gradients in the layout of a plain step, so that norms are summed in the same order.
        for parameter in self._parameters:
            parameter.grad = None
        self.update.begin()
        self._feed(first)
        warm_up(self._body, self.device)
        try:
            gradients = capture(self._body, self._generators)
            difference = self._compare(gradients, (first, first + 1))
        except RuntimeError as error:  # torch's for everything that a graph cannot hold
            logger.warning("no CUDA graph of the step, operations are launched one by one: %s", error)
            return
        finally:
            self._restore_buffers()
        if not difference < TOLERANCE:
            logger.warning(
                "the CUDA graph of the step gives other gradients (relative difference %.2g), operations are launched one "
                "by one",
                difference,
            )
            return
        self._gradients = gradients
        if len(self.mine) == 1 and world_size() == 1:
            self._record_update()
        logger.info("the step is %s", "two CUDA graphs" if self._update else "a CUDA graph and the update")

    def _compare(self, gradients: Callable[[], None], numbers: Sequence[int]) -> float:
        """Largest relative difference between the gradients of the recording and of the function."""
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

    def _record_update(self) -> None:
        """Record the update. Its warm-up is a step that is not finite, which changes nothing."""

        def update() -> None:
            self.update.select({self.name: self._loss}, [self._logs])

        groups = [group for optimizer in self.update.optimizers.values() for group in optimizer.param_groups]
        kept = self.update._skips.clone()
        self._loss.fill_(torch.nan)
        warm_up(update, self.device)
        self.update._skips.copy_(kept)
        for last in self.update._last.values():
            last.zero_()
        try:
            for group in groups:
                group["capturable"] = True
            self._update = capture(update)
        except RuntimeError as error:
            for group in groups:
                group["capturable"] = False
            logger.warning("no CUDA graph of the update: %s", error)


class Replayed:
    """A function of CUDA tensors without gradients, as a graph from the second call with the same shapes on.

    On a CPU, and where gradients are wanted, it is the function. If a recording fails or gives something else, the function
    is called from then on, and the log says so.

    Args:
        function: tensors -> a tensor; reads nothing from the device.
        kept: graphs that are kept, the last ones; each holds the memory of a call.
    """

    def __init__(self, function: Callable[..., Tensor], kept: int = 4):
        self.function, self.kept = function, kept
        self._seen: dict[Any, tuple[Callable[[], None], list[Tensor], Tensor] | None] = {}
        self._failed = False

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The value of the function, in memory of its own."""
        device = inputs[0].device
        if self._failed or torch.is_grad_enabled() or not self._records_on(device):
            return self.function(*inputs)
        key = (device, torch.is_autocast_enabled(device.type), *((value.shape, value.dtype) for value in inputs))
        if key not in self._seen:  # the last batch of a set is seldom seen again
            while len(self._seen) >= self.kept:
                del self._seen[next(iter(self._seen))]
            self._seen[key] = None
            return self.function(*inputs)
        known = self._seen[key] or self._record(inputs, device)
        if known is None:
            return self.function(*inputs)
        self._seen[key] = known
        replay, places, output = known
        for place, value in zip(places, inputs, strict=True):
            place.copy_(value)
        replay()
        return output.clone()

    @staticmethod
    def _records_on(device: torch.device) -> bool:
        return device.type == "cuda" and not torch.cuda.is_current_stream_capturing()

    def _record(self, inputs: Sequence[Tensor], device: torch.device):
        places = [value.clone() for value in inputs]
        expected = self.function(*places)
        output = torch.empty_like(expected)

        def function() -> None:
            output.copy_(self.function(*places))

        try:
            warm_up(function, device)
            replay = capture(function)
            output.zero_()
            replay()
            if not torch.allclose(output, expected, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
                raise RuntimeError("its results differ")
        except RuntimeError as error:
            self._failed = True
            self._seen.clear()
            logger.warning("no CUDA graph for sampling, operations are launched one by one: %s", error)
            return None
        return replay, places, output


_REPLAYED: WeakKeyDictionary[nn.Module, dict[str, tuple[int, Replayed]]] = WeakKeyDictionary()


def replayed(network: nn.Module, method: str = "__call__") -> Replayed:
    """The `Replayed` of a network's method: the same for each call, until the weights are elsewhere (`network.to`)."""
    of_network = _REPLAYED.setdefault(network, {})
    place = next((parameter.data_ptr() for parameter in network.parameters()), 0)
    if method not in of_network or of_network[method][0] != place:
        whose = ref(network)  # the values of the table must not keep its keys alive

        def function(*inputs: Tensor) -> Tensor:
            return getattr(whose(), method)(*inputs)

        of_network[method] = (place, Replayed(function))
    return of_network[method][1]
