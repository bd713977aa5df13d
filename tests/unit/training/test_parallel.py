"""A step spread over processes or micro-batches is the step of one process."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lddm.settings.models import Training
from lddm.training.loop import train
from lddm.training.schedule import step_indices
from lddm.training.weights import load_weights, save_weights


class Curve:
    """Learn y = sin(3 x), with or without noise; the batch size is that of one process."""

    def __init__(self, training: Training, noise: float):
        torch.manual_seed(0)
        self.training, self.noise = training, noise
        self.players = {"net": nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))}
        self.x = torch.linspace(-1, 1, 24)[:, None]

    def batch(self, number):
        return self.x[step_indices(len(self.x), self.training.batch_size, 1, number)]

    def loss(self, player, batch, step, rng):
        target = torch.sin(3 * batch) + self.noise * torch.randn(batch.shape, generator=rng)
        return (self.players["net"](batch) - target).square().mean(), {}


def run(folder: Path, noise: float = 0.1, **changes) -> tuple[dict, list[float]]:
    common = {"steps": 6, "learning_rate": 0.05, "warmup_steps": 1, "log_every": 1, "checkpoint_every": 4}
    training = Training(**common | changes)
    lines = []
    net = train(Curve(training, noise), training, 3, folder, lambda _, v: lines.append(v["net/loss"]))["net"]
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


def worker() -> None:
    """What each of the two processes runs."""
    folder = Path(sys.argv[1])
    two, losses = run(folder / "two", batch_size=4, processes=2)
    save_weights(folder / "two.safetensors", two, "toy", losses=losses)


@pytest.mark.slow
def test_torch_compile_changes_speed_only(tmp_path):
    plain, _ = run(tmp_path / "a", batch_size=4)
    fused, _ = run(tmp_path / "b", batch_size=4, compile=True)
    assert all(torch.allclose(plain[k], fused[k], atol=1e-4) for k in plain)
