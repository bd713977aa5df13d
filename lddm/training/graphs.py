"""CUDA graphs: the kernels of a function, recorded once and launched together.

Networks of many small layers wait for the launch of each kernel. A graph launches the same kernels on the same memory, so its
results are those of the function. What is recorded reads its inputs from fixed tensors and must not read from the device.

All graphs of a device share one pool of memory, which holds what lives within a run of the function: inputs and results are
allocated outside, and graphs run one after the other. So the pool is as large as the largest of them needs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)
WARM_UP = 3  # calls before a recording, in which libraries choose kernels and allocate
TOLERANCE = (
    0.02  # largest relative difference of results between a graph and its function; other noise differs by about 1
)
_pools: dict[int, Any] = {}  # by number of the device


def capture(function: Callable[[], Any], generators: Sequence[torch.Generator] = ()) -> Callable[[], None]:
    """Record a function that was called before; returns what runs the recording.

    After a failure the stream and the generators are as before, so that the function can be called.

    Args:
        function: reads and writes tensors that stay where they are.
        generators: sources of random numbers that it uses, beside the default one. Each run takes up the seed that they have.

    Raises:
        OutOfMemoryError: too little memory; a smaller function may fit.
        RuntimeError: torch's for everything else that a graph cannot hold.
    """
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    stream, device = torch.cuda.current_stream(), torch.cuda.current_device()
    if device not in _pools:
        _pools[device] = torch.cuda.graph_pool_handle()
    try:
        with torch.cuda.graph(graph, pool=_pools[device]):
            function()
    except BaseException as error:
        torch.cuda.set_stream(stream)  # torch stays on the stream of the capture where that did not end well
        del _pools[device]
        for generator in (torch.cuda.default_generators[device], *generators):  # they may count as being recorded
            fresh = torch.Generator(torch.device("cuda", device)).manual_seed(generator.initial_seed())
            generator.graphsafe_set_state(fresh)
        if _is_out_of_memory(error):
            raise torch.OutOfMemoryError(f"while a CUDA graph was recorded: {error}") from error
        raise
    return graph.replay


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, is a lack of memory: the end of the capture raises another one."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def held_by_graphs(device: torch.device) -> int:
    """Bytes that the pool of the graphs keeps from all other work, beside what counts as allocated."""
    if not _pools:
        return 0
    number = torch.cuda.current_device() if device.index is None else device.index
    if number not in _pools:
        return 0
    segments = torch.cuda.memory_snapshot(_pools[number], include_traces=False)
    return sum(segment["total_size"] - segment["allocated_size"] for segment in segments)


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


class Replayed:
    """A function of CUDA tensors without gradients, as a graph from the second call with the same shapes on.

    On a CPU, and where gradients are wanted, it is the function. If a recording fails or gives something else, the function
    is called for these shapes from then on, and the log says so.

    Args:
        function: tensors -> a tensor; reads nothing from the device.
        kept: graphs that are kept, the last ones.
    """

    def __init__(self, function: Callable[..., Tensor], kept: int = 4):
        self.function, self.kept = function, kept
        self._seen: dict[Any, tuple[Callable[[], None], list[Tensor], Tensor] | None] = {}
        self._failed: set[Any] = set()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The value of the function, in memory of its own.

        Raises:
            OutOfMemoryError: as of the function; a recording needs more memory than a call.
        """
        device = inputs[0].device
        if torch.is_grad_enabled() or not self._records_on(device):
            return self.function(*inputs)
        key = (device, torch.is_autocast_enabled(device.type), *((value.shape, value.dtype) for value in inputs))
        if key in self._failed:
            return self.function(*inputs)
        if key not in self._seen:  # the last batch of a set is seldom seen again
            while len(self._seen) >= self.kept:
                del self._seen[next(iter(self._seen))]
            self._seen[key] = None
            return self.function(*inputs)
        known = self._seen[key]
        if known is None:
            del self._seen[key]  # a recording that fails leaves nothing behind
            known = self._record(inputs, device)
            if known is None:
                self._failed.add(key)
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
        except torch.OutOfMemoryError:  # whoever asked takes a smaller batch
            raise
        except RuntimeError as error:
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
