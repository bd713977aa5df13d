"""Names of folders and files that could be meant in two ways: Unicode twins, case, parts of a split, stills as GIF."""

import unicodedata

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from lddm.data.check import check_data
from lddm.data.layout import recognise
from lddm.data.sources.skipped import is_split_folder


@pytest.fixture(autouse=True)
def few_permutations(monkeypatch):
    monkeypatch.setattr("lddm.data.leaks.PERMUTATIONS", 19)


def stills(root, *folders):
    for number, folder in enumerate(folders):
        place = root / folder
        place.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 255, (48, 64), dtype=np.uint8)
        Image.fromarray(noise).save(place / f"p{number}.png")
    return root


@pytest.mark.parametrize("name", ["Train2", "test_set", "TestSet", "val 1", "training-data", "test", "held out", "dev"])
def test_folders_named_like_parts_of_a_split(name):
    assert is_split_folder(name)


@pytest.mark.parametrize("name", ["benign", "testis", "trained", "valve", "tests_positive", "device", "class 2"])
def test_folders_that_may_be_classes(name):
    assert not is_split_folder(name)


def test_parts_of_a_split_with_numbers_are_no_classes(tmp_path):
    found = recognise(stills(tmp_path, "benign", "malignant", "Train2", "test_set"))
    assert found.classes == ("benign", "malignant") and found.not_classes == ("Train2", "test_set")


def test_twins_of_a_class_in_two_unicode_forms_are_one_class_and_it_is_said(tmp_path):
    twins = [unicodedata.normalize(form, "bénin") for form in ("NFC", "NFD")]
    report = check_data(stills(tmp_path / "mine", "malin", *twins))
    assert yaml.safe_load(report.config)["index"]["classes"] == [twins[0], "malin"]
    assert set(report.videos["class_name"]) == {twins[0], "malin"}
    assert any("different Unicode forms" in advice for advice in report.advice)


def test_classes_that_differ_in_case_are_said_and_not_both_proposed(tmp_path):
    report = check_data(stills(tmp_path / "mine", "Benign", "benign", "malignant"))
    assert any("differ only in case" in advice for advice in report.advice)
    assert yaml.safe_load(report.config)["index"]["classes"] == ["Benign", "malignant"]


def test_a_split_inside_the_classes_is_said(tmp_path):
    report = check_data(stills(tmp_path / "mine", "a/train", "a/test", "b/train", "b/test"))
    assert any("folders test, train: LDDM splits patients itself" in advice for advice in report.advice)


def test_a_gif_of_one_frame_is_a_still(tmp_path):
    stills(tmp_path / "mine", "a", "b")
    image = Image.open(tmp_path / "mine/a/p0.png")
    image.save(tmp_path / "mine/a/still.gif")
    image.save(tmp_path / "mine/b/moving.gif", save_all=True, append_images=[image.rotate(180)] * 9, duration=50)
    videos = check_data(tmp_path / "mine").videos.set_index("path")
    still = videos.loc["mine/a/still.gif"]
    assert still["kind"] == "image" and pd.isna(still["excluded"])
    assert videos.loc["mine/b/moving.gif", "kind"] == "video"


def test_frames_that_are_read_as_stills_are_said(tmp_path):
    stills(tmp_path / "mine", "a", "b")
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
    (tmp_path / "mine/a/loop").mkdir()
    for number in range(12):
        Image.fromarray(np.roll(ramp, number, 1)).save(tmp_path / f"mine/a/loop/{number * number}.png")
    advice = check_data(tmp_path / "mine").advice
    assert any(
        "a/loop look like the frames of a video but are read as stills, because their numbers have gaps" in a
        for a in advice
    )
