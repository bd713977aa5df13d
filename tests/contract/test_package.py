"""The package as others install it: a wheel that works without the checkout, extras that say what is missing, light imports."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
COPIED = [
    "requirements.lock",
    "requirements.in",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "lddm",
]  # as in the Dockerfile
HEAVY = {"torch", "numpy", "pandas", "cv2", "scipy", "matplotlib", "mlflow", "snakemake", "huggingface_hub", "pydantic"}


def python(*arguments: str, cwd: Path, **variables: str) -> str:
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | variables
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder with the wheel and the sdist, built from the files that the Dockerfile copies, and nothing else."""
    folder = tmp_path_factory.mktemp("clean")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    code = "from setuptools import build_meta as b; b.build_sdist('dist'); b.build_wheel('dist')"
    (folder / "dist").mkdir()
    python("-c", code, cwd=folder)
    return folder / "dist"


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """A folder for PYTHONPATH that holds what the wheel installs."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(folder)
    return folder


def test_the_sdist_and_the_wheel_hold_the_package_and_no_more(built):
    tracked = subprocess.run(["git", "ls-files", "lddm"], cwd=ROOT, capture_output=True, text=True, check=True)
    wanted = {name for name in tracked.stdout.splitlines() if (ROOT / name).exists()}
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert wanted <= names, sorted(wanted - names)[:5]
    assert {name.split("/")[0] for name in names} == {"lddm"}
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        inside = {name.partition("/")[2] for name in sdist.getnames()}
    assert wanted | {"requirements.in", "pyproject.toml", "LICENSE", "README.md"} <= inside
    assert sum(path.stat().st_size for path in built.iterdir()) < 25e6


def test_the_wheel_animates_a_still_without_the_checkout(installed, tmp_path):
    still = (np.random.default_rng(0).random((90, 120)) * 200).astype(np.uint8)
    Image.fromarray(still).save(tmp_path / "still.png")
    code = "import lddm, sys; from lddm.cli import app; sys.argv[0] = 'lddm'; print(lddm.__file__); app()"
    command = ["-c", code, "animate", "still.png", "--out", "video.mp4"]
    said = python(*command, cwd=tmp_path, PYTHONPATH=str(installed), LDDM_MODELS=str(tmp_path / "none"))
    assert str(installed) in said and "trained on" in said and "simulated breast ultrasound" in said
    assert (tmp_path / "video.mp4").stat().st_size > 1000
    listed = python("-c", code, "models", "list", cwd=tmp_path, PYTHONPATH=str(installed))
    assert "breast-phantom" in listed and "package" in listed


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import lddm", HEAVY),
        ("from lddm.cli import app; app(['--help'], standalone_mode=False)", HEAVY - {"pydantic", "numpy"}),
        ("from lddm.synthesis import model_store; model_store.find_model('breast-phantom')", HEAVY - {"pydantic"}),
    ],
)
def test_imports_are_light(code, heavy, tmp_path):
    said = python("-c", f"{code}\nimport sys; print(*sys.modules)", cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert not heavy & set(said.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("package", "extra", "code"),
    [
        ("mlflow", "track", "import lddm.tracking.mlflow_view"),
    ],
)
def test_a_missing_extra_is_named(package, extra, code, tmp_path):
    code = (
        f"import sys; sys.modules[{package!r}] = None\ntry:\n    {code}\nexcept Exception as error:\n    print(error)"
    )
    said = python("-c", code, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert package in said.lower() and f"pip install 'lddm[{extra}]'" in said
    assert package in {name.lower() for name in extras()[extra]}


def extras() -> dict[str, list[str]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def test_extras_are_those_that_are_documented():
    assert set(extras()) == {"demo", "quality", "track", "workflow", "dev", "docs"}
    text = (ROOT / "docs/dependencies.md").read_text()
    assert all(f"| `{name}` |" in text for name in extras())
