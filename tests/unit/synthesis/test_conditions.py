"""Generators conditioned on a measured attribute: model packages, and videos requested by label."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from lddm.cli import app
from lddm.data.attribute import Attribute, AttributePrior, save_attribute
from lddm.errors import LddmError
from lddm.generators.sampling import SamplingOptions
from lddm.synthesis.animate import Animator
from lddm.synthesis.train_generator import train_generator
from tests.unit.synthesis.conftest import SETTINGS

PRIOR = AttributePrior((0.0, 0.0, 1.0, 1.0), (-1.5, -1.0, 1.0, 1.5), (0.25,) * 4, 0.3)
RATIO = Attribute("strain_ratio", "logarithm of the strain ratio", 0.2, 0.4, -3.0, 3.0, PRIOR)
IMAGE = np.random.default_rng(0).integers(0, 255, (32, 32), dtype=np.uint8)


@pytest.fixture(scope="module")
def conditioned(bundles, tiny_store, tmp_path_factory):
    """Folder of bundles whose condition is the ratio; videos of class 1 have a higher one."""
    folder = tmp_path_factory.mktemp("conditioned")
    store, _ = tiny_store
    labels = store.clips.set_index("clip_id")["label"]
    values = {name: 2.0 * label - 1 + 0.01 * place for place, (name, label) in enumerate(labels.items())}
    save_attribute(folder / "attribute.json", RATIO, values)
    for name in ("lddm", "cinn", "gaussian", "static", "motion_transfer"):
        train_generator(
            name, SETTINGS.get(name), bundles / "ae.safetensors", bundles / "z.safetensors", store, 0, 0,
            folder / "state", folder / name, lambda *_: None, attribute=folder / "attribute.json",
        )  # fmt: skip
    return folder


@pytest.mark.parametrize("generator", ["lddm", "cinn", "gaussian", "static", "motion_transfer"])
def test_model_packages_store_classes_and_the_attribute(conditioned, generator):
    about = json.loads((conditioned / generator / "bundle.json").read_text())
    assert about["classes"] == ["a", "b"] and Attribute.of_meta(about["condition"]) == RATIO
    card = (conditioned / generator / "MODEL_CARD.md").read_text()
    assert "labels: a, b" in card and "**Condition**: strain_ratio" in card and "estimated from 4 clips" in card


@pytest.mark.parametrize("generator", ["lddm", "cinn", "gaussian", "motion_transfer"])
def test_a_label_is_animated_with_a_sampled_attribute_value(conditioned, generator, monkeypatch):
    animator = Animator.load(conditioned / generator)
    asked = []
    sample = animator.generator.sample
    monkeypatch.setattr(
        animator.generator, "sample", lambda x0, label, *rest: asked.append(label) or sample(x0, label, *rest)
    )
    first, again, unknown = (animator.animate(IMAGE, 2, 1, label, size="model") for label in ("b", 1, None))
    assert np.array_equal(first, again) and first.shape == unknown.shape == (2, 9, 32, 32)
    values = [label.tolist() for label in asked]
    assert values[0] == values[1] and all(value > 0.5 for value in values[0]) and len(set(values[0])) == 2
    assert np.isnan(values[2]).all()
    with pytest.raises(LddmError, match="unknown class 'c'"):
        animator.animate(IMAGE, label="c")


def test_motion_transfer_uses_a_clip_with_a_similar_value(conditioned):
    model = Animator.load(conditioned / "motion_transfer").generator
    rng = [torch.Generator().manual_seed(seed) for seed in range(8)]
    for value in (-1.2, 1.2):
        z = model.sample(torch.zeros(8, 1, 32, 32), torch.full((8,), value), rng, SamplingOptions())
        taken = model.bank_label[(z[:, None] == model.bank).all(dim=2).int().argmax(dim=1)]
        nearest = (model.bank_label.unique() - value).abs().sort().values[:8]
        assert ((taken - value).abs() <= nearest[-1] + 1e-6).all() and len(taken.unique()) > 1


def test_all_windows_of_a_long_video_have_one_value_at_any_size(conditioned, monkeypatch):
    animator = Animator.load(conditioned / "lddm")
    asked = []
    sample = animator.generator.sample
    monkeypatch.setattr(
        animator.generator, "sample", lambda x0, label, *rest: asked.append(label) or sample(x0, label, *rest)
    )
    long = animator.animate(IMAGE, 2, 0, "a", length=20)
    values = [label.unique().tolist() for label in asked]
    assert long.shape == (2, 21, 32, 32) and len(values) > 4 and all(len(value) == 1 for value in values)
    assert len({value[0] for value in values}) == 2  # one a video
    asked.clear()
    short = animator.animate(IMAGE, 2, 0, "a")
    assert {label.item() for label in asked} == {value[0] for value in values} and short.shape == (2, 9, 32, 32)


def test_videos_do_not_depend_on_the_batch_size(conditioned):
    animator = Animator.load(conditioned / "lddm")
    x0, labels = np.stack([IMAGE, 255 - IMAGE, IMAGE]), np.array([1, 0, -1])
    one, three = (animator.animate_batch(x0, labels, [5, 6, 7], batch_size=size) for size in (1, 3))
    assert np.abs(one.astype(int) - three).max() <= 1


def test_the_command_accepts_a_label(conditioned, tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / "s.png")
    command = ["animate", str(tmp_path / "s.png"), "--out", str(tmp_path / "v.npz"), "--label", "b", "--model"]
    done = CliRunner().invoke(app, [*command, str(conditioned / "lddm")])
    assert done.exit_code == 0 and "(b)" in done.output, done.output


def test_a_clip_without_a_value_is_named(bundles, tiny_store, conditioned, tmp_path):
    save_attribute(tmp_path / "attribute.json", RATIO, {"video-00@0": 0.5})
    with pytest.raises(LddmError, match="clip video-01@0 has no measured attribute"):
        train_generator(
            "gaussian", SETTINGS["gaussian"], bundles / "ae.safetensors", bundles / "z.safetensors", tiny_store[0],
            0, 0, tmp_path / "state", tmp_path / "out", lambda *_: None, attribute=tmp_path / "attribute.json",
        )  # fmt: skip
