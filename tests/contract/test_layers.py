"""Imports between the packages point one way (docs: the package docstring of lddm)."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "lddm"
BASE = {"errors", "files", "task", "version"}
# package -> packages it may import, besides itself and BASE
MAY_IMPORT = {
    "version": set(),
    "errors": set(),
    "files": set(),
    "task": set(),
    "settings": set(),
    "statistics": set(),
    "io": set(),
    "phantom": set(),
    "nn": set(),
    "motion": {"nn"},
    "data": {"settings", "io", "phantom", "motion"},
    "training": {"settings", "data"},
    "latent": {"settings", "training", "data", "motion", "nn"},
    "autoencoder": {"settings", "latent", "training", "data", "motion", "nn"},
    "generators": {"settings", "latent", "training", "data", "motion", "nn"},
    "synthesis": {"settings", "autoencoder", "generators", "latent", "training", "data", "io", "motion", "nn"},
    "demo": {"synthesis", "io", "report"},  # report: templates and the player of videos
    "metrics": {"settings", "statistics", "training", "data", "motion", "nn"},
    "classification": {"settings", "statistics", "training", "data", "motion", "nn"},
    "attribute": {"settings", "autoencoder", "training", "data", "motion", "metrics", "classification"},
    "report": {"settings", "statistics", "data", "tracking"},  # data: the leak report; tracking: versions of the code
    "tracking": {"settings"},
    "job": {"settings", "tracking"},
}
FREE = {"cli", "__init__", "__main__"}


def imported_packages(path: Path) -> set[str]:
    """Packages of lddm that a module names in an import, also in one inside a function."""
    packages = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "lddm" else [node.module]
        else:
            continue
        packages |= {name.split(".")[1] for name in names if name and name.startswith("lddm.")}
    return packages


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path):
    package = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if package in FREE:
        return
    assert package in MAY_IMPORT, f"{package}: a new package; say what it may import"
    extra = imported_packages(path) - MAY_IMPORT[package] - BASE - {package}
    assert not extra, f"{package} must not import {', '.join(sorted(extra))}"


def test_arrows_have_no_cycle():
    done: set[str] = set()
    waiting = dict(MAY_IMPORT)
    while waiting:
        ready = {package for package, packages in waiting.items() if packages <= done}
        assert ready, f"cycle among {sorted(waiting)}"
        done |= ready
        waiting = {package: packages for package, packages in waiting.items() if package not in ready}


def test_modules_say_what_they_are_for():
    silent = [str(path) for path in modules() if (text := path.read_text()) and not ast.get_docstring(ast.parse(text))]
    assert not silent


def imported_modules(path: Path) -> set[str]:
    """Modules of lddm that a module names in an import, also in one inside a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.startswith("lddm.")}


def test_no_module_imports_itself_by_way_of_others():
    known = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in modules()}
    known = {name: path for name, path in known.items() if not name.endswith("__init__")}
    graph = {name: imported_modules(path) & known.keys() for name, path in known.items()}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle
