"""Adaptive batches: smaller after an error, larger with free memory, with identical videos."""

import numpy as np
import pytest
import torch

from lddm.autoencoder import decoder
from lddm.autoencoder.decoder import WarpDecoder
from lddm.autoencoder.model import Autoencoder
from lddm.errors import LddmError
from lddm.generators.sampling import SamplingOptions
from lddm.settings.models import SynthesisSettings
from lddm.synthesis.animate import Animator
from lddm.synthesis.memory import BatchSize
from lddm.synthesis.synthesize import synthesize

SYNTHESIS = SynthesisSettings(num_inference_steps=2, batch_size=4, samples={"heldout": 2, "stills": 1})


def cramped(monkeypatch, most):
    """A device that holds `most` videos; returns the sizes of the batches that were tried."""
    layers, tried = WarpDecoder.layers, []

    def limited(self, x0, z):
        tried.append(len(x0))
        if len(x0) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return layers(self, x0, z)

    monkeypatch.setattr(WarpDecoder, "layers", limited)
    return tried


@pytest.mark.parametrize(
    ("generator", "source", "asked", "tried_first", "half"),
    [
        ("lddm", "stills", 4, 4, 2),
        ("reconstruction", "heldout", 2, 2, 1),
        ("lddm", "heldout", 64, 3, 1),  # there are three: half of 64 would try the same again
    ],
)
def test_out_of_memory_halves_the_batch_with_a_warning(
    bundles, tiny_store, tmp_path, generator, source, asked, tried_first, half, monkeypatch, caplog
):
    arguments, motion = (generator, bundles / "lddm", *tiny_store, 0, source, 0, 1, 0), bundles / "motion.safetensors"
    synthesize(SYNTHESIS.model_copy(update={"batch_size": half}), *arguments, tmp_path / "half.npy", motion)
    assert not caplog.records
    tried = cramped(monkeypatch, half)
    synthesize(SYNTHESIS.model_copy(update={"batch_size": asked}), *arguments, tmp_path / "cramped.npy", motion)
    assert tried[0] > half and max(tried[1:]) == half  # one try of the whole batch, none after it
    assert [r.message for r in caplog.records if r.levelname == "WARNING"] == [
        f"out of memory with {tried_first} videos per batch; continuing with {half}"
    ]
    assert (tmp_path / "half.npy").read_bytes() == (tmp_path / "cramped.npy").read_bytes()


def test_masks_are_computed_on_the_host_without_reading_the_device(bundles, monkeypatch):
    animator = Animator.load(bundles / "lddm")
    stills = np.zeros((3, 32, 32), np.uint8)
    stills[:, 4:28, 6:26] = np.random.default_rng(0).integers(30, 255, (3, 24, 20))
    options = SamplingOptions(num_inference_steps=2)
    monkeypatch.setattr(Autoencoder, "decoding", lambda self, stills: lambda x0, z: self.decode(x0, z).frames)
    expected = animator.animate_batch(stills, np.zeros(3, int), [1, 2, 3], options, 2)
    monkeypatch.undo()
    monkeypatch.setattr(decoder, "field_of_view", None)  # finding one from x0 of the device would fail
    assert np.array_equal(animator.animate_batch(stills, np.zeros(3, int), [1, 2, 3], options, 2), expected)


def test_a_long_video_that_does_not_fit_is_continued_with_half_the_batch(bundles, monkeypatch, caplog):
    animator = Animator.load(bundles / "lddm")
    image = np.random.default_rng(0).integers(0, 255, (32, 32), dtype=np.uint8)
    fits = animator.animate(image, 2, 3, options=SamplingOptions(num_inference_steps=2), length=14, batch_size=4)
    cramped(monkeypatch, 4)  # each further window has eight candidates
    assert np.array_equal(
        fits, animator.animate(image, 2, 3, options=SamplingOptions(num_inference_steps=2), length=14)
    )
    assert "out of memory with 8 videos" in caplog.text


def test_a_device_without_memory_for_one_video_is_an_error_and_leaves_nothing(
    bundles, tiny_store, tmp_path, monkeypatch
):
    cramped(monkeypatch, 0)
    with pytest.raises(LddmError, match="for one video at a time"):
        synthesize(SYNTHESIS, "lddm", bundles / "lddm", *tiny_store, 0, "heldout", 0, 1, 0, tmp_path / "s.npy")
    with pytest.raises(LddmError, match="for one video at a time"):
        Animator.load(bundles / "lddm").animate(np.zeros((32, 32), np.uint8), batch_size=1)
    assert list(tmp_path.iterdir()) == []


class Gpu:
    """The memory of a made-up GPU: a batch takes a unit for each video."""

    def __init__(self, monkeypatch, total):
        self.total, self.peak, self.batches = total, 0, []
        values = {
            "reset_peak_memory_stats": None, "memory_allocated": 0, "memory_reserved": 0, "empty_cache": None,
            "mem_get_info": (total, total),
        }  # fmt: skip
        for name, value in values.items():
            monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda *_: self.peak)

    def make(self, part):
        count = part.stop - part.start
        self.batches.append((part.start, count))
        if count > self.total:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.peak = count


@pytest.mark.parametrize(
    ("total", "first", "sizes"),
    [
        (1000, 4, [4, 8, 16, 32, 40]),  # the last one is what is left
        (40, 4, [4, 8, 16, 16, 16, 16, 16, 8]),  # 32 would take more than half of what is free
        (3, 16, [16, 8, 4, *[2] * 50]),
    ],
)
def test_batches_grow_and_shrink_with_the_memory_of_a_gpu(monkeypatch, total, first, sizes):
    gpu = Gpu(monkeypatch, total)
    batches = BatchSize(first, torch.device("cuda"))
    batches.each(100, gpu.make)
    assert [count for _, count in gpu.batches] == sizes
    done = [batch for batch in gpu.batches if batch[1] <= total]
    assert [start for start, _ in done] == list(np.cumsum([0, *(count for _, count in done)])[:-1])
    batches.each(8, gpu.make)  # a further set begins with what was learnt
    assert gpu.batches[-1][1] == min(8, batches.size)


def test_batches_on_a_cpu_do_not_grow():
    made = []
    BatchSize(3, torch.device("cpu")).each(8, made.append)
    assert made == [slice(0, 3), slice(3, 6), slice(6, 8)]
