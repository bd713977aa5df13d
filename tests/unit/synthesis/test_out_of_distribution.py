"""Out-of-distribution stills: positive and negative controls with the shipped model."""

import os
from pathlib import Path

import numpy as np
import pydicom.examples
import pytest
from skimage import data

from lddm.data.sources import phantom
from lddm.data.square import fit_square
from lddm.io.dicom.read import read_dicom
from lddm.io.image import decode_image
from lddm.settings.data import PhantomSource
from lddm.synthesis.model_store import DEFAULT, packaged_models, read_about
from lddm.synthesis.out_of_distribution import KEY, compare, describe, statistics

ROOT = Path(__file__).resolve().parents[3]
BUSI = Path(os.environ.get("LDDM_TEST_DATA", ROOT / "../shared/data")) / "busi"


@pytest.fixture(scope="module")
def about():
    return read_about(packaged_models() / DEFAULT)


def outside(about, stills) -> np.ndarray:
    return np.array(
        [compare(fit_square(one[None], about["size"], "pad")[0], about).is_out_of_distribution for one in stills]
    )


def test_new_simulated_stills_are_in_distribution(about):
    source = PhantomSource()
    stills = [phantom.read(f"phantom:still/{number:06d}", source, seed=987)[0][0] for number in range(40)]
    assert outside(about, stills).mean() <= 0.05


@pytest.mark.parametrize("name", ["chelsea", "camera", "coins", "brick", "page", "moon"])
def test_photographs_and_documents_are_out_of_distribution(about, name):
    picture = getattr(data, name)()
    grey = (picture if picture.ndim == 2 else picture.mean(axis=2)).astype(np.uint8)
    compared = compare(fit_square(grey[None], about["size"], "pad")[0], about)
    assert compared.is_out_of_distribution and compared.score > 1.5 * compared.threshold
    said = compared.said(about["trained_on"])
    assert "simulated breast ultrasound" in said and "(training " in said


def test_an_echocardiogram_noise_and_black_are_out_of_distribution(about):
    heart = read_dicom(pydicom.examples.get_path("ybr_color"), max_frames=1).frames[0]
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    assert outside(about, [heart, noise, np.zeros((80, 100), np.uint8)]).all()


@pytest.mark.skipif(not BUSI.is_dir(), reason="no breast images of BUSI in ../shared/data or $LDDM_TEST_DATA")
def test_real_breast_ultrasound_differs_from_simulated(about):
    paths = sorted(path for path in BUSI.rglob("*.png") if "mask" not in path.name)[::20]
    assert len(paths) >= 30 and outside(about, [decode_image(path) for path in paths]).mean() >= 0.9


def test_a_model_of_an_earlier_version_gives_no_comparison(about):
    old = {key: value for key, value in about.items() if key != KEY}
    assert compare(np.zeros((64, 64), np.uint8), old) is None


def test_the_threshold_is_a_quantile_of_validation_stills():
    rng = np.random.default_rng(0)
    train, validation = (np.clip(rng.normal(100, 20, (n, 16, 16)), 0, 255).astype(np.uint8) for n in (300, 400))
    about = {KEY: describe(train, validation)}
    above = [compare(still, about).is_out_of_distribution for still in validation]
    assert sum(above) == 4  # one in a hundred
    brighter = np.clip(validation[:20].astype(int) + 60, 0, 255).astype(np.uint8)
    compared = [compare(still, about) for still in brighter]
    assert all(one.is_out_of_distribution for one in compared)
    assert any("mean grey level 160" in one.said("noise") for one in compared)
    assert describe(train[:1], validation) is None


def test_statistics_match_their_names():
    still = np.zeros((1, 24, 24), np.uint8)
    still[:, :8] = 255
    found = {name: float(values[0]) for name, values in statistics(still).items()}
    assert found["grey level of the upper third"] == 255 and found["grey level of the lower third"] == 0
    assert found["share of white pixels"] == pytest.approx(1 / 3) and found["share of black pixels"] == pytest.approx(
        2 / 3
    )
    assert found["lateral detail"] == 0 < found["axial detail"] and found["grey level of the darkest corner"] == 0
