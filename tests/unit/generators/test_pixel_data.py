"""Clips of the pixel generator are identical from the device, from a prefetching thread and from the store."""

import numpy as np
import torch

from lddm.generators.pixel import PixelDataset, PixelTask
from lddm.latent.dataset import LatentSet, save_latents
from lddm.latent.spec import LatentSpec
from lddm.training import device as device_module
from lddm.training.feed import feed

CPU = torch.device("cpu")


def latents_of(store, path):
    clips = store.clips.iloc[[0, 1, 0, 1, 2]]
    turned = torch.tensor([[0, 1, 1, 0, 0], [0, 0, 1, 1, 0]], dtype=torch.bool)
    train, label = torch.tensor([1, 1, 1, 1, 0], dtype=torch.bool), torch.arange(5) % 2
    z = torch.randn(5, 4)
    save_latents(path, LatentSpec("vector", 8, dim=4), clips["clip_id"].tolist(), z, z * 0, *turned, label, train)
    return LatentSet.load(path)


class Model:
    """The settings that `PixelTask` asks for."""

    class settings:
        num_train_timesteps, beta_schedule, prediction_type = 10, "linear", "epsilon"
        training = type("Training", (), {"batch_size": 3})


def test_augmented_clips_do_not_depend_on_where_frames_are_stored(tiny_store, tmp_path, monkeypatch):
    store = tiny_store[0]
    latents = latents_of(store, tmp_path / "latents")
    data = PixelDataset(latents, store, True, CPU)
    clips = store.clip_frames(store.clips.iloc[[0, 1, 0, 1]]) / 127.5 - 1
    clips[2:] = clips[2:, ::-1].copy()  # backwards
    clips[1:3] = clips[1:3, ..., ::-1].copy()  # mirrored
    x0, moved, label = data.read(np.arange(4))
    assert np.allclose(x0[:, 0].numpy(), clips[:, 0], atol=1e-6) and label.tolist() == [0, 1, 0, 1]
    assert np.allclose(moved[:, 0].numpy(), clips[:, 1:] - clips[:, :1], atol=1e-6)
    monkeypatch.setattr(device_module, "fits", lambda size, device: True)
    resident = PixelDataset(latents, store, True, CPU)
    assert resident.frames.resident and not data.frames.resident
    assert all(torch.equal(*pair) for pair in zip(data.read(np.arange(4)), resident.read(np.arange(4)), strict=True))
    monkeypatch.setattr("lddm.generators.pixel.make_scheduler", lambda *_: None)
    monkeypatch.setattr(PixelTask, "reads_ahead", True)
    task = PixelTask(Model, data, 0)
    with feed(task, iter((0, 4))) as batch:
        for number in (0, 4):
            assert all(torch.equal(*pair) for pair in zip(batch(number), task.batch(number), strict=True))
