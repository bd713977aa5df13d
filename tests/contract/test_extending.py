"""docs/extending.md, followed to the letter: each block alone, and all of them in a copy of the repository."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
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

from lddm.cli import app
from lddm.data import index
from lddm.generators.sampling import SamplingOptions
from lddm.io.video import write_video
from lddm.settings.build import load, stage_json
from lddm.settings.data import IndexSettings, TargetSettings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/extending.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
NEW = {text.split("# ", 1)[1].split()[0]: text for text in BLOCKS if text.startswith('"""')}
ADDED = {text.split()[1].rstrip(","): text for text in BLOCKS if text.startswith("# lddm/")}
# Names that the page says in prose: (file, what stands there, what it becomes).
NAMED = (
    ("lddm/settings/data.py", "| EchonetDynamicSource,", "| EchonetDynamicSource\n    | LabSource,"),
    ("lddm/settings/models.py", '"motion_transfer", "pixel"]', '"motion_transfer", "pixel", "sway"]'),
    ("lddm/settings/condition.py", '"soft_label"] | None', '"soft_label", "reach"] | None'),
    ("lddm/settings/evaluation.py", '"swin3d_t"\n]', '"swin3d_t", "change"\n]'),
    (
        "lddm/settings/evaluation.py",
        '"lddm_only",\n]\nClassifierName',
        '"lddm_only",\n    "real+sway",\n]\nClassifierName',
    ),
)


def module_name(place: str) -> str:
    return place.removesuffix(".py").replace("/", ".")


def module(place: str, monkeypatch) -> types.ModuleType:
    """A new file of the page as the module that it says it is."""
    made = types.ModuleType(module_name(place))
    monkeypatch.setitem(sys.modules, made.__name__, made)
    monkeypatch.setattr(
        importlib.import_module(made.__name__.rpartition(".")[0]), place.split("/")[-1][:-3], made, False
    )
    exec(compile(NEW[place], place, "exec"), made.__dict__)
    return made


def added(place: str, monkeypatch, registry: str = "") -> dict:
    """The names of a file with the block that the page adds to it; its registry is as before after the test."""
    there = importlib.import_module(module_name(place))
    if registry:
        monkeypatch.setattr(there, registry, dict(getattr(there, registry)))
    names = dict(vars(there))
    exec(compile(ADDED[place], place, "exec"), names)
    return names


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


@pytest.fixture
def lab_data(data):
    """The tree of the page as a release with a table."""
    cases = [(f"{c}/video {n}.mp4", c, f"{c}{n}") for c in ("benign", "malignant") for n in range(3)]
    pd.DataFrame(cases, columns=["file", "class", "patient"]).to_csv(data / "mine/cases.csv", index=False)
    return data


@pytest.fixture
def lungs(tmp_path):
    """The trees of the pages: lung videos of three classes, and heart videos with a table of ejection fractions."""
    for c, name in enumerate(("normal", "b-lines", "consolidation")):
        for number in range(2):
            path = tmp_path / "lungs" / name / f"{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, film(10 * c + number), 20)
    for number in range(3):
        path = tmp_path / f"hearts/clinic/{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, film(50 + number), 20)
    table = "file,ejection_fraction\nclinic/0.mp4,62\nclinic/1.mp4,35.5\nclinic/2.mp4,\n"
    (tmp_path / "hearts/targets.csv").write_text(table)
    return tmp_path


@pytest.mark.parametrize("page", ["docs/extending.md", "docs/data.md"])
def test_three_classes_and_a_number_without_code(page, lungs):
    blocks = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)]
    several, number = (next(b for b in blocks if b["index"].get("task") == task) for task in ("ordinal", "regression"))
    classes = load(several).index
    table = index.build_index(classes, lungs, 0)
    assert table["class_name"].value_counts().to_dict() == dict.fromkeys(classes.classes, 2)
    assert (table["label"].map(dict(enumerate(classes.classes))) == table["class_name"]).all()
    targets = load(number).index
    table = index.build_index(targets, lungs, 0).sort_values("path")
    assert table["label"].tolist()[:2] == [62, 35.5] and table["excluded"].iloc[2].startswith("no ejection_fraction")
    assert targets.labels.show(35.5) == "35.5 %"


def test_a_source_of_its_own_may_have_numbers(lab_data, monkeypatch):
    module("lddm/data/sources/lab.py", monkeypatch)
    added("lddm/data/index.py", monkeypatch, "SOURCES")
    source = added("lddm/settings/data.py", monkeypatch)["LabSource"](folder="mine")
    cases = pd.read_csv(lab_data / "mine/cases.csv").assign(ejection_fraction=[50, 60, 70, 20, 30, ""])
    cases.to_csv(lab_data / "mine/cases.csv", index=False)
    target = TargetSettings(name="ejection_fraction", unit="%", range=(0.0, 100.0))
    settings = IndexSettings.model_construct(task="regression", sources=[source], classes=[], target=target)
    table = index.build_index(settings, lab_data, 0)
    assert sorted(table["label"].dropna()) == [20, 30, 50, 60, 70] and table["excluded"].notna().sum() == 1


def test_a_source_of_its_own(lab_data, monkeypatch):
    module("lddm/data/sources/lab.py", monkeypatch)
    added("lddm/data/index.py", monkeypatch, "SOURCES")
    source = added("lddm/settings/data.py", monkeypatch)["LabSource"](folder="mine")
    settings = IndexSettings.model_construct(sources=[source], classes=["benign", "malignant"])
    table = index.build_index(settings, lab_data, 0)
    assert len(table) == 6 and table["excluded"].isna().all() and table["patient_id"].is_unique
    recording = index.read_row(table.iloc[0].to_dict(), settings, lab_data, 1000, 0)
    assert recording.frames.shape == (40, 80, 80) and recording.fps == pytest.approx(20, rel=0.01)


def test_a_metric(monkeypatch):
    module("lddm/metrics/bright_point.py", monkeypatch)
    measure = added("lddm/metrics/motion.py", monkeypatch, "MEASURES")["MEASURES"]["bright_point_travel"]
    clips = np.zeros((2, 5, 16, 16), np.uint8)
    clips[0, np.arange(5), 3 * np.arange(5), 0] = 255  # three pixels a frame; the second clip stays dark
    assert measure.of(clips).tolist() == [[12.0], [0.0]]
    assert measure.distance(measure.of(clips[:1]), measure.of(clips[1:])) == 12
    catalogue = added("lddm/metrics/catalogue.py", monkeypatch, "CATALOGUE")["CATALOGUE"]
    assert catalogue["bright_point_travel"].sees_motion


def test_a_classifier(monkeypatch, tiny_store):
    module("lddm/classification/change.py", monkeypatch)
    entry = added("lddm/classification/networks.py", monkeypatch, "CLASSIFIERS")["CLASSIFIERS"]["change"]
    clips = tiny_store[0].clip_frames(tiny_store[0].clips)
    x = entry.prepare(clips)
    assert np.array_equal(entry.prepare(clips[..., ::-1]), x[..., ::-1])
    assert entry.build(3)(torch.from_numpy(x)).shape == (len(clips), 3)


def test_a_generator(monkeypatch, tiny_store, motion_of, tmp_path):
    from lddm.autoencoder.encode import encode_clips
    from lddm.autoencoder.model import Autoencoder
    from lddm.settings.models import AutoencoderSettings
    from lddm.synthesis.animate import Animator
    from lddm.synthesis.train_generator import train_generator

    module("lddm/generators/sway.py", monkeypatch)
    added("lddm/generators/registry.py", monkeypatch, "GENERATORS")
    store, splits = tiny_store
    settings = AutoencoderSettings(width=4)
    Autoencoder(settings, 32, 8).save(tmp_path / "ae.safetensors")
    encode_clips(tmp_path / "ae.safetensors", store, splits, 0, tmp_path / "z.safetensors", motion_of(settings))
    train_generator(
        "sway", None, tmp_path / "ae.safetensors", tmp_path / "z.safetensors", store, 0, 0,
        tmp_path / "state", tmp_path / "x/fold-0/generators/sway", lambda *_: None,
    )  # fmt: skip
    animator = Animator.load(tmp_path / "x/fold-0/generators/sway")
    still = film(3, 32)[0]
    first, again = (animator.animate(still, 2, 1, options=SamplingOptions(), size="model") for _ in range(2))
    assert first.shape == (2, 9, 32, 32) and np.array_equal(first, again) and (first[:, 0] == still).all()


def test_an_attribute(monkeypatch, tiny_store, tmp_path):
    from lddm.attribute.measure import Measuring, measure_attribute
    from lddm.settings.condition import ConditionSettings

    module("lddm/attribute/reach.py", monkeypatch)
    added("lddm/attribute/measure.py", monkeypatch, "MEASURES")
    section = ConditionSettings.model_construct(attribute="reach", smoothing=0.5)
    attribute, values = measure_attribute(Measuring(section, *tiny_store, 0, 0, tmp_path, lambda *_: None))
    assert len(values) == 15 and attribute.what == "mean displacement at the end, in pixels" and attribute.mean > 0.1


@pytest.fixture
def grown(tmp_path):
    """A copy of the repository with everything that the page adds, where it says."""
    root = tmp_path / "grown"
    for name in ("lddm", "config", "workflow", "profiles", "tests/contract"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "pyproject.toml"):
        shutil.copy(ROOT / name, root)
    for place, text in NEW.items():
        (root / place).write_text(text)
    for place, old, new in NAMED:
        text = (root / place).read_text()
        assert place in PAGE and text.count(old) == 1, (place, old)
        (root / place).write_text(text.replace(old, new))
    for place, block in ADDED.items():
        before, here, after = (
            (root / place).read_text().partition("\nSource = ")
        )  # the one block that goes above something
        imports = re.findall(r"^from .*\n", block, re.MULTILINE)
        rest = re.sub(r"^from .*\n", "", block, flags=re.MULTILINE)
        last = [*re.finditer(r"^(?:from|import) .*\n", before, re.MULTILINE)][-1].end()
        assert not here or not imports
        (root / place).write_text(before[:last] + "".join(imports) + before[last:] + f"\n{rest}\n" + here + after)
    return root


def test_in_a_copy_of_the_repository_all_parts_work_together(grown, lab_data):
    config = {
        "experiment": "grown",
        "data_root": str(lab_data),
        "index": {"classes": ["benign", "malignant"], "sources": [{"kind": "lab", "folder": "mine"}]},
        "condition": {"attribute": "reach"},
        "synthesis": {"generators": ["lddm", "static", "sway"]},
        "classification": {"classifiers": ["change"], "regimes": ["real", "real+sway"]},
    }
    (grown / "config/grown.yaml").write_text(yaml.safe_dump(config))

    def python(*arguments: str) -> str:
        done = subprocess.run([sys.executable, *arguments], cwd=grown, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    alone = "import importlib, os, sys, numpy, torch\nfor name in sys.argv[1:]:\n"
    alone += "    if not os.fork():\n        importlib.import_module(name)\n        os._exit(0)\n"
    alone += "    assert os.wait()[1] == 0, name\n"  # each in a fresh process: import order must not matter
    python("-c", alone, *map(module_name, [*NEW, *ADDED]))
    commands = "import yaml; from lddm.cli import app; from lddm.settings import build\n"
    commands += "app(['settings', '--write'], standalone_mode=False)\n"
    commands += "settings = build.load(yaml.safe_load(open('config/grown.yaml')))\n"
    commands += "app(['index', '--settings', build.stage_json(settings, 'index'), '--data-root', settings.data_root,"
    commands += " '--out', 'index.parquet'], standalone_mode=False)"
    python("-c", commands)
    python(
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/contract/test_layers.py",
        "tests/contract/test_settings.py",
    )
    assert set(pd.read_parquet(grown / "index.parquet")["source"]) == {"lab"}
    plan = python("-m", "snakemake", "--cores", "1", "--dry-run", "--configfile", "config/grown.yaml")
    for job in ("measure_attribute", "generator=sway", "classifier=change, regime=real+sway"):
        assert job in plan


def test_every_block_of_code_is_executed_here():
    assert len(BLOCKS) == len(NEW) + len(ADDED) == 13
