"""Steps that are decided on the device, and recorded steps, end with the weights of plain ones; played through on the CPU."""

import logging
import math

import pytest
import torch
from torch import nn

from lddm.errors import LddmError
from lddm.settings.models import Training
from lddm.training import graphs, loop
from lddm.training.loop import train
from lddm.training.recorded import GraphedStep
from lddm.training.schedule import IndexTable, step_generator, step_indices
from lddm.training.update import DeviceUpdate

TRAINING = Training(
    steps=14,
    batch_size=4,
    learning_rate=0.05,
    warmup_steps=2,
    ema_decay=0.5,
    log_every=4,
    val_every=5,
    checkpoint_every=3,
)


class Pair:
    """A network with batch normalisation and one that begins later; the loss of `bad` steps is not finite."""

    def __init__(self, bad=(), stop_at=None):
        torch.manual_seed(0)
        self.networks = {"first": nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 1)), "second": nn.Linear(1, 1)}
        self.x = torch.linspace(-1, 1, 10)[:, None]
        self.bad, self.stop_at = bad, stop_at

    def batch(self, number):
        if number == self.stop_at:
            raise KeyboardInterrupt
        return self.x[step_indices(len(self.x), 4, 1, number)]

    def loss(self, name, batch, step, rng):
        noise = torch.randn(batch.shape, generator=rng)
        error = (self.networks["first"](batch) - 3 * batch - noise).square()
        if name == "first":
            logs = {"error": error.mean()} | ({"late": error.max()} if step > 5 else {})
            return error.mean() * (math.nan if step in self.bad else 1), logs
        return (
            (None, {"rests": 1})
            if step < 5
            else ((self.networks["second"](batch) - error.detach()).square().mean(), {})
        )


class Single:
    """One network, indices on the device and a loss without steps: what can be recorded."""

    def __init__(self, bad=None):
        torch.manual_seed(0)
        self.networks = {"net": nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 1))}
        self.x = torch.linspace(-1, 1, 10)[:, None]
        if bad is not None:
            self.x[bad] = torch.nan
        self.indices, self.batch_seed, self.bodies = IndexTable(10, 4, 1, torch.device("cpu")), 5, 0

    def batch(self, number):
        return self.read(self.indices[number], step_generator(self.batch_seed, number))

    def read(self, index, rng):
        return self.x[index] + 0.1 * torch.randn((len(index), 1), generator=rng)

    def loss(self, name, batch, step, rng):
        self.bodies += 1
        loss = (self.networks[name](batch) - torch.rand(batch.shape, generator=rng)).square().mean()
        return loss, {"mse": loss}


def run(task, folder, **changes):
    lines = []
    training = TRAINING.model_copy(update=changes)
    networks = train(task, training, 3, folder, lambda step, values: lines.append(values | {"step": step}))
    for values in lines:
        del values["steps_per_second"]
    return {f"{n}.{k}": v.clone() for n, net in networks.items() for k, v in net.state_dict().items()}, lines


def assert_same(one, other):
    assert all(torch.equal(one[0][name], value) for name, value in other[0].items())
    assert [sorted(values) for values in one[1]] == [sorted(values) for values in other[1]]
    for expected, found in zip(one[1], other[1], strict=True):
        assert found == pytest.approx(expected, rel=1e-6)


@pytest.fixture
def on_device(monkeypatch):
    """Call it to take the path of a GPU, on the CPU; graphs are played by calling the function again."""

    def switch():
        monkeypatch.setattr(loop, "_decides_on_device", lambda device: True)
        monkeypatch.setattr(graphs, "capture", lambda function, generators=(): function)

    return switch


@pytest.mark.parametrize("bad", [(), (0,), (7,), (3, 4, 5, 6, 7, 8, 9)])
def test_the_device_decides_as_the_host_does(tmp_path, on_device, bad):
    expected = run(Pair(bad), tmp_path / "host")
    on_device()
    assert_same(expected, run(Pair(bad), tmp_path / "device"))


def test_a_killed_run_goes_on_as_an_unbroken_one(tmp_path, on_device):
    expected = run(Pair((4, 5, 8)), tmp_path / "host")
    on_device()
    with pytest.raises(KeyboardInterrupt):
        run(Pair((4, 5, 8), stop_at=7), tmp_path / "device")
    weights, lines = run(Pair((4, 5, 8)), tmp_path / "device")
    assert all(torch.equal(expected[0][name], value) for name, value in weights.items())
    assert lines[-1]["skipped_steps"] == 3 and lines[0]["step"] == 8


def test_too_many_steps_in_a_row_end_the_run_at_the_next_read(tmp_path, on_device, caplog):
    on_device()
    with pytest.raises(LddmError, match=r"10 steps in a row, up to step 11, .*first: loss nan"):
        run(Pair(range(1, 11)), tmp_path, log_every=14, val_every=14, checkpoint_every=14)
    assert "10 steps skipped" in caplog.text
    assert not (tmp_path / "state.safetensors").exists()


def test_nothing_is_read_between_two_lines_of_the_log(tmp_path, on_device, monkeypatch):
    reads = []
    for name in ("item", "tolist", "__bool__", "__float__", "__int__"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda s, o=original, n=name: (reads.append(n), o(s))[1])
    on_device()
    seen, set_step = [], DeviceUpdate.set_step
    monkeypatch.setattr(DeviceUpdate, "set_step", lambda s, step: (seen.append(len(reads)), set_step(s, step))[1])
    training = TRAINING.model_copy(update={"log_every": 7, "checkpoint_every": 100, "val_every": 100})
    for task in (Pair(), Single()):
        seen.clear()
        train(task, training, 3, tmp_path / type(task).__name__, lambda *_: None)
        steps = seen[-14:]  # before them a recorded update is compared
        assert len(seen) <= 15 and steps[0] == steps[6] < steps[7] == steps[13]


@pytest.mark.parametrize("changes", [{}, {"accumulation": 2}])
@pytest.mark.parametrize("bad", [None, 3])
def test_recorded_steps_are_plain_steps(tmp_path, on_device, monkeypatch, caplog, changes, bad):
    expected = run(Single(bad), tmp_path / "host", **changes)
    on_device()
    places, call = set(), GraphedStep.__call__

    def watched(self, step):
        call(self, step)
        tensors = [*(p.grad for p in self._parameters), self._loss, *self._logs.values(), *self.update._means.values()]
        places.add(tuple(tensor.data_ptr() for tensor in tensors))

    monkeypatch.setattr(GraphedStep, "__call__", watched)
    with caplog.at_level(logging.INFO):
        assert_same(expected, run(Single(bad), tmp_path / "device", **changes))
    said = "the step is two CUDA graphs" if not changes else "the step is a CUDA graph and the update"
    assert said in caplog.text
    assert len(places) == 1, "a recording reads and writes where it was made"


def test_a_recording_that_repeats_its_noise_is_not_used(tmp_path, on_device, monkeypatch, caplog):
    """A graph that did not take up the seeds would train on the same noise in each step."""
    expected = run(Single(), tmp_path / "host")
    on_device()
    monkeypatch.setattr(graphs, "capture", stuck)
    assert_same(expected, run(Single(), tmp_path / "device"))
    assert "gives other gradients" in caplog.text


def stuck(function, generators=()):
    """A recording whose generators stay where they were."""

    def replay():
        for generator in generators:
            generator.manual_seed(0)
        function()

    return replay


def test_a_step_that_cannot_be_recorded_runs_all_the_same(tmp_path, on_device, monkeypatch, caplog):
    expected = run(Single(), tmp_path / "host")
    on_device()

    def fails(function, generators=()):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "capture", fails)
    assert_same(expected, run(Single(), tmp_path / "device"))
    assert "not permitted when stream is capturing" in caplog.text


def test_a_recording_of_the_update_that_does_something_else_is_not_used(tmp_path, on_device, monkeypatch, caplog):
    expected = run(Single(), tmp_path / "host")
    on_device()
    made = []

    def second_is_wrong(function, generators=()):
        made.append(function)
        return function if len(made) == 1 else lambda: None

    monkeypatch.setattr(graphs, "capture", second_is_wrong)
    with caplog.at_level(logging.INFO):
        assert_same(expected, run(Single(), tmp_path / "device"))
    assert len(made) == 2 and "no CUDA graph of the update: it gives other weights" in caplog.text
    assert "the step is a CUDA graph and the update" in caplog.text


@pytest.mark.parametrize("changes", [{}, {"accumulation": 2}])
def test_a_killed_run_of_recorded_steps_goes_on_as_an_unbroken_one(tmp_path, on_device, changes):
    on_device()
    expected = run(Single(), tmp_path / "whole", **changes)

    class Killed(Single):
        def read(self, index, rng):
            if self.bodies > 7 + 8 * (1 + len(changes)):  # seven before the first step
                raise KeyboardInterrupt
            return super().read(index, rng)

    with pytest.raises(KeyboardInterrupt):
        run(Killed(), tmp_path / "broken", **changes)
    assert (tmp_path / "broken/state.safetensors").exists()
    weights, _ = run(Single(), tmp_path / "broken", **changes)
    assert all(torch.equal(expected[0][name], value) for name, value in weights.items())


def test_a_function_is_replayed_from_the_second_call_of_a_shape_on(monkeypatch, caplog):
    calls = []

    def double(x, y):
        calls.append(len(x))
        return 2 * x + y

    monkeypatch.setattr(graphs, "capture", lambda function, generators=(): function)
    monkeypatch.setattr(graphs.Replayed, "_records_on", staticmethod(lambda device: True))
    replayed = graphs.Replayed(double, kept=2)
    with torch.no_grad():
        results = [replayed(torch.full((n,), float(k)), torch.ones(n)) for k, n in enumerate((3, 3, 3, 2, 3, 4, 5, 3))]
    assert [r[0].item() for r in results] == [1 + 2 * k for k in range(8)] and [len(r) for r in results][:4] == [
        3,
        3,
        3,
        2,
    ]
    replayed(torch.ones(3), torch.ones(3))  # with gradients: the function itself
    monkeypatch.setattr(graphs, "capture", lambda function, generators=(): lambda: None)
    broken = graphs.Replayed(double)
    with torch.no_grad():
        assert [broken(torch.ones(3), torch.ones(3))[0].item() for _ in range(3)] == [3, 3, 3]
    assert "no CUDA graph for sampling" in caplog.text


def test_indices_of_many_steps_are_those_of_each(monkeypatch):
    table = IndexTable(10, 4, 5, torch.device("cpu"))
    table.device = torch.device("meta")  # not the CPU: uploads blocks
    waited = []
    monkeypatch.setattr(
        torch.Tensor, "to", lambda self, device, non_blocking=False: (waited.append(not non_blocking), self)[1]
    )
    table.ahead = 3
    for step in (0, 1, 2, 3, 8, 1):
        assert table[step].tolist() == step_indices(10, 4, 5, step).tolist()
    assert waited == [False] * 4, "an upload does not wait for the work that the device has been given"
