"""Batches are the same bytes from the device, from a thread that reads ahead, and from the store."""

import dataclasses

import numpy as np
import pytest
import torch

from lddm.autoencoder.clips import ClipDataset
from lddm.autoencoder.model import Autoencoder
from lddm.autoencoder.train import AutoencoderTask
from lddm.data.frames import fold_clips
from lddm.motion import field_of_view as view
from lddm.settings.models import AutoencoderSettings, Training
from lddm.training import device as device_module
from lddm.training.feed import feed
from tests.no_reads import NoReads

CPU = torch.device("cpu")


@pytest.fixture
def dataset(tiny_store, motion_of):
    """Makes the data set of the train clips."""
    store, splits = tiny_store
    train = fold_clips(store, splits, 0, "train")
    overlapping = train.iloc[[0, 3, 5, 0]].reset_index(drop=True)  # two clips share their frames

    def make(settings=None):
        return ClipDataset(store, overlapping, motion_of(settings) if settings else None, CPU)

    return make


def assert_equal(one, other):
    assert torch.equal(one.video, other.video) and (one.motion is None) == (other.motion is None)
    if one.motion is not None:
        assert torch.equal(one.motion.maps, other.motion.maps) and torch.equal(one.fov_mask, other.fov_mask)
        assert torch.equal(one.motion.coefficients, other.motion.coefficients)


@pytest.mark.parametrize("settings", [None, AutoencoderSettings(width=4)])
def test_frames_on_the_device_give_the_bytes_of_the_store(dataset, settings, monkeypatch):
    yes, no = np.array([True, False, True]), np.zeros(3, dtype=bool)
    choices = [(np.array([2, 0, 3]), *rest) for rest in ((None, None), (yes, None), (yes, ~yes), (no, no), (None, yes))]
    expected = [dataset(settings).read(*choice) for choice in choices]
    monkeypatch.setattr(device_module, "fits", lambda size, device: True)
    resident = dataset(settings)
    for choice, wanted in zip(choices, expected, strict=True):
        assert_equal(wanted, resident.read(*choice))
    assert len(resident.frames._on_device[0]) == 3 * 9  # frames that clips share are kept once
    assert not resident.reads_ahead


def test_a_quarter_of_the_free_memory_is_the_limit(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4000, 8000))
    cuda = torch.device("cuda")
    assert device_module.fits(1000, cuda) and not device_module.fits(1001, cuda) and not device_module.fits(1, CPU)


def test_views_come_with_the_batch_and_no_step_looks_for_them(dataset, monkeypatch):
    """Mirrored and backwards, too: those of other images than the stored ones."""
    settings = AutoencoderSettings(width=4, training=Training(batch_size=4))
    data = dataset(settings)
    yes = np.array([True, False, True, False])
    batch = data.read(np.array([2, 0, 3, 1]), yes, ~yes)
    assert torch.equal(batch.fov_mask, view.field_of_view(batch.video[:, :, 0]))
    torch.manual_seed(0)
    model = Autoencoder(settings, 32, 8)
    for parameter in model.decoder.conv_out.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x0, z = batch.video[:, :, 0], 0.1 * torch.randn(4, model.spec.size)
    expected = model.decode(x0, z).frames
    monkeypatch.setattr(view, "_spans", None)  # finding one would fail
    assert torch.equal(model.decode(x0, z, batch.fov_mask).frames, expected)
    task = AutoencoderTask(model, settings.model_copy(update={"perceptual_weight": 0.0}), data, 5)
    with NoReads():
        task.loss("autoencoder", task.batch(3), 3, torch.Generator().manual_seed(0))[0].backward()


def test_the_window_of_the_temporal_discriminator_is_chosen_without_a_read(dataset):
    settings = AutoencoderSettings(width=4, discriminator_window=3, adversarial_weight=0.1, perceptual_weight=0.0)
    task = AutoencoderTask(Autoencoder(settings, 32, 8), settings, dataset(settings), 5)
    real = torch.arange(8.0)[None, None, :, None, None].expand(2, 1, 8, 4, 4)
    starts = set()
    for seed in range(20):
        with NoReads():
            some, same = task._window(real, -real, torch.Generator().manual_seed(seed))
        start = int(torch.randint(6, (), generator=torch.Generator().manual_seed(seed)))
        assert torch.equal(some, real[:, :, start : start + 3]) and torch.equal(same, -some)
        starts.add(start)
    assert starts == set(range(6))


def test_motion_of_an_older_file_leaves_the_views_to_the_decoder(dataset, tiny_store, motion_of):
    settings = AutoencoderSettings(width=4)
    data = dataset(settings)
    data._measured = dataclasses.replace(motion_of(settings), views={})
    batch = data.read(np.arange(2))
    assert batch.fov_mask is None and batch.motion is not None


def test_a_thread_reads_the_same_batches_ahead(dataset, monkeypatch):
    settings = AutoencoderSettings(width=4, training=Training(batch_size=3))
    task = AutoencoderTask(Autoencoder(settings, 32, 8), settings, dataset(settings), 5)
    numbers = [0, 1, 4, 5, 8]
    expected = [task.batch(number) for number in numbers]
    monkeypatch.setattr(ClipDataset, "reads_ahead", True)
    with feed(task, iter(numbers)) as batch:
        for number, wanted in zip(numbers, expected, strict=True):
            assert_equal(wanted, batch(number))
    with feed(task, iter(numbers)) as batch, pytest.raises(ValueError, match="batch 0, got 1"):
        batch(1)


def test_an_error_of_the_thread_is_raised_where_the_batch_is_asked_for():
    class Broken:
        reads_ahead = True
        read: list = []

        def host_batch(self, number):
            self.read.append(number)
            if number == 1:
                raise OSError("disk")
            return number

        def upload(self, batch):
            return batch

    with feed(Broken(), iter(range(10))) as batch:
        assert batch(0) == 0
        with pytest.raises(OSError, match="disk"):
            batch(1)
    assert len(Broken.read) <= 4  # it does not run away
