"""Numeric labels, from clips to model packages and videos with a requested target."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from lddm.autoencoder.encode import encode_clips
from lddm.autoencoder.model import Autoencoder
from lddm.cli import app
from lddm.errors import LddmError
from lddm.latent.dataset import LatentSet
from lddm.settings.models import AutoencoderSettings
from lddm.synthesis.animate import Animator
from lddm.synthesis.synthesize import first_frames
from lddm.synthesis.train_generator import train_generator
from lddm.task import Task
from tests.unit.synthesis.conftest import SETTINGS

EF = Task("regression", (), "ejection fraction", "%", 20.0, 80.0)


@pytest.fixture(scope="module")
def numbers(tiny_store, motion_of, tmp_path_factory):
    """A store whose labels are numbers, its splits (one training video unlabelled), and a folder of bundles."""
    folder = tmp_path_factory.mktemp("numbers")
    store, splits = tiny_store
    values = {name: 20.0 + 3 * place for place, name in enumerate(store.videos["id"])}
    tables = {
        name: getattr(store, name).assign(label=getattr(store, name)["id"].map(values)) for name in ("videos", "clips")
    }
    store = dataclasses.replace(store, **tables, meta=store.meta | EF.to_meta())
    splits = splits.assign(label=splits["id"].map(values), labelled=splits["id"] != "video-03")
    settings = AutoencoderSettings(width=4)
    Autoencoder(settings, 32, 8).save(folder / "ae.safetensors")
    encode_clips(folder / "ae.safetensors", store, splits, 0, folder / "z.safetensors", motion_of(settings))
    for name in ("lddm", "cinn", "gaussian", "static", "motion_transfer"):
        train_generator(
            name, SETTINGS.get(name), folder / "ae.safetensors", folder / "z.safetensors", store, 0, 0,
            folder / "state", folder / name, lambda *_: None,
        )  # fmt: skip
    return store, splits, folder


def test_latents_carry_numbers_and_hide_those_of_unlabelled_videos(numbers):
    latents = LatentSet.load(numbers[2] / "z.safetensors")
    known = dict(zip(latents.clip, latents.label.tolist(), strict=True))
    assert known["video-00@0"] == 20 and known["video-02@0"] == 26 and np.isnan(known["video-03@0"])


def test_first_frames_show_their_target_with_its_unit(numbers):
    store, splits, _ = numbers
    table, _ = first_frames(store, splits, 0, "stills")
    assert table["class_name"].tolist() == ["74 %", "77 %", "80 %", "83 %"] and table["label"].iloc[0] == 74


@pytest.mark.parametrize("generator", ["lddm", "cinn", "gaussian", "static", "motion_transfer"])
def test_every_generator_animates_with_and_without_a_target(numbers, generator):
    animator = Animator.load(numbers[2] / generator)
    image = np.random.default_rng(0).integers(0, 255, (32, 32), dtype=np.uint8)
    asked, unknown = (animator.animate(image, label=label, size="model") for label in (35.0, None))
    assert asked.shape == unknown.shape == (1, 9, 32, 32)
    with pytest.raises(LddmError, match="ejection fraction 90 % is out of range"):
        animator.animate(image, label=90.0)
    about = json.loads((numbers[2] / generator / "bundle.json").read_text())
    assert about["task"]["unit"] == "%" and about["classes"] == []
    assert "labels: ejection fraction, 20 to 80 %" in (numbers[2] / generator / "MODEL_CARD.md").read_text()


def test_the_command_accepts_a_target_and_shows_its_unit(numbers, tmp_path, bundles):
    Image.fromarray(np.full((40, 40), 90, np.uint8)).save(tmp_path / "s.png")
    common = ["animate", str(tmp_path / "s.png"), "--out", str(tmp_path / "v.npz"), "--model"]
    done = CliRunner().invoke(app, [*common, str(numbers[2] / "lddm"), "--target", "35"])
    assert done.exit_code == 0 and "(35 %)" in done.output, done.output
    for model, option, message in (
        (numbers[2] / "lddm", ["--target", "95"], "ejection fraction 95 % is out of range"),
        (numbers[2] / "lddm", ["--label", "b"], "the model is conditioned on numbers, not classes"),
        (bundles / "lddm", ["--target", "35"], "the model is conditioned on classes, not numbers"),
        (bundles / "lddm", ["--label", "c"], "unknown class 'c'"),
    ):
        failed = CliRunner().invoke(app, [*common, str(model), *option])
        assert failed.exit_code != 0
        assert message in f"{failed.exception} {failed.output}"
