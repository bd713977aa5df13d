"""x0 of latents: one copy per frame; identical from the device, from a prefetching thread and from the store."""

import numpy as np
import pytest
import torch

from benchmarks.training_steps import MadeUpLatents, stage2_task
from lddm.data.ranges import to_float
from lddm.generators.embedder import EmbedderTask
from lddm.latent.stills import Stills, frames_hash
from lddm.nn.embedder import AutoencoderEmbedder
from lddm.settings.models import EmbedderSettings
from lddm.training import device as device_module
from lddm.training.device import DeviceFrames
from lddm.training.feed import feed
from lddm.training.recorded import capturable

CPU = torch.device("cpu")
FRAMES = np.random.default_rng(0).integers(0, 255, (12, 8, 8), dtype=np.uint8)
ROWS = np.array([3, 3, 11, 11, 3, 0])
FLIPPED = torch.tensor([False, True, False, True, False, True])


def on_host(stills, monkeypatch):
    """The same stills where they do not fit on the device."""
    monkeypatch.setattr(stills._frames, "_resident", False)
    stills._frames.__dict__.pop("_on_device", None)
    assert not stills.resident
    return stills


def test_entries_are_the_stored_frames_mirrored_and_share_their_memory(monkeypatch):
    stills = Stills(FRAMES, ROWS, FLIPPED, CPU)
    plain = to_float(torch.from_numpy(FRAMES[ROWS]))[:, None]
    expected = torch.where(FLIPPED[:, None, None, None], plain.flip(-1), plain)
    index = torch.tensor([5, 1, 1, 2])
    assert torch.equal(stills[:], expected) and torch.equal(stills[index], expected[index])
    assert torch.equal(stills[2:4], expected[2:4])
    kept, _ = stills._frames._on_device
    assert kept.dtype == torch.uint8 and len(kept) == 3  # six entries, three frames
    assert torch.equal(on_host(stills, monkeypatch)[index], expected[index])


def test_frames_are_uploaded_in_pieces(monkeypatch):
    read = []

    class Stored:
        shape = FRAMES.shape

        def __getitem__(self, index):
            read.append(len(index))
            return FRAMES[index]

    monkeypatch.setattr(device_module, "CHUNK", 2 * 64)
    frames = DeviceFrames(Stored(), np.arange(12)[::-1].reshape(6, 2), CPU, resident=True)
    assert np.array_equal(frames.read(torch.tensor([4, 0])).numpy(), FRAMES[[[3, 2], [11, 10]]])
    assert read == [2] * 6


def test_the_hash_is_that_of_the_frames_in_their_order():
    assert frames_hash(FRAMES, ROWS, 2) == frames_hash(FRAMES, ROWS) != frames_hash(FRAMES, ROWS[::-1])
    assert frames_hash(FRAMES + 1, ROWS) != frames_hash(FRAMES, ROWS)


def embedder_task(size=16):
    data = MadeUpLatents(stage2_task(size, 4, CPU)[0].model.spec, size, CPU, 20)
    return EmbedderTask(AutoencoderEmbedder(size, 8), data.x0, EmbedderSettings(batch_size=4), 0)


@pytest.mark.parametrize(
    "make", [lambda: stage2_task(32, 4, CPU)[0], lambda: stage2_task(32, 4, CPU, True)[0], embedder_task]
)
def test_x0_that_do_not_fit_are_prefetched_and_the_step_is_not_captured(monkeypatch, make):
    task, numbers = make(), (0, 1, 5)
    expected = [task.batch(number) for number in numbers]
    could = hasattr(task, "read")
    assert capturable(task) == could and not task.reads_ahead
    on_host(task.x0 if hasattr(task, "x0") else task.dataset.x0, monkeypatch)
    assert task.reads_ahead and not capturable(task)
    with feed(task, iter(numbers)) as batch:
        for number, wanted in zip(numbers, expected, strict=True):
            found = batch(number)
            pairs = zip(wanted, found, strict=True) if isinstance(wanted, tuple) else [(wanted, found)]
            assert all(torch.equal(one, other) for one, other in pairs)
