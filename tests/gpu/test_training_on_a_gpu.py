"""Training on a GPU: recorded steps are plain steps, a resumed run is an unbroken one; skipped where there is no CUDA device."""

import logging

import numpy as np
import pytest
import torch

from benchmarks.training_steps import MadeUpLatents, loop_steps, stage2_task
from lddm.autoencoder.clips import ClipDataset
from lddm.data.frames import fold_clips
from lddm.generators.diffusion.model import LatentDiffusion
from lddm.generators.diffusion.train import DiffusionTrainer
from lddm.generators.sampling import SamplingOptions
from lddm.nn.condition import LabelSpec
from lddm.settings.models import AutoencoderSettings, DiffusionSettings, Training
from lddm.training import graphs, loop
from lddm.training.loop import train
from lddm.training.schedule import step_generator

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CUDA = torch.device("cuda", 0)
TRAINING = Training(steps=40, batch_size=8, log_every=10, checkpoint_every=10, warmup_steps=5)


def trained(folder, stop_at=None, training=TRAINING, bad=()):
    """Weights after a training of stage 2 on made-up latents; step `stop_at` is interrupted."""
    torch.manual_seed(0)
    settings = DiffusionSettings(width=16, depth=1, training=training, distillation=None)
    model = LatentDiffusion(settings, MadeUpLatents(SPEC, 32, CUDA).spec, 32, LabelSpec(2)).to(CUDA)
    dataset = MadeUpLatents(SPEC, 32, CUDA)
    for number in bad:
        dataset.mean[number] = torch.nan
    task = DiffusionTrainer(model, dataset, dataset, 0)
    lines = []

    def on_log(step, values):
        lines.append(values)
        if step == stop_at:
            raise KeyboardInterrupt

    train(task, training, 0, folder, on_log, device=CUDA)
    return {name: value.cpu() for name, value in model.denoiser.state_dict().items()}, lines


SPEC = stage2_task(32, 8, torch.device("cpu"))[0].model.spec


@pytest.mark.parametrize("changes", [{}, {"accumulation": 2}, {"precision": "bf16"}])
def test_recorded_steps_give_the_weights_of_plain_ones(tmp_path, monkeypatch, caplog, changes):
    training = TRAINING.model_copy(update=changes)
    with caplog.at_level(logging.INFO):
        recorded, _ = trained(tmp_path / "a", training=training)
    assert "CUDA graph" in caplog.text and "one by one" not in caplog.text
    monkeypatch.setattr(loop, "capturable", lambda task: False)
    plain, _ = trained(tmp_path / "b", training=training)
    for name, value in plain.items():  # some kernels add in any order
        assert torch.allclose(recorded[name], value, rtol=1e-3, atol=1e-4), name


def test_a_resumed_run_is_an_unbroken_one(tmp_path):
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        whole, _ = trained(tmp_path / "a")
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "b", stop_at=30)
        resumed, _ = trained(tmp_path / "b")
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(whole[name], value) for name, value in resumed.items())


def test_steps_that_are_not_finite_are_left_out(tmp_path):
    weights, lines = trained(tmp_path, bad=(3,))
    assert all(torch.isfinite(value).all() for value in weights.values()) and lines[-1]["skipped_steps"] > 0


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


def test_the_noise_of_a_step_is_drawn_on_the_device_and_always_the_same():
    first, again, other = (torch.randn(5, generator=step_generator(1, step, CUDA), device=CUDA) for step in (7, 7, 8))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_sampling_from_graphs_gives_the_samples_of_the_function(monkeypatch, caplog):
    torch.manual_seed(0)
    model = LatentDiffusion(DiffusionSettings(width=16, depth=1), SPEC, 32, LabelSpec(2)).to(CUDA).eval()
    x0, label = torch.rand(4, 1, 32, 32, device=CUDA), torch.zeros(4, dtype=torch.int64, device=CUDA)
    for options in (SamplingOptions("distilled", guidance_scale=2.0), SamplingOptions("unipc", 4, 2.0)):
        made = [model.sample(x0, label, torch.Generator().manual_seed(n), options) for n in (0, 1, 2, 1)]
        assert torch.equal(made[1], made[3]) and not torch.equal(made[1], made[2])
        monkeypatch.setattr(graphs.Replayed, "_records_on", staticmethod(lambda device: False))
        plain = model.sample(x0, label, torch.Generator().manual_seed(1), options)
        monkeypatch.undo()
        assert torch.allclose(made[1], plain, rtol=1e-3, atol=1e-4)
    assert "one by one" not in caplog.text


@pytest.mark.parametrize("resident", [True, False])
def test_clips_are_the_same_bytes_on_both_devices(tiny_store, motion_of, monkeypatch, resident):
    store, splits = tiny_store
    settings, clips = AutoencoderSettings(width=4), fold_clips(store, splits, 0, "train")
    monkeypatch.setattr("lddm.autoencoder.clips.fits", lambda size, device: resident and device.type == "cuda")
    choice = (np.array([3, 0, 5]), np.array([True, False, True]), np.array([False, True, True]))
    on = [
        ClipDataset(store, clips, motion_of(settings), device).read(*choice) for device in (torch.device("cpu"), CUDA)
    ]
    assert torch.equal(on[0][0], on[1][0].cpu()) and torch.equal(on[0][1].coefficients, on[1][1].coefficients.cpu())
    assert torch.equal(on[0][1].maps, on[1][1].maps.cpu())
