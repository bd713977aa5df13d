"""The sandbox, and a finished smoke run, as fixtures."""

import shutil
from pathlib import Path

import pytest
from sandbox import Pipeline, pretend
from whole_runs import finish


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    """A pipeline whose jobs are pretended."""
    return pretend(tmp_path)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """A finished smoke run."""
    folder = tmp_path_factory.mktemp("undisturbed")
    finish(folder)
    return folder


@pytest.fixture
def finished(undisturbed, tmp_path):
    """A copy of the finished run, to break."""
    shutil.copytree(undisturbed, tmp_path / "run", symlinks=True)
    return tmp_path / "run"
