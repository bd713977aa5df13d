"""Distances against independent code and known values."""

import numpy as np
import pytest
import scipy.linalg
from lddm.metrics.gaussian import Gaussian, frechet_of

from lddm.metrics.distances import (
    distance_interval,
    extrapolated,
    frechet,
    kernel_distance,
    mean_interval,
    members_of,
    resample,
    spectral_difference,
    total_variation,
    wasserstein,
)


def by_matrix_square_root(x, y):
    """The textbook route, for n > d."""
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(a @ b)
    return np.square(x.mean(0) - y.mean(0)).sum() + np.trace(a + b - 2 * np.real(root))


def test_frechet_agrees_with_the_matrix_square_root():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6))
    y = rng.normal(size=(150, 6)) * 2 + 1
    assert frechet(x, y) == pytest.approx(by_matrix_square_root(x, y), rel=1e-6)
    assert frechet(x, y) == pytest.approx(frechet(y, x), rel=1e-9)


def test_frechet_is_zero_for_equal_sets_and_holds_for_fewer_samples_than_dimensions():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(38, 400)), rng.normal(size=(38, 400))
    assert frechet(x, x.copy()) == 0.0
    assert frechet(x, x[::-1]) == pytest.approx(0, abs=1e-8)
    # Measured with scipy's square root and with this route (613.5 for such samples): almost all of it is bias.
    assert 560 < frechet(x, y) < 670
    # Gaussians on a line: (m1 - m2)^2 + (s1 - s2)^2.
    a, b = np.array([[0.0], [2.0]]), np.array([[5.0], [9.0]])
    assert frechet(a, b) == pytest.approx((7 - 1) ** 2 + (np.sqrt(8) - np.sqrt(2)) ** 2)


def test_kernel_distance_is_the_double_sum_and_unbiased():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(5, 3)) + 0.5

    def k(a, b):
        return (a @ b / 3 + 1) ** 3

    within_x = np.mean([k(x[i], x[j]) for i in range(7) for j in range(7) if i != j])
    within_y = np.mean([k(y[i], y[j]) for i in range(5) for j in range(5) if i != j])
    between = np.mean([k(a, b) for a in x for b in y])
    assert kernel_distance(x, y) == pytest.approx(within_x + within_y - 2 * between)
    draws = [kernel_distance(rng.normal(size=(20, 4)), rng.normal(size=(20, 4))) for _ in range(400)]
    assert abs(np.mean(draws)) < 4 * np.std(draws) / 20  # zero on average, so some are negative
    assert min(draws) < 0


def test_a_bootstrap_draws_whole_patients():
    groups = ["a", "a", "b", "c", "c", "c"]
    rng = np.random.default_rng(0)
    for _ in range(50):
        drawn = np.bincount(resample(members_of(groups), rng), minlength=6)
        assert drawn[0] == drawn[1] and drawn[3] == drawn[4] == drawn[5]


def test_intervals_hold_their_value_and_shrink_with_n():
    rng = np.random.default_rng(4)
    widths = []
    for n in (20, 320):
        x, y = rng.normal(size=(n, 2)), rng.normal(size=(n, 2)) + 1
        patients = (np.arange(n), np.arange(n))
        value, low, high = distance_interval(frechet, x, y, patients, 60, 0)
        assert low <= value <= high and low >= 0
        widths.append(high - low)
    assert widths[1] < 0.6 * widths[0]
    mean, low, high = mean_interval(np.arange(10.0), range(10), 500, 0)
    assert low < mean == 4.5 < high
    assert np.isnan(mean_interval(np.arange(3.0), range(3), 0, 0)[1])


@pytest.mark.parametrize("distance", [frechet, kernel_distance])
def test_an_interval_is_as_wide_as_the_value_moves_between_samples(distance):
    rng = np.random.default_rng(11)
    found, halves = [], []
    for seed in range(40):
        x, y = rng.normal(size=(80, 8)), rng.normal(size=(80, 8)) + 0.5
        value, _, high = distance_interval(distance, x, y, (range(80), range(80)), 40, seed)
        found.append(value), halves.append(high - value)
    assert 0.8 < np.mean(halves) / (1.96 * np.std(found, ddof=1)) < 1.6


def test_what_is_no_set_of_features_is_refused():
    with pytest.raises(ValueError, match="n >= 2"):
        frechet(np.zeros((1, 3)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match="finite"):
        frechet(np.full((3, 3), np.nan), np.zeros((5, 3)))
    assert wasserstein(np.array([0.0, 1.0]), np.array([2.0, 3.0])) == pytest.approx(2)


def test_one_pass_over_shards_is_numpys_covariance():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(500, 7)) * 1e-3 + 1e4  # a plain sum of squares would lose all digits
    shards = [Gaussian.of(np.array_split(part, 3)) for part in np.split(x, [10, 11, 300])]
    whole = shards[2] + (shards[0] + shards[3]) + shards[1]
    assert whole.n == 500 and np.allclose(whole.mean, x.mean(axis=0), rtol=1e-12)
    assert np.allclose(whole.covariance, np.cov(x, rowvar=False), rtol=1e-4, atol=1e-10)
    with pytest.raises(ValueError, match="no features"):
        Gaussian.of([])
    with pytest.raises(ValueError, match="two vectors"):
        _ = Gaussian.of([x[:1]]).covariance


@pytest.mark.parametrize("n", [9, 80])  # fewer and more than dimensions
def test_frechet_of_streamed_statistics_is_that_of_the_features(n):
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(n, 20)), rng.normal(size=(n + 3, 20)) * 1.5 + 0.2
    a, b = (Gaussian.of(np.array_split(v, 4)) for v in (x, y))
    assert frechet_of(a, b) == pytest.approx(frechet(x, y), rel=1e-6)


@pytest.mark.parametrize(("d", "counts"), [(16, (300, 250)), (400, (600, 500))])  # of a toy, and of the logits of FVD
def test_distances_agree_with_torch_fidelity(d, counts):
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric

    rng = np.random.default_rng(7)
    scale = 1 / np.arange(1, d + 1) ** 0.5  # features of networks are far from white
    x, y = rng.normal(size=(counts[0], d)) * scale, rng.normal(size=(counts[1], d)) * 1.3 * scale + 0.1
    statistics = [fid_features_to_statistics(torch.from_numpy(v)) for v in (x, y)]
    theirs = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet(x, y) == pytest.approx(theirs, rel=1e-3)
    assert frechet_of(Gaussian.of([x]), Gaussian.of([y])) == pytest.approx(theirs, rel=1e-3)
    n = counts[1]
    theirs = kid_features_to_metric(
        *map(torch.from_numpy, (x[:n], y)), kid_subsets=1, kid_subset_size=n, verbose=False, rng_seed=0
    )["kernel_inception_distance_mean"]
    assert kernel_distance(x[:n], y) == pytest.approx(theirs, rel=1e-3)


def test_frechet_of_few_features_is_that_of_the_symmetric_square_root():
    """38 videos of 400 logits: tr (C1 C2)^(1/2) by the eigenvalues of C1^(1/2) C2 C1^(1/2), which rank does not disturb."""
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=(38, 400)), rng.normal(size=(45, 400)) * 1.4 + 0.3
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    values, vectors = np.linalg.eigh(a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ b @ root), 0)).sum()
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(a + b) - 2 * cross
    assert frechet(x, y) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("n", [5, 40])  # fewer and more than dimensions
def test_equal_sets_are_no_distance_apart(n):
    x = np.random.default_rng(10).normal(size=(n, 12)) * 1e3 + 7
    assert frechet(x, x.copy()) == 0.0
    assert frechet_of(Gaussian.of([x]), Gaussian.of([x.copy()])) == 0.0
    # The unbiased estimate leaves out the pairs of a vector with itself, which equal sets have in between: it is below 0.
    assert kernel_distance(x, x.copy()) < 0


def test_extrapolation_takes_out_the_bias_of_few_samples():
    rng = np.random.default_rng(8)
    pairs = [(rng.normal(size=(200, 8)), rng.normal(size=(200, 8))) for _ in range(8)]
    plain = np.mean([frechet(x, y) for x, y in pairs])
    free = np.mean([extrapolated(frechet, x, y, 0) for x, y in pairs])
    assert plain > 0.1 and abs(free) < 0.35 * plain  # the truth is zero
    with pytest.raises(ValueError, match="2 d = 16"):
        extrapolated(frechet, pairs[0][0][:15], pairs[0][1], 0)


def test_histograms_and_spectra_of_known_distance():
    assert total_variation(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.0]])) == pytest.approx(0.5)
    one = np.array([[1.0, 0.1]])
    assert spectral_difference(one, 10 * one) == pytest.approx(10)
    assert spectral_difference(one, np.array([[1.0, 0.01]])) == pytest.approx(5)
