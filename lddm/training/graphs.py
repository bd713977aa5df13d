"""CUDA graphs: the kernels of a function are captured once and launched together.

Networks with many small layers are limited by kernel launches. A graph launches the same kernels on the same memory, so its
results equal those of the function. A captured function reads its inputs from fixed tensors and must not synchronise with the
device.

All graphs of a device share one memory pool for temporary tensors. Inputs and results are allocated outside the pool and graphs
run one after another, so the pool is as large as the largest graph requires.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)
WARM_UP = 3  # warm-up calls before a capture, in which libraries choose kernels and allocate memory
TOLERANCE = (
    0.02  # largest relative difference between the results of a graph and its function; different noise gives about 1
)
_pools: dict[int, Any] = {}  # by device index


def capture(function: Callable[[], Any], generators: Sequence[torch.Generator] = ()) -> Callable[[], None]:
    """Capture a function after warm-up; returns a function that replays the graph.

    After a failure the stream and the generators are restored, so that the function can be called eagerly.

    Args:
        function: reads and writes tensors at fixed addresses.
        generators: random generators used besides the default one. Each replay uses their current seed.

    Raises:
        OutOfMemoryError: too little memory; a smaller function may fit.
        RuntimeError: the function contains operations that a graph does not support.
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
        torch.cuda.set_stream(stream)  # after a failed capture, torch stays on the stream of the capture
        del _pools[device]
        # the generators may still be registered as capturing
        for generator in (torch.cuda.default_generators[device], *generators):
            fresh = torch.Generator(torch.device("cuda", device)).manual_seed(generator.initial_seed())
            generator.graphsafe_set_state(fresh)
        if _is_out_of_memory(error):
            raise torch.OutOfMemoryError(f"while a CUDA graph was captured: {error}") from error
        raise
    return graph.replay


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error or one of its causes is an out-of-memory error, since the end of a capture raises another error."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def held_by_graphs(device: torch.device) -> int:
    """Bytes that the graph pool reserves in addition to allocated memory, unavailable to other work."""
    if not _pools:
        return 0
    number = torch.cuda.current_device() if device.index is None else device.index
    if number not in _pools:
        return 0
    segments = torch.cuda.memory_snapshot(_pools[number], include_traces=False)
    return sum(segment["total_size"] - segment["allocated_size"] for segment in segments)


def warm_up(function: Callable[[], Any], device: torch.device) -> None:
    """Warm up a function before capture, on a side stream, as `torch.cuda.graph` requires."""
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
    """Wraps a function of CUDA tensors without gradients, replayed as a graph from the second call with the same shapes.

    On a CPU, and if gradients are required, the function is called eagerly. If a capture fails or its results differ, the
    function is called eagerly for these shapes from then on, with a log message.

    Args:
        function: tensors -> a tensor; does not synchronise with the device.
        kept: number of graphs to keep, the most recent ones.
    """

    def __init__(self, function: Callable[..., Tensor], kept: int = 4):
        self.function, self.kept = function, kept
        self._seen: dict[Any, tuple[Callable[[], None], list[Tensor], Tensor] | None] = {}
        self._failed: set[Any] = set()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Evaluate the function; the result is a newly allocated tensor.

        Raises:
            OutOfMemoryError: as the function itself; a capture needs more memory than a call.
        """
        device = inputs[0].device
        if torch.is_grad_enabled() or not self._records_on(device):
            return self.function(*inputs)
        key = (device, torch.is_autocast_enabled(device.type), *((value.shape, value.dtype) for value in inputs))
        if key in self._failed:
            return self.function(*inputs)
        if key not in self._seen:  # the shape of the last batch of a set rarely recurs
            while len(self._seen) >= self.kept:
                del self._seen[next(iter(self._seen))]
            self._seen[key] = None
            return self.function(*inputs)
        known = self._seen[key]
        if known is None:
            del self._seen[key]  # a failed capture leaves nothing behind
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
        except torch.OutOfMemoryError:  # the caller retries with a smaller batch
            raise
        except RuntimeError as error:
            logger.warning("no CUDA graph for sampling, operations are launched one by one: %s", error)
            return None
        return replay, places, output


_REPLAYED: WeakKeyDictionary[nn.Module, dict[str, tuple[int, Replayed]]] = WeakKeyDictionary()


def replayed(network: nn.Module, method: str = "__call__") -> Replayed:
    """Return the `Replayed` of a method of a network, cached until the weights move (`network.to`)."""
    of_network = _REPLAYED.setdefault(network, {})
    place = next((parameter.data_ptr() for parameter in network.parameters()), 0)
    if method not in of_network or of_network[method][0] != place:
        whose = ref(network)  # a value of the weak dictionary must not keep its key alive

        def function(*inputs: Tensor) -> Tensor:
            return getattr(whose(), method)(*inputs)

        of_network[method] = (place, Replayed(function))
    return of_network[method][1]
