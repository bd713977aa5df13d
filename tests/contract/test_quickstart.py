"""The Python of the quick start runs as it stands, from the notebook, which is made from the page."""

from __future__ import annotations

from pathlib import Path

import av
import nbformat
import numpy as np
import pytest

from benchmarks import quickstart

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cells() -> list[str]:
    """Code cells of the committed notebook, in order."""
    book = nbformat.read(quickstart.NOTEBOOK, as_version=4)
    nbformat.validate(book)
    return [cell.source for cell in book.cells if cell.cell_type == "code"]


def test_the_notebook_is_made_from_the_page_and_has_no_outputs():
    made = nbformat.writes(quickstart.notebook(quickstart.PAGE.read_text(encoding="utf-8")))
    assert quickstart.NOTEBOOK.read_text(encoding="utf-8") == made + "\n", "run `python -m benchmarks.quickstart`"


def test_the_code_runs_and_its_claims_hold(cells, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for number, source in enumerate(cells):
        exec(compile(source, f"quickstart.ipynb cell {number}", "exec"), names)
    videos, still, real = names["videos"], names["still"], names["real"]
    assert videos.shape == (4, 17, 64, 64) and videos.dtype == np.uint8 and (videos[:, 0] == still).all()
    assert not names["animator"].compare(still).is_out_of_distribution
    with av.open(str(tmp_path / "video-3.mp4")) as container:
        assert len([*container.decode(video=0)]) == 17 and "synthetic" in container.metadata["comment"]
    truth, repeated = (np.broadcast_to(one, videos.shape) for one in (real, still))
    assert names["strain_error"](truth, videos).mean() < 0.5 * names["strain_error"](truth, repeated).mean()
    assert names["ssim"](truth, videos).mean() < names["ssim"](truth, repeated).mean()  # as the page says
    assert "strain error" in capsys.readouterr().out
