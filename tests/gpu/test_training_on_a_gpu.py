"""Training on a GPU: recorded steps are plain steps, a resumed run is an unbroken one.

Those with the fixture `device` run on a CPU, too, where graphs are played by calling the recorded functions: so they are known to
work before they meet a GPU. The others are skipped without one.
"""

import logging

import numpy as np
import pytest
import torch

from benchmarks.training_steps import MadeUpLatents, loop_steps, stage2_task
from lddm.autoencoder.clips import ClipDataset
from lddm.data.frames import fold_clips
from lddm.generators.cinn import ConditionalFlow, FlowTrainer
from lddm.generators.diffusion.distillation import DistillationTask, make_pairs
from lddm.generators.diffusion.model import LatentDiffusion
from lddm.generators.diffusion.train import DiffusionTrainer
from lddm.generators.sampling import SamplingOptions
from lddm.nn.condition import LabelSpec
from lddm.settings.models import AutoencoderSettings, CinnSettings, DiffusionSettings, Training
from lddm.training import graphs, loop
from lddm.training.loop import train
from lddm.training.schedule import step_generator
from tests.no_reads import NoReads

CUDA = torch.device("cuda", 0)
TRAINING = Training(steps=12, batch_size=8, log_every=3, checkpoint_every=3, warmup_steps=5)
SPEC = stage2_task(32, 8, torch.device("cpu"))[0].model.spec
KINDS = ("denoiser", "student", "cinn")
gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def on_gpu(test):
    """For tests that only a GPU can fail."""
    for mark in gpu:
        test = mark(test)
    return test


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=gpu)])
def device(request, monkeypatch):
    """A GPU; or a CPU on which the loop takes the path of a GPU."""
    if request.param == "cpu":
        monkeypatch.setattr(loop, "_decides_on_device", lambda device: True)
        monkeypatch.setattr(graphs, "capture", lambda function, generators=(): function)
        return torch.device("cpu")
    return CUDA


def task_of(kind, training, device, bad=()):
    """A training of stage 2 on made-up latents."""
    torch.manual_seed(0)
    np.random.seed(0)  # (FrEIA draws its permutations from numpy's global state)
    dataset = MadeUpLatents(SPEC, 32, device, 64)
    if kind == "cinn":
        flow = ConditionalFlow(CinnSettings(training=training), SPEC, 32, LabelSpec(2)).to(device)
        task = FlowTrainer(flow, dataset, dataset, 0)
        flow.prepare(*task.batch(0))
        return task
    distillation = DiffusionSettings().distillation.model_copy(update={"num_inference_steps": 2})
    settings = DiffusionSettings(width=16, depth=1, training=training, distillation=distillation)
    model = LatentDiffusion(settings, SPEC, 32, LabelSpec(2)).to(device)
    if kind == "student":
        model.student.requires_grad_(True)
        return DistillationTask(model, dataset.x0, make_pairs(model, dataset, 64, 0), 0)
    dataset.mean[list(bad)] = torch.nan
    return DiffusionTrainer(model, dataset, dataset, 0)


def trained(folder, device, kind="denoiser", stop_at=None, training=TRAINING, bad=()):
    """Weights after a training, and the lines of its log; the log of step `stop_at` is interrupted."""
    task, lines = task_of(kind, training, device, bad), []

    def on_log(step, values):
        lines.append(values)
        if step == stop_at:
            raise KeyboardInterrupt

    (network,) = train(task, training, 0, folder, on_log, device=device).values()
    return {name: value.cpu() for name, value in network.state_dict().items()}, lines


@pytest.mark.parametrize(
    ("kind", "changes"),
    [*((kind, {}) for kind in KINDS), ("denoiser", {"accumulation": 2}), ("denoiser", {"precision": "bf16"})],
)
def test_recorded_steps_give_the_weights_of_plain_ones(tmp_path, device, monkeypatch, caplog, kind, changes):
    if device.type == "cpu" and "precision" in changes:
        pytest.skip("bfloat16 on a CPU gives gradients that are not finite, at random")
    training = TRAINING.model_copy(update=changes)
    with caplog.at_level(logging.INFO):
        recorded, _ = trained(tmp_path / "a", device, kind, training=training)
    assert "CUDA graph" in caplog.text and "one by one" not in caplog.text
    monkeypatch.setattr(loop, "capturable", lambda task: False)
    plain, _ = trained(tmp_path / "b", device, kind, training=training)
    for name, value in plain.items():  # some kernels of a GPU add in any order
        assert torch.allclose(recorded[name], value, rtol=1e-3, atol=1e-4), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_is_an_unbroken_one(tmp_path, device, kind):
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        whole, _ = trained(tmp_path / "a", device, kind)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "b", device, kind, stop_at=9)
        resumed, _ = trained(tmp_path / "b", device, kind)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(whole[name], value) for name, value in resumed.items())


def test_steps_that_are_not_finite_are_left_out(tmp_path, device):
    weights, lines = trained(tmp_path, device, bad=(3,))
    assert all(torch.isfinite(value).all() for value in weights.values()) and lines[-1]["skipped_steps"] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_part_that_is_recorded_reads_nothing_from_the_device(kind):
    cpu = torch.device("cpu")
    task = task_of(kind, TRAINING, cpu)
    ((name, network),) = task.networks.items()
    index, rng = task.indices[0], torch.Generator().manual_seed(0)
    with NoReads():
        loss, _ = task.loss(name, task.read(index, rng), 0, rng)
        loss.backward()
    assert any(parameter.grad is not None for parameter in network.parameters())


@on_gpu
def test_nothing_is_read_from_the_device_in_a_step():
    task, training = stage2_task(32, 8, CUDA)
    for how in ("read at the log", "graphs"):
        step = loop_steps(task, training.model_copy(update={"log_every": 1000}), CUDA, how)
        for _ in range(3):
            step()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(3):
                step()
        finally:
            torch.cuda.set_sync_debug_mode("default")


@on_gpu
def test_the_noise_of_a_step_is_drawn_on_the_device_and_always_the_same():
    first, again, other = (torch.randn(5, generator=step_generator(1, step, CUDA), device=CUDA) for step in (7, 7, 8))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_sampling_from_graphs_gives_the_samples_of_the_function(device, monkeypatch, caplog):
    if device.type == "cpu":
        monkeypatch.setattr(graphs.Replayed, "_records_on", staticmethod(lambda device: True))
    torch.manual_seed(0)
    model = LatentDiffusion(DiffusionSettings(width=16, depth=1), SPEC, 32, LabelSpec(2)).to(device).eval()
    x0, label = torch.rand(4, 1, 32, 32, device=device), torch.zeros(4, dtype=torch.int64, device=device)
    for options in (SamplingOptions("distilled", guidance_scale=2.0), SamplingOptions("unipc", 4, 2.0)):
        made = [model.sample(x0, label, torch.Generator().manual_seed(n), options) for n in (0, 1, 2, 1)]
        assert torch.equal(made[1], made[3]) and not torch.equal(made[1], made[2])
        with monkeypatch.context() as patched:
            patched.setattr(graphs.Replayed, "_records_on", staticmethod(lambda device: False))
            plain = model.sample(x0, label, torch.Generator().manual_seed(1), options)
        assert torch.allclose(made[1], plain, rtol=1e-3, atol=1e-4)
    assert "one by one" not in caplog.text


@on_gpu
@pytest.mark.parametrize("resident", [True, False])
def test_clips_are_the_same_bytes_on_both_devices(tiny_store, motion_of, monkeypatch, resident):
    store, splits = tiny_store
    settings, clips = AutoencoderSettings(width=4), fold_clips(store, splits, 0, "train")
    monkeypatch.setattr("lddm.training.device.fits", lambda size, device: resident and device.type == "cuda")
    choice = (np.array([3, 0, 5]), np.array([True, False, True]), np.array([False, True, True]))
    on = [
        ClipDataset(store, clips, motion_of(settings), device).read(*choice) for device in (torch.device("cpu"), CUDA)
    ]
    assert torch.equal(on[0][0], on[1][0].cpu()) and torch.equal(on[0][1].coefficients, on[1][1].coefficients.cpu())
    assert torch.equal(on[0][1].maps, on[1][1].maps.cpu())
