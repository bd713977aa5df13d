"""The sandbox as a fixture."""

from pathlib import Path

import pytest
from sandbox import Pipeline, pretend


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    """A pipeline whose jobs are pretended."""
    return pretend(tmp_path)
