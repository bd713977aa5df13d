"""Recordings that fail leave the device as it was; each set of shapes fails for itself; their memory is counted."""

import contextlib

import pytest
import torch

from lddm.synthesis import memory
from lddm.synthesis.memory import BatchSize
from lddm.training import graphs

CPU = torch.device("cpu")


class Generator:
    """Knows whether its state is being recorded, as those of CUDA do."""

    def __init__(self, device=None):
        self.seed, self.recorded = 0, False

    def manual_seed(self, seed):
        self.seed = seed
        return self

    def initial_seed(self):
        return self.seed

    def graphsafe_set_state(self, other):
        self.seed, self.recorded = other.seed, other.recorded


class Cuda:
    """A device whose recording ends badly where the function has raised, as in torch: on the stream of the capture."""

    def __init__(self, monkeypatch):
        self.stream, self.pools, self.used = "main", 0, []
        self.default = Generator().manual_seed(5)
        made = {
            "current_stream": lambda *_: self.stream, "current_device": lambda: 0, "set_stream": self.set_stream,
            "graph_pool_handle": self.new_pool, "CUDAGraph": Graph, "graph": self.graph,
            "default_generators": (self.default,),
        }  # fmt: skip
        for name, value in made.items():
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(torch, "Generator", Generator)
        monkeypatch.setattr(graphs, "_pools", {})

    def set_stream(self, stream):
        self.stream = stream

    def new_pool(self):
        self.pools += 1
        return self.pools

    @contextlib.contextmanager
    def graph(self, graph, pool):
        self.used.append(pool)
        self.stream = "capture"
        for generator in (self.default, *graph.generators):
            generator.recorded = True
        try:
            yield
        except BaseException:
            raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904 (as torch does)
        for generator in (self.default, *graph.generators):
            generator.recorded = False
        self.stream = "main"


class Graph:
    def __init__(self):
        self.generators = []

    def register_generator_state(self, generator):
        self.generators.append(generator)

    def replay(self):
        """Nothing."""


@pytest.mark.parametrize("error", [ValueError("a read"), torch.OutOfMemoryError("CUDA out of memory")])
def test_a_recording_that_fails_leaves_stream_and_generators_as_they_were(monkeypatch, error):
    cuda, own = Cuda(monkeypatch), Generator().manual_seed(7)

    def fails():
        raise error

    kind = torch.OutOfMemoryError if isinstance(error, torch.OutOfMemoryError) else RuntimeError
    with pytest.raises(kind) as caught:
        graphs.capture(fails, [own])
    assert isinstance(caught.value, torch.OutOfMemoryError) == isinstance(error, torch.OutOfMemoryError)
    assert cuda.stream == "main"
    assert [(g.seed, g.recorded) for g in (cuda.default, own)] == [(5, False), (7, False)]


def test_graphs_share_a_pool_but_not_that_of_one_that_failed(monkeypatch):
    cuda = Cuda(monkeypatch)
    for _ in range(2):
        graphs.capture(lambda: None)
    with pytest.raises(RuntimeError):
        graphs.capture(lambda: 1 / 0)
    graphs.capture(lambda: None)
    assert cuda.used == [1, 1, 1, 2]


@pytest.fixture
def recording(monkeypatch):
    """Functions whose recording raises for some lengths of the input."""
    monkeypatch.setattr(graphs.Replayed, "_records_on", staticmethod(lambda device: True))
    raises, recorded = {}, []

    def capture(function, generators=()):
        (length,) = {len(c.cell_contents) for c in function.__closure__ if isinstance(c.cell_contents, torch.Tensor)}
        if length in raises:
            raise raises[length]
        recorded.append(length)
        return function

    monkeypatch.setattr(graphs, "capture", capture)
    return raises, recorded


def test_shapes_fail_one_by_one_and_a_lack_of_memory_is_for_the_caller(recording, caplog):
    raises, recorded = recording
    raises |= {8: torch.OutOfMemoryError("CUDA out of memory"), 3: RuntimeError("operation not permitted")}
    double = graphs.Replayed(lambda x: 2 * x)

    def call(length):
        with torch.no_grad():
            assert double(torch.ones(length)).tolist() == [2.0] * length

    call(8)
    with pytest.raises(torch.OutOfMemoryError):
        call(8)
    assert not caplog.records
    for length in (4, 4, 4, 3, 3, 3):  # half of the batch is recorded; what cannot be recorded is tried once
        call(length)
    assert recorded == [4] and caplog.text.count("operation not permitted") == 1


def test_memory_that_graphs_hold_is_not_free(monkeypatch):
    device = torch.device("cuda", 0)
    values = {"max_memory_allocated": 100, "mem_get_info": (300, 1000), "memory_reserved": 500, "memory_allocated": 0}
    for name, value in values.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    sizes = BatchSize(4, device)
    sizes._grow(0)
    assert sizes.size == 8  # 200 of 800 bytes
    monkeypatch.setattr(graphs, "_pools", {0: (0, 1)})
    segments = [{"total_size": 300, "allocated_size": 50}, {"total_size": 200, "allocated_size": 0}]
    monkeypatch.setattr(torch.cuda, "memory_snapshot", lambda pool, include_traces: segments)
    assert memory.held_by_graphs(device) == 450 and graphs.held_by_graphs(torch.device("cuda", 1)) == 0
    sizes._grow(0)
    assert sizes.size == 8  # 200 of 350 bytes are more than half
