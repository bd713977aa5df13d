"""A training belongs to its settings, seed, data, labels and code: each trainer resumes its own state and no other."""

import dataclasses
import importlib
import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from lddm.autoencoder.measured import measure_store
from lddm.autoencoder.train import train_autoencoder
from lddm.classification import train as classification
from lddm.classification.classify import classify
from lddm.classification.ensemble import remove_ensemble_state
from lddm.classification.networks import CLASSIFIERS
from lddm.classification.pseudo_labels import pseudo_label
from lddm.data.frames import FrameStore
from lddm.generators.cinn import FlowTrainer
from lddm.generators.diffusion import distillation
from lddm.generators.diffusion.train import DiffusionTrainer
from lddm.generators.pixel import fit_pixel
from lddm.latent.dataset import LatentSet, save_latents
from lddm.latent.spec import LatentSpec
from lddm.metrics.domain_network import train_domain_network
from lddm.nn.perceptual import efficientnet_lite0
from lddm.settings.evaluation import ClassificationSettings, DomainNetworkSettings, PseudoLabelSettings
from lddm.settings.models import (
    AutoencoderSettings,
    CinnSettings,
    DiffusionSettings,
    DistillationSettings,
    PixelSettings,
    Training,
)
from lddm.training import identity
from lddm.training.identity import Identity, code_hash, content_hash

TRAINING = Training(steps=4, batch_size=4, log_every=1, val_every=2, checkpoint_every=2, warmup_steps=1)
SPEC = LatentSpec("vector", frames=8, dim=5)
STUDENT = DistillationSettings(num_pairs=8, num_inference_steps=2, steps=4)
DIFFUSION = DiffusionSettings(width=16, depth=1, training=TRAINING)
# trainer -> (settings, other values of the section, step at which it is killed, step with which it goes on)
TRAINERS = {
    "autoencoder": (
        AutoencoderSettings(decoder="spade", latent="vector", vector_dim=4, width=4, training=TRAINING),
        {"temporal_weight": 9.0},
        3,
        3,
    ),
    "diffusion": (DIFFUSION.model_copy(update={"distillation": None}), {"min_snr_gamma": 5.0}, 3, 3),
    # The denoiser repeats its steps since the last state (3, 4), then the student goes on with 4 + 3.
    "student": (DIFFUSION.model_copy(update={"distillation": STUDENT}), {"label_dropout": 0.5}, 7, 7),
    "cinn": (CinnSettings(blocks=1, width=8, training=TRAINING), {"label_dropout": 0.5}, 3, 3),
    "pixel": (PixelSettings(width=8, training=TRAINING), {"image_dropout": 0.5}, 3, 3),
    "domain_network": (
        DomainNetworkSettings(width=4, training=TRAINING),
        {"training": TRAINING.model_copy(update={"weight_decay": 0.5})},
        3,
        3,
    ),
    "classifier": (ClassificationSettings(seeds=1, real_videos=8, training=TRAINING), {"synthetic_share": 0.9}, 3, 3),
    "pseudo_labels": (
        PseudoLabelSettings(classifier="tiny3d", ensemble_size=1, training=TRAINING),
        {"share": 0.9},
        3,
        3,
    ),
}


@dataclasses.dataclass
class Inputs:
    """What a trainer is given."""

    store: FrameStore
    splits: pd.DataFrame
    latents: LatentSet
    seed: int = 1


@pytest.fixture
def inputs(tiny_store, tmp_path):
    store, splits = tiny_store
    store = dataclasses.replace(store, frames=np.array(store.frames), clips=store.clips.copy())
    clips = store.clips["clip_id"].tolist()
    mean = torch.randn(len(clips), SPEC.size, generator=torch.Generator().manual_seed(0))
    none = torch.zeros(len(clips), dtype=torch.bool)
    label, train = torch.arange(len(clips)) % 2, torch.arange(len(clips)) < 14
    save_latents(tmp_path / "z", SPEC, clips, mean, torch.full_like(mean, 0.1), none, none, label, train)
    return Inputs(store, splits, LatentSet.load(tmp_path / "z"))


def run(name, settings, given, state, out, on_log):
    """Train, write `out` and remove the state, as the commands do."""
    data, seed = (given.store, given.splits, 0), given.seed
    if name == "autoencoder":
        measured = measure_store(settings, given.store) if settings.decoder == "warp" else None
        train_autoencoder(settings, *data, seed, state, out, on_log, measured)
    elif name == "domain_network":
        train_domain_network(settings, *data, seed, state, out, on_log)
    elif name == "classifier":
        (path,) = classify(settings, "tiny3d", "real", *data, [], [], None, state, out.parent / "c", seed, on_log)
        shutil.copy(path, out)
    elif name == "pseudo_labels":
        hidden = given.splits.assign(labelled=~given.splits["id"].isin(["video-02", "video-03"]))
        table = pseudo_label(settings, given.store, hidden, 0, state, seed, on_log)
        table.to_json(out)
        remove_ensemble_state(state)
    else:
        trainer = {"cinn": FlowTrainer.fit, "pixel": fit_pixel}.get(name, DiffusionTrainer.fit)
        trainer(settings, given.latents, given.store, seed, state, out, on_log)


class SmallNetwork(torch.nn.Module):
    """In place of diffusers' 3-D U-Net, a step of which takes seconds."""

    def __init__(self, **_):
        super().__init__()
        self.layer = torch.nn.Conv3d(2, 1, 1)

    def forward(self, noisy, timestep, label):
        return SimpleNamespace(sample=self.layer(noisy) + label.mean())


def kill_at(step, seen):
    def on_log(at, values):
        seen.append(at)
        if at >= step:
            raise KeyboardInterrupt

    return on_log


def another_label(given, settings, other):
    given.store.clips.loc[0, "label"] = 1 - given.store.clips.loc[0, "label"]
    label = given.latents.label.clone()
    label[0] = 1 - label[0]
    given.latents = dataclasses.replace(given.latents, label=label)
    return settings


def another_pixel(given, settings, other):
    given.store.frames[given.store.clips["first_frame"].iloc[0], 0, 0] ^= 1
    return settings


def another_seed(given, settings, other):
    given.seed += 1
    return settings


def other_settings(given, settings, other):
    return settings.model_copy(update=other)


CHANGES = {"settings": other_settings, "seed": another_seed, "label": another_label, "pixel": another_pixel}
REASONS = {"label": "data", "pixel": "data"}


@pytest.mark.parametrize("name", TRAINERS)
def test_a_trainer_resumes_its_own_state_only_and_removes_it_at_the_end(name, inputs, tmp_path, caplog, monkeypatch):
    settings, other, killed_at, goes_on = TRAINERS[name]
    monkeypatch.setattr(distillation, "CHECKED", 8)
    if name == "pixel":
        monkeypatch.setattr("diffusers.models.unets.unet_3d_condition.UNet3DConditionModel", SmallNetwork)
    with pytest.raises(KeyboardInterrupt):
        run(name, settings, inputs, tmp_path / "killed", tmp_path / "none", kill_at(killed_at, []))
    assert not (tmp_path / "none").exists()

    def first_steps(settings, given, case, last):
        seen = []
        shutil.copytree(tmp_path / "killed", tmp_path / case)
        caplog.clear()
        with pytest.raises(KeyboardInterrupt):
            run(name, settings, given, tmp_path / case, tmp_path / "none", kill_at(last, seen))
        return seen

    for case, change in CHANGES.items():
        given = Inputs(
            dataclasses.replace(inputs.store, frames=inputs.store.frames.copy(), clips=inputs.store.clips.copy()),
            inputs.splits,
            inputs.latents,
        )
        assert first_steps(change(given, settings, other), given, case, 1) == [1], case
        assert f"different: {REASONS.get(case, case)}). Training starts from the beginning" in caplog.text, case
    with monkeypatch.context() as patch:
        patch.setattr(identity, "code_hash", lambda *_: "mended")
        assert first_steps(settings, inputs, "code", 1) == [1]
        assert "different: code). Training starts from the beginning" in caplog.text
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        seen = first_steps(settings, inputs, "threads", goes_on)
    finally:
        torch.set_num_threads(threads)
    assert seen[-1] == goes_on and 1 not in seen and "beginning" not in caplog.text

    run(name, settings, inputs, tmp_path / "whole", tmp_path / "out", lambda *_: None)
    outputs = [(tmp_path / "out").read_bytes()]  # of a run that was not killed
    for case in ("end", "killed again between the output and the end"):
        shutil.copytree(tmp_path / "killed", tmp_path / case)
        run(name, settings, inputs, tmp_path / case, tmp_path / "out", lambda *_: None)
        assert not (tmp_path / case).exists()
        outputs.append((tmp_path / "out").read_bytes())
    assert outputs[0] == outputs[1] == outputs[2]


def test_the_hash_is_of_the_content():
    tensor, table = torch.arange(6.0), pd.DataFrame({"id": ["a", None], "label": [0, 1]})
    value = {"x": tensor, "t": table, "s": TRAINING, "n": [1, None, True, 0.5]}
    assert content_hash(value) == content_hash(
        {"n": [1, None, True, 0.5], "s": TRAINING.model_copy(), "t": table.copy(), "x": tensor.clone()}
    )
    assert content_hash(tensor.reshape(2, 3).T) == content_hash(tensor.reshape(2, 3).T.contiguous())
    different = [
        tensor, tensor.reshape(2, 3), tensor.double(), tensor.long(), tensor.bfloat16(), -tensor, tensor[:5], table,
        table.iloc[::-1], table.rename(columns={"id": "name"}), table.assign(label=[0, 2]), 1, 1.0, True, "1", None,
        ["a", "b"], ["ab"], ["a", ["b"]], {"a": "b"}, [], {}, TRAINING, TRAINING.model_copy(update={"steps": 5}),
    ]  # fmt: skip
    assert len({content_hash(item) for item in different}) == len(different)
    with pytest.raises(TypeError, match="set"):
        content_hash({1})


def test_code_is_hashed_by_its_bytes_and_names(tmp_path, monkeypatch):
    monkeypatch.setattr(identity, "PACKAGE", tmp_path)
    (tmp_path / "nn/deep").mkdir(parents=True)
    (tmp_path / "nn/a.py").write_text("x = 1\n")
    (tmp_path / "nn/deep/b.py").write_text("y = 1\n")
    seen = [code_hash("nn")]
    (tmp_path / "nn/notes.txt").write_text("not code")
    assert code_hash("nn", "nn") == seen[0]
    (tmp_path / "nn/deep/b.py").write_text("y = 2\n")
    seen.append(code_hash("nn"))
    (tmp_path / "nn/deep/b.py").rename(tmp_path / "nn/b.py")
    seen.append(code_hash("nn"))
    monkeypatch.setattr("lddm.version.__version__", "another")
    seen.append(code_hash("nn"))
    assert len(set(seen)) == 4
    with pytest.raises(ValueError, match="lddm.gone has no source files"):
        code_hash("nn", "gone")


def test_every_part_that_differs_is_named():
    ours = Identity.of(TRAINING, 0, {"x": 1}, ("nn",))
    assert list(ours.parts) == ["settings", "seed", "data", "code"]
    assert ours.differing(ours.parts) == [] and ours.digest == Identity(dict(ours.parts)).digest
    theirs = Identity.of(TRAINING, 1, {"x": 2}, ("nn",)).extended(stage="student")
    assert ours.differing(theirs.parts) == ["seed", "data", "stage"]
    assert Identity.of(TRAINING, 0, {"x": 1}, ("nn",), fold=1).differing(ours.parts) == ["settings"]
    assert ours.differing({}) == list(ours.parts)  # a state of a version that had no parts


def imported(module):
    """Packages of lddm that a module imports, directly or through others of ours."""
    seen, left = set(), [module]
    while left:
        name = left.pop()
        path = identity.PACKAGE.parent / f"{name.replace('.', '/')}.py"
        if name in seen or not path.is_file():
            continue
        seen.add(name)
        for source, names in re.findall(r"^ *from (lddm[\w.]*) import ([\w, ]+|\()", path.read_text(), re.MULTILINE):
            left += [source, *(f"{source}.{part}" for part in re.split(r", | as ", names))]
    return {name.split(".")[1] for name in seen} - {"errors", "files", "version"}


@pytest.mark.parametrize(
    ("trainer", "listed"),
    [
        ("autoencoder.train", "autoencoder.train"),
        ("generators.diffusion.train", "generators.trainer"),
        ("generators.pixel", "generators.trainer"),
        ("generators.cinn", "generators.trainer"),
        ("metrics.domain_network", "metrics.domain_network"),
    ],
)
def test_the_code_of_a_training_is_all_that_it_imports(trainer, listed):
    module = importlib.import_module(f"lddm.{listed}")
    assert imported(f"lddm.{trainer}") <= {*module.PACKAGES, "settings"}


def test_the_code_of_classifiers_is_all_that_they_import():
    needed = imported("lddm.classification.train") | imported("lddm.classification.networks")
    assert needed - {"statistics"} <= {*classification.PACKAGES, "settings"}  # statistics: a correction of p-values


def test_code_of_settings_always_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(identity, "PACKAGE", tmp_path)
    for package in ("nn", "settings"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "a.py").write_text("x = 1\n")
    before = Identity.of(TRAINING, 0, {}, ("nn",))
    (tmp_path / "settings/a.py").write_text("x = 2\n")
    assert Identity.of(TRAINING, 0, {}, ("nn",)).differing(before.parts) == ["code"]


def test_pretrained_weights_count(inputs, tmp_path, monkeypatch):
    """The classifier `still` begins with weights of a package, which may bring others."""
    given, digests = torch.nn.Linear(1, 1), []
    entry = dataclasses.replace(CLASSIFIERS["tiny3d"], pretrained=lambda: given)
    monkeypatch.setitem(CLASSIFIERS, "tiny3d", entry)
    assert CLASSIFIERS["still"].pretrained is efficientnet_lite0
    settings, *_ = TRAINERS["classifier"]
    for name in ("a", "b"):
        run("classifier", settings, inputs, tmp_path / name, tmp_path / f"{name}.json", lambda *_: None)
        digests.append(json.loads((tmp_path / f"{name}.json").read_text())["identity"])
        torch.nn.init.ones_(given.weight)
    assert digests[0] != digests[1]


def test_other_backward_motion_is_another_training(inputs, motion_of, tmp_path, monkeypatch, caplog):
    settings = AutoencoderSettings(width=4, training=TRAINING.model_copy(update={"steps": 6, "checkpoint_every": 2}))
    first, where = motion_of(settings), (0, 0, tmp_path / "s", tmp_path / "m", lambda *_: None)
    backward = first.codes["backward"]
    tripled = dataclasses.replace(backward, maps=3 * backward.maps)
    other = dataclasses.replace(first, codes=first.codes | {"backward": tripled})

    def killed(step, values):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quick = settings.training.model_copy(update={"log_every": 3})
        settings = settings.model_copy(update={"training": quick})
        train_autoencoder(settings, inputs.store, inputs.splits, *where[:4], killed, first)
    assert (tmp_path / "s/state.safetensors").is_file()
    train_autoencoder(settings, inputs.store, inputs.splits, *where, other)
    assert "motion" in caplog.text and "resumed" not in caplog.text
