"""Batches are the same bytes from the device, from a thread that reads ahead, and from the store."""

import numpy as np
import pytest
import torch

from lddm.autoencoder import clips as clips_module
from lddm.autoencoder.clips import ClipDataset
from lddm.autoencoder.model import Autoencoder
from lddm.autoencoder.train import AutoencoderTask
from lddm.data.frames import fold_clips
from lddm.settings.models import AutoencoderSettings, Training
from lddm.training.feed import feed

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
    assert torch.equal(one[0], other[0]) and (one[1] is None) == (other[1] is None)
    if one[1] is not None:
        assert torch.equal(one[1].maps, other[1].maps) and torch.equal(one[1].coefficients, other[1].coefficients)


@pytest.mark.parametrize("settings", [None, AutoencoderSettings(width=4)])
def test_frames_on_the_device_give_the_bytes_of_the_store(dataset, settings, monkeypatch):
    yes, no = np.array([True, False, True]), np.zeros(3, dtype=bool)
    choices = [(np.array([2, 0, 3]), *rest) for rest in ((None, None), (yes, None), (yes, ~yes), (no, no), (None, yes))]
    expected = [dataset(settings).read(*choice) for choice in choices]
    monkeypatch.setattr(clips_module, "fits", lambda size, device: True)
    resident = dataset(settings)
    for choice, wanted in zip(choices, expected, strict=True):
        assert_equal(wanted, resident.read(*choice))
    assert len(resident._resident[0]) == 3 * 9  # frames that clips share are kept once
    assert not resident.reads_ahead


def test_a_quarter_of_the_free_memory_is_the_limit(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4000, 8000))
    cuda = torch.device("cuda")
    assert clips_module.fits(1000, cuda) and not clips_module.fits(1001, cuda) and not clips_module.fits(1, CPU)


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
