"""docs/extending.md, followed to the letter."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner

from lddm.classification.networks import CLASSIFIERS
from lddm.cli import app
from lddm.data.index import SOURCES, build_index, read_row
from lddm.data.video_io import write_video
from lddm.metrics.catalogue import CATALOGUE
from lddm.metrics.motion import MEASURES
from lddm.nn.condition import SamplingOptions
from lddm.settings.build import load, stage_json
from lddm.settings.data import IndexSettings
from lddm.synthesis.generators import GENERATORS

PAGE = (Path(__file__).resolve().parents[2] / "docs/extending.md").read_text()
CODE = dict(re.findall(r'```python\n(""".*?"""  # (?P<place>\S+)\n.*?)```', PAGE, re.DOTALL))
CODE = {place: text for text, place in CODE.items()}


def module(place: str, monkeypatch) -> types.ModuleType:
    """A block of the page as the module that it says it is; what it registers is forgotten after the test."""
    for registry in (GENERATORS, CLASSIFIERS, MEASURES, CATALOGUE):
        for name in ("sway", "change", "bright_point_travel"):
            monkeypatch.setitem(registry, name, None)
    name = place.removesuffix(".py").replace("/", ".")
    made = types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, made)
    exec(compile(CODE[place], place, "exec"), made.__dict__)
    return made


def film(number: int, size: int = 80) -> np.ndarray:
    rng = np.random.default_rng(number)
    texture = np.kron(rng.integers(20, 235, (60, 40)), np.ones((2, 2)))[: size + 30, :size]
    steps = np.round(6 * np.sin(np.arange(40) / 5 + number)).astype(int) + 8
    return np.stack([texture[s : s + size] for s in steps]).astype(np.uint8)


@pytest.fixture
def data(tmp_path):
    """The tree of the page: breast images and lung videos of two classes."""
    names = []
    for c, name in enumerate(("benign", "malignant")):
        place = tmp_path / "mine" / name
        place.mkdir(parents=True)
        for number in range(3):
            write_video(place / f"video {number}.mp4", film(10 * c + number), 20)
            Image.fromarray(film(100 + 10 * c + number)[0]).save(place / f"{name} ({number}).png")
            names += [
                (f"{name}/video {number}.mp4", f"{name}-{number}"),
                (f"{name}/{name} ({number}).png", f"p{number}"),
            ]
    pd.DataFrame(names, columns=["file", "patient_id"]).to_csv(tmp_path / "mine/patients.csv", index=False)
    return tmp_path


def test_a_data_set_without_code(data):
    config = yaml.safe_load(next(block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)))
    settings = load(config | {"preprocess": {"size": 32}})
    common = ["--data-root", str(data), "--out", str(data / "index.parquet")]
    done = CliRunner().invoke(app, ["index", "--settings", stage_json(settings, "index"), *common])
    assert done.exit_code == 0, done.output
    command = [
        "preprocess",
        "--settings",
        stage_json(settings, "index", "preprocess"),
        "--index",
        str(data / "index.parquet"),
    ]
    done = CliRunner().invoke(app, [*command, "--data-root", str(data), "--out-dir", str(data / "frames")])
    assert done.exit_code == 0, done.output
    videos = pd.read_parquet(data / "frames/videos.parquet")
    assert len(videos) == 12 and videos["excluded"].isna().all() and set(videos["licence"]) == {"CC-BY-4.0"}
    assert videos["kind"].value_counts().to_dict() == {"video": 6, "image": 6}
    assert "folder-patient-p1" in set(videos["patient_id"])
    clips = pd.read_parquet(data / "frames/clips.parquet")
    assert clips["excluded"].isna().sum() >= 6
    checked = CliRunner().invoke(app, ["check-data", str(data / "mine")])
    assert checked.exit_code == 0, checked.output


def test_a_source_of_its_own(data, monkeypatch):
    lab = module("lddm/data/sources/lab.py", monkeypatch)
    monkeypatch.setitem(SOURCES, "lab", lab)
    cases = [(f"{c}/video {n}.mp4", c, f"{c}{n}") for c in ("benign", "malignant") for n in range(3)]
    pd.DataFrame(cases, columns=["file", "class", "patient"]).to_csv(data / "mine/cases.csv", index=False)
    source = lab.LabSource(folder="mine")
    settings = IndexSettings.model_construct(sources=[source], classes=["benign", "malignant"])
    table = build_index(settings, data, 0)
    assert len(table) == 6 and table["excluded"].isna().all() and table["patient_id"].is_unique
    frames, fps = read_row(table.iloc[0].to_dict(), settings, data, 1000, 0)
    assert frames.shape == (40, 80, 80) and fps == pytest.approx(20, rel=0.01)


def test_a_metric(monkeypatch, tiny_store):
    module("lddm/metrics/bright_point.py", monkeypatch)
    measure = MEASURES["bright_point_travel"]
    clips = np.zeros((2, 5, 16, 16), np.uint8)
    clips[0, np.arange(5), 3 * np.arange(5), 0] = 255  # three pixels a frame; the second clip stays dark
    assert measure.of(clips).tolist() == [[12.0], [0.0]]
    assert measure.distance(measure.of(clips[:1]), measure.of(clips[1:])) == 12
    assert CATALOGUE["bright_point_travel"].sees_motion


def test_a_classifier(monkeypatch, tiny_store):
    module("lddm/classification/change.py", monkeypatch)
    entry = CLASSIFIERS["change"]
    clips = tiny_store[0].clip_frames(tiny_store[0].clips)
    x = entry.prepare(clips)
    assert np.array_equal(entry.prepare(clips[..., ::-1]), x[..., ::-1])
    assert entry.build()(torch.from_numpy(x)).shape == (len(clips),)


def test_a_generator(monkeypatch, tiny_store, tmp_path):
    from lddm.autoencoder.encode import encode_clips
    from lddm.autoencoder.model import Autoencoder
    from lddm.settings.models import AutoencoderSettings
    from lddm.synthesis.animate import Animator
    from lddm.synthesis.train_generator import train_generator

    module("lddm/baselines/sway.py", monkeypatch)
    store, splits = tiny_store
    Autoencoder(AutoencoderSettings(width=4), 32, 8).save(tmp_path / "ae.safetensors")
    encode_clips(tmp_path / "ae.safetensors", store, splits, 0, tmp_path / "z.safetensors")
    train_generator(
        "sway", None, tmp_path / "ae.safetensors", tmp_path / "z.safetensors", store, 0, 0,
        tmp_path / "state", tmp_path / "x/fold-0/generators/sway", lambda *_: None,
    )  # fmt: skip
    animator = Animator.load(tmp_path / "x/fold-0/generators/sway")
    still = film(3, 32)[0]
    first, again = (animator.animate(still, 2, 1, options=SamplingOptions()) for _ in range(2))
    assert first.shape == (2, 9, 32, 32) and np.array_equal(first, again) and (first[:, 0] == still).all()


def test_every_block_of_code_is_executed_here():
    assert len(re.findall(r"```python\n", PAGE)) == len(CODE) == 4
