"""A step spread over processes or micro-batches is the step of one process."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lddm.errors import LddmError
from lddm.settings.models import Training
from lddm.training.loop import train
from lddm.training.schedule import step_indices
from lddm.training.step import micro_batches
from lddm.training.weights import load_weights, save_weights


class Curve:
    """Learn y = sin(3 x), with or without noise; the batch size is that of one process.

    Each process begins with other weights, of which those of the first count.
    """

    def __init__(self, training: Training, noise: float, bad: int | None, stop: int | None):
        torch.manual_seed(int(os.environ.get("RANK", 0)))
        self.training, self.noise, self.bad, self.stop = training, noise, bad, stop
        self.networks = {"net": nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))}
        self.x = torch.linspace(-1, 1, 24)[:, None]

    def batch(self, number):
        if self.stop is not None and number >= self.stop:
            raise KeyboardInterrupt
        if number == self.bad:
            return self.x[:4] * torch.nan
        return self.x[step_indices(len(self.x), self.training.batch_size, 1, number)]

    def loss(self, name, batch, step, rng):
        target = torch.sin(3 * batch) + self.noise * torch.randn(batch.shape, generator=rng)
        return (self.networks["net"](batch) - target).square().mean(), {}


def run(
    folder: Path, noise: float = 0.1, bad: int | None = None, stop: int | None = None, **changes
) -> tuple[dict, list[float]]:
    """Train; micro-batch `bad` is not finite, and the run is killed at micro-batch `stop`."""
    common = {"steps": 6, "learning_rate": 0.05, "warmup_steps": 1, "log_every": 1, "checkpoint_every": 4}
    training = Training(**common | changes)
    lines = []
    task = Curve(training, noise, bad, stop)
    net = train(task, training, 3, folder, lambda _, v: lines.append(v.get("net/loss")))["net"]
    return {k: v.detach().clone() for k, v in net.state_dict().items()}, lines


def close(a, b):
    return all(torch.allclose(a[k], b[k], atol=1e-6) for k in a)


def test_accumulated_micro_batches_make_the_step_of_the_whole_batch(tmp_path):
    whole, whole_loss = run(tmp_path / "a", noise=0, batch_size=8)
    parts, parts_loss = run(tmp_path / "b", noise=0, batch_size=2, accumulation=4)
    other, _ = run(tmp_path / "c", noise=0, batch_size=2)
    assert close(whole, parts) and whole_loss == pytest.approx(parts_loss, abs=1e-6)
    assert not close(whole, other)


def test_two_processes_end_with_the_weights_and_losses_of_one(tmp_path):
    one, losses = run(tmp_path / "one", batch_size=4, accumulation=2)
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_parallel as t; t.worker()"
    (tmp_path / "worker.py").write_text(script)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    launch += [str(tmp_path / "worker.py"), str(tmp_path)]
    done = subprocess.run(launch, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    two, about = load_weights(tmp_path / "two.safetensors", "toy")
    assert close(one, two) and about["losses"] == pytest.approx(losses, abs=1e-6)
    assert (tmp_path / "two" / "state.safetensors").is_file()  # written by the first process alone
    one_bad, losses = run(tmp_path / "one_bad", batch_size=4, accumulation=2, bad=7)
    two_bad, about = load_weights(tmp_path / "two_bad.safetensors", "toy")
    assert close(one_bad, two_bad) and not close(one, two_bad)  # both skip the step that is bad in one of them
    assert losses[3] is None and [i for i, loss in enumerate(about["losses"]) if loss is None] == [3]
    alone, losses = run(tmp_path / "cut", batch_size=4, processes=2)  # requeued where there is one GPU
    assert close(one, alone) and len(losses) == 2


def worker() -> None:
    """What each of the two processes runs."""
    folder = Path(sys.argv[1])
    two, losses = run(folder / "two", batch_size=4, processes=2)
    save_weights(folder / "two.safetensors", two, "toy", losses=losses)
    two, losses = run(folder / "two_bad", batch_size=4, processes=2, bad=7)
    save_weights(folder / "two_bad.safetensors", two, "toy", losses=losses)
    with contextlib.suppress(KeyboardInterrupt):
        run(folder / "cut", batch_size=4, processes=2, stop=10)


def test_micro_batches_are_shared_by_the_processes_that_there_are(monkeypatch):
    def mine(world, rank, **changes):
        monkeypatch.setenv("WORLD_SIZE", str(world))
        monkeypatch.setenv("RANK", str(rank))
        parts, numbers = micro_batches(Training(**changes))
        return parts, list(numbers)

    assert mine(1, 0) == (1, [0]) and mine(1, 0, processes=2, accumulation=2) == (4, [0, 1, 2, 3])
    assert mine(2, 1, processes=2, accumulation=2) == (4, [2, 3])
    assert mine(4, 3, processes=2, accumulation=2) == (4, [3])
    with pytest.raises(LddmError, match="2 processes cannot share the 1 micro-batches"):
        mine(2, 0)


@pytest.mark.slow
def test_torch_compile_changes_speed_only(tmp_path):
    plain, _ = run(tmp_path / "a", batch_size=4)
    fused, _ = run(tmp_path / "b", batch_size=4, compile=True)
    assert all(torch.allclose(plain[k], fused[k], atol=1e-4) for k in plain)
