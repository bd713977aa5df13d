"""Precision, recall, density, coverage, retrieval and acceleration where the answer is known."""

import cv2
import numpy as np
import pytest

from lddm.metrics import motion
from lddm.metrics.catalogue import CATALOGUE
from lddm.metrics.neighbours import NEIGHBOURS, SHARES, coverage, density, precision, radii, recall, retrieval
from lddm.metrics.network_metrics import network_metrics

RNG = np.random.default_rng(0)
MEASURES = (precision, recall, density, coverage, retrieval)


def normal(n=300, d=4, mean=0.0, spread=1.0):
    return mean + spread * RNG.normal(size=(n, d))


def by_the_papers_sums(real, synthetic, k):
    """Equations 1 to 4 of Naeem et al. 2020, word for word."""

    def radius(x, i):
        return np.sort(np.linalg.norm(x - x[i], axis=1))[k]  # the nearest one is itself

    r, s = [radius(real, i) for i in range(len(real))], [radius(synthetic, j) for j in range(len(synthetic))]
    apart = np.linalg.norm(real[:, None] - synthetic[None], axis=2)
    return {
        "precision": np.mean([any(apart[i, j] < r[i] for i in range(len(real))) for j in range(len(synthetic))]),
        "recall": np.mean([any(apart[i, j] < s[j] for j in range(len(synthetic))) for i in range(len(real))]),
        "density": sum(apart[i, j] < r[i] for i in range(len(real)) for j in range(len(synthetic)))
        / (k * len(synthetic)),
        "coverage": np.mean([any(apart[i, j] < r[i] for j in range(len(synthetic))) for i in range(len(real))]),
    }


def test_they_are_the_published_ones():
    real, synthetic = normal(30), normal(20, mean=0.7, spread=0.8)
    expected = by_the_papers_sums(real, synthetic, NEIGHBOURS)
    assert NEIGHBOURS == 5
    for measure in (precision, recall, density, coverage):
        assert measure(real, synthetic) == pytest.approx(expected[measure.__name__]), measure.__name__


def test_the_same_distribution_scores_high_and_a_distant_one_zero():
    real, same, far = normal(), normal(), normal(mean=20)
    assert precision(real, same) > 0.9 and recall(real, same) > 0.9 and coverage(real, same) > 0.9
    assert density(real, same) == pytest.approx(1, abs=0.15) and retrieval(real, same) == pytest.approx(0.6, abs=0.06)
    for measure in MEASURES[:4]:
        assert measure(real, far) == 0, measure.__name__
    assert retrieval(real, far) < 0.1


def test_one_video_over_and_over_is_precise_and_covers_nothing():
    real = normal()
    collapsed = np.zeros((300, 4)) + 1e-3 * RNG.normal(size=(300, 4))
    assert precision(real, collapsed) == 1 and density(real, collapsed) > 0.5
    assert recall(real, collapsed) < 0.05 and coverage(real, collapsed) < 0.1 and retrieval(real, collapsed) < 0.02


def test_too_varied_videos_are_recalled_but_not_precise():
    real, wide = normal(), normal(spread=4.0)
    assert recall(real, wide) > 0.9 and precision(real, wide) < 0.6 and density(real, wide) < 0.5


def test_one_outlier_lifts_precision_and_not_density():
    """Why density is reported beside precision (Naeem et al. 2020, figure 2)."""
    real, strange = normal(), normal(mean=6.0)
    with_outlier = np.concatenate([real, np.full((1, 4), 9.0)])
    assert precision(real, strange) < 0.1 < 0.8 < precision(with_outlier, strange)
    assert density(with_outlier, strange) < 0.3


def test_few_vectors_take_fewer_neighbours():
    assert radii(normal(3)).shape == (3,)
    with pytest.raises(ValueError, match="at least two vectors"):
        radii(normal(1))


def test_all_are_taken_in_features_of_the_domain_network_and_known_to_the_catalogue(tmp_path):
    (domain, *_) = network_metrics(None, 0.9, tmp_path, 16)
    for measure in MEASURES:
        assert domain.distances[measure.__name__] is measure and CATALOGUE[measure.__name__].higher
    assert set(SHARES) == set(MEASURES) - {density}


def moved(positions):
    """A smooth texture that lies at these places (pixels to the right), uint8 (1, frames, 64, 64)."""
    texture = cv2.GaussianBlur(np.random.default_rng(0).random((64, 64)), (0, 0), 3)
    texture = 255 * (texture - texture.min()) / np.ptp(texture)
    shifts = [np.float32([[1, 0, x], [0, 1, 0]]) for x in positions]
    warped = [cv2.warpAffine(texture, shift, (64, 64), borderMode=cv2.BORDER_WRAP) for shift in shifts]
    return np.stack(warped)[None].round().astype(np.uint8)


def test_acceleration_is_that_of_the_motion_and_not_its_speed():
    time = np.arange(9)
    steady, faster = moved(time), moved(2 * time)
    jerky = moved(time + np.where(time % 2, 0.75, -0.75))  # steps of 2.5 and -0.5 pixels: 3 pixels a squared frame
    measure = motion.MEASURES["acceleration"]
    assert measure.of(steady)[0, 0] < 0.3 and measure.of(faster)[0, 0] < 0.6
    assert measure.of(jerky)[0, 0] == pytest.approx(3, rel=0.2)
    assert measure.distance(measure.of(steady), measure.of(jerky)) > 5 * measure.distance(
        measure.of(steady), measure.of(faster)
    )
    assert np.isnan(measure.of(steady[:, :2])).all()
