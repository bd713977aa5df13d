"""Fast ways of computing a measure against the plain way, or the library whose numbers they give."""

import cv2
import numpy as np
import pytest
from scipy.signal import periodogram
from skimage.metrics import structural_similarity

from lddm.data.cache import ArrayCache
from lddm.metrics import motion, novelty, paired


@pytest.fixture(scope="module")
def clips() -> np.ndarray:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (3, 10, 24, 24)).astype(np.uint8)
    return np.array([[cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in clip] for clip in noise])


def test_ssim_is_that_of_scikit_image_to_the_last_bit(clips):
    def plain(a, b):
        return structural_similarity(a, b, win_size=7, data_range=255)

    other = np.roll(clips, 1, axis=0)
    expected = [
        np.mean([plain(a, b) for a, b in zip(x[1:], y[1:], strict=True)]) for x, y in zip(clips, other, strict=True)
    ]
    assert np.array_equal(paired.ssim(clips, other), expected)
    neighbours = [[plain(a, b) for a, b in zip(clip[:-1], clip[1:], strict=True)] for clip in clips]
    assert np.array_equal(paired.ssim_of_neighbours(clips), neighbours)


@pytest.mark.parametrize("frames", [9, 10])
def test_power_is_that_of_the_periodogram(clips, frames):
    some = clips[:, :frames]
    expected = [
        periodogram(clip / 255, window="hann", detrend="linear", scaling="spectrum", axis=0)[1][1:].mean(axis=(1, 2))
        for clip in some
    ]
    assert motion.power_spectrum(some) == pytest.approx(np.array(expected), rel=1e-10)


def test_nearest_vectors_of_all_patients_are_those_of_each():
    rng = np.random.default_rng(1)
    queries = rng.normal(size=(600, 20))  # more than a block
    pool = np.concatenate([rng.normal(size=(40, 20)), queries[:9], queries[:1]])  # copies, one of them twice
    patients = np.array([f"p{number % 7}" for number in range(len(pool))])
    distance, which = novelty.by_patient(queries, pool, patients)
    assert distance.shape == which.shape == (600, 7)
    for column, name in enumerate(np.unique(patients)):
        rows = np.flatnonzero(patients == name)
        apart = np.sqrt(np.square(queries[:, None] - pool[rows][None]).mean(axis=2))
        assert distance[:, column] == pytest.approx(apart.min(axis=1), rel=1e-12)
        assert np.array_equal(which[:, column], rows[apart.argmin(axis=1)])
    assert (distance[:9] == 0).sum() == 10, "copies are at a distance of exactly zero"


def test_the_cache_does_not_take_one_array_for_another(tmp_path):
    cache, seen = ArrayCache(tmp_path), []

    def total(clips):
        seen.append(len(clips))
        return np.array([clips.sum()])

    for value in range(50):  # each array is freed, so that the next one may have its address
        assert cache.get("sum", np.full((2, 3), value, np.uint8), total) == 6 * value
    kept = np.ones((2, 3), np.uint8)
    assert cache.get("sum", kept, total) == cache.get("sum", kept, total) == 6
    assert len(seen) == 50, "equal content is computed once"
