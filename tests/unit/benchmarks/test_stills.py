"""The table of stills that are out of distribution."""

from __future__ import annotations

import pytest
from PIL import Image

from benchmarks import stills
from lddm.data.sources import phantom
from lddm.errors import LddmError
from lddm.settings.data import PhantomSource


def test_simulated_stills_are_within_and_photographs_are_not(tmp_path, capsys):
    for number in range(3):
        still = phantom.read(f"phantom:still/{number:06d}", PhantomSource(), seed=987)[0][0]
        Image.fromarray(still).save(tmp_path / f"{number}.png")
    stills.main([f"mine={tmp_path}"])
    rows = [[cell.strip() for cell in line.split("|")] for line in capsys.readouterr().out.splitlines()]
    assert ["mine", "3", "0"] in [row[1:4] for row in rows]
    assert ["photographs and textures of scikit-image", "11", "11"] in [row[1:4] for row in rows]


def test_a_folder_without_images_is_named(tmp_path):
    with pytest.raises(LddmError, match="got none"):
        stills.of_folder(tmp_path)
