"""Sizes: what the configuration check accepts, all networks take; what it refuses, it names with sizes that fit."""

import re

import pytest
import torch

from lddm.autoencoder import decoder
from lddm.autoencoder.model import Autoencoder
from lddm.errors import LddmError
from lddm.generators.diffusion.model import LatentDiffusion
from lddm.nn.condition import ImageCondition, LabelSpec
from lddm.settings import build

KINDS = {
    "low_rank": {"decoder": "warp", "latent": "low_rank"},
    "vector": {"decoder": "warp", "latent": "vector"},
    "grid": {"decoder": "warp", "latent": "grid"},
    "spade": {"decoder": "spade", "latent": "vector"},
    "spade grid": {"decoder": "spade", "latent": "grid"},
}
PIXEL = {"sampler": "unipc", "generators": ["lddm", "cinn", "static", "motion_transfer", "pixel"]}
SIZES = [*range(64, 513, 16)]


def config(kind, size, frames=16, **more):
    return {
        "preprocess": {"size": size, "clip_length": frames},
        "autoencoder": KINDS[kind] | {"width": 4, "vector_dim": 6} | more,
        "diffusion": {"width": 8, "depth": 1, "distillation": None},
        "synthesis": {"sampler": "unipc"},
    }


def stored(kind, size):
    """A model of 64 pixels on frames that are stored larger."""
    raw = config(kind, 64)
    raw["preprocess"]["stored_size"] = size
    return raw


def accepted(raw):
    """The settings, with the first of the suggested values where they are refused; and those values."""
    try:
        return build.load(raw), []
    except LddmError as error:
        found = re.search(r"autoencoder\.(map_size|grid_frames) to ([0-9, or]+)", error.hint)
        assert found, error
        values = [int(value) for value in re.findall(r"\d+", found[2])]
        raw["autoencoder"][found[1]] = values[0]
        return build.load(raw), values


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [48, 80, 100, 112, 144, 496])
def test_both_stages_take_what_is_accepted_or_suggested(kind, size, monkeypatch):
    monkeypatch.setattr(decoder, "field_of_view", lambda x0: x0 > 0)  # (OpenCV does not work on the meta device)
    settings, _ = accepted(config(kind, size, frames=4))
    with torch.device("meta"), torch.no_grad():
        model = Autoencoder(settings.autoencoder, size, 4)
        if kind == "low_rank":
            maps = torch.empty(1, 2, 2, *[settings.autoencoder.map_size] * 2)
            code = type("Code", (), {"maps": maps, "coefficients": torch.empty(1, 2, 4)})
        else:
            code = None
        video, label = torch.empty(1, 1, 5, size, size), torch.zeros(1, dtype=torch.int64)
        z = model.encode(video, code).mean
        assert z.shape == (1, model.spec.size)
        assert model.decode(video[:, :, 0], z).frames.shape == (1, 1, 4, size, size)
        generator = LatentDiffusion(settings.diffusion, model.spec, size, LabelSpec(2))
        noisy = torch.empty(1, model.spec.normalised_size)
        assert generator.denoiser(noisy, torch.ones(1), video[:, :, 0], label).shape == noisy.shape
        _, vector = ImageCondition(size, None, 4, 8, LabelSpec(2))(video[:, :, 0], label)  # that of the cINN
        assert vector.shape == (1, 8)


@pytest.mark.parametrize("kind", KINDS)
def test_every_multiple_of_sixteen_is_accepted_or_has_maps_that_fit(kind):
    for size in SIZES:
        accepted(config(kind, size))


def test_refusals_name_the_key_and_the_values_that_fit():
    assert accepted(config("low_rank", 96))[1] == [6, 12, 24]
    assert accepted(config("grid", 112))[1] == [7, 14, 28]
    assert accepted(config("spade grid", 64, frames=24))[1] == [3, 6, 12]
    for raw, message in (
        (config("spade", 50), "multiple of 4"),
        (config("low_rank", 100, map_size=25) | {"synthesis": PIXEL}, "generator pixel: expected a multiple of 8"),
        (stored("low_rank", 100), "stored_size 100 does not fit preprocess.size 64: expected a multiple"),
        (stored("spade", 128), "stored_size 128: autoencoder.decoder spade"),
        (stored("low_rank", 128) | {"synthesis": PIXEL}, "stored_size 128: .* generator pixel"),
        (config("low_rank", 64, frames=2, motion_rank=3), "exceeds preprocess.clip_length 2"),
    ):
        with pytest.raises(LddmError, match=message):
            build.load(raw)
    assert build.load(stored("vector", 192)).preprocess.stored_size == 192
    raw = config("vector", 64)
    raw["diffusion"]["width"] = 10  # attention has four heads
    with pytest.raises(LddmError, match=r"diffusion\.width"):
        build.load(raw)


def test_default_sizes_keep_the_shapes_of_their_weights():
    """Of the sizes that worked before, with 4 x 4 as the smallest grid."""
    for size in (32, 64, 128, 256):
        levels = len(ImageCondition(size, None, 4, 8, LabelSpec(0)).pyramid.levels)
        assert size // 2 // 2**levels == 4
