"""Names in any script are drawn or replaced by something that tells them apart."""

import unicodedata
import warnings

import numpy as np
import pytest
from matplotlib import font_manager

from lddm.files import read_json, write_json
from lddm.report import fonts
from lddm.report.film import _tiles
from lddm.report.page import page
from lddm.report.results import Results
from lddm.report.strips import choose, strips
from lddm.report.style import save

CLASSES = ["良性", "恶性"]
IMAGE = np.zeros((16, 16), np.uint8)


def forget():
    fonts._fonts.cache_clear()


@pytest.fixture
def bare(monkeypatch):
    """A system that has matplotlib's own fonts alone."""
    forget()
    only = [(fonts.DEFAULT, font_manager.findfont(fonts.DEFAULT))]
    monkeypatch.setattr(fonts, "_candidates", lambda: only)
    yield
    forget()


@pytest.fixture
def named(results):
    """Results whose classes have Chinese names."""
    folder = results / "data/frames"
    source = folder.resolve()
    folder.unlink()
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).symlink_to(path)
    meta = read_json(source / "meta.json") | {"classes": CLASSES}
    (folder / "meta.json").unlink()
    write_json(folder / "meta.json", meta)
    return results


def test_without_a_font_classes_have_numbers_and_the_page_says_which(bare, named, settings):
    assert fonts.class_names(CLASSES) == ["class 0", "class 1"] and fonts.class_names(["a", "b"]) == ["a", "b"]
    titles = [title for title, _ in choose(Results(named, settings), 2)]
    assert {title.split(",")[0] for title in titles} == {"class 0", "class 1"}
    page(settings, named, named / "report.html")
    assert "class 0 is 良性, class 1 is 恶性: no installed font" in (named / "report.html").read_text(encoding="utf-8")


def test_other_names_without_a_font_stay_distinct(bare):
    assert fonts.legible("患, p1") == "(U+60A3), p1" and fonts.legible("患") != fonts.legible("者")
    assert fonts.legible(unicodedata.normalize("NFD", "bösartig")) == "bösartig"
    one, other = (np.asarray(_tiles(fonts.legible(name), ["real"], [IMAGE])) for name in CLASSES)
    assert (one != other).any()


def test_a_font_of_the_system_is_used_where_there_is_one(named, settings, tmp_path):
    if fonts._fonts("".join(CLASSES)) is None:
        pytest.skip("no font of this system has Chinese letters")
    assert fonts.class_names(CLASSES) == CLASSES
    one, other = (np.asarray(_tiles(name, ["real"], [IMAGE])) for name in CLASSES)
    assert (one != other).any()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Glyph .* missing")
        save(strips(choose(Results(named, settings), 2)[:1], 10.0), tmp_path / "strips.png")


def test_fonts_of_boxes_and_symbols_are_not_fonts_of_letters():
    names = {name for name, _ in fonts._candidates()}
    assert fonts.DEFAULT in names and not any("Last Resort" in name or name == "cmsy10" for name in names)
