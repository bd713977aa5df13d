"""Distances against independent implementations and known values."""

import numpy as np
import pytest
import scipy.linalg
from scipy.stats import t as student_t

from lddm.metrics.distances import (
    extrapolated,
    frechet,
    jedi,
    jedi_unbiased,
    kernel_distance,
    spectral_difference,
    total_variation,
    wasserstein,
)
from lddm.statistics.jackknife import interval, jackknife_groups, leave_out, standard_error
from lddm.statistics.resampling import halves, members_of, resample


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


def paired_halves(distance, real, made, seed=0):
    """Distance between halves of the same patients, and its values without each group of patients."""
    patients = np.arange(len(real)).astype(str)
    (side,) = halves(patients, np.arange(len(real)) % 2, seed, 1)
    groups = jackknife_groups(patients, seed)
    members = np.array([groups[name] for name in patients])

    def mean(keep, also):
        return np.mean([distance(real[~half & keep], made[half & also]) for half in (side, ~side)])

    everyone = np.ones(len(real), dtype=bool)
    return mean(everyone, everyone), leave_out(mean, members, members)


def test_halves_divide_patients_and_balance_classes():
    patients = np.array([f"p{i // 2}" for i in range(44)])
    labels = np.repeat([0, 1, 1, 0], 11)[np.arange(44) // 2 * 2]  # one class per patient
    masks = halves(patients, labels, 0)
    assert len(masks) == 3 and len({mask.tobytes() for mask in masks}) == 3
    for mask in masks:
        assert not set(patients[mask]) & set(patients[~mask])
        for label in (0, 1):
            counts = [len(set(patients[side & (labels == label)])) for side in (mask, ~mask)]
            assert abs(counts[0] - counts[1]) <= 1
    assert all(np.array_equal(a, b) for a, b in zip(masks, halves(patients, labels, 0), strict=True))


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=20)
    groups = np.arange(20)
    without = leave_out(lambda keep, _: values[keep].mean(), groups, groups)
    assert standard_error(without) == pytest.approx(values.std(ddof=1) / np.sqrt(20))
    value, low, high = interval(values.mean(), without)
    assert low < value < high and interval(0.01, without, 0.0)[1] == 0
    assert np.isnan(standard_error(without[:1]))
    assert set(jackknife_groups(np.arange(50), 0).values()) == set(range(20))


@pytest.mark.parametrize("distance", [frechet, kernel_distance])
def test_an_interval_is_as_wide_as_the_value_moves_between_samples(distance):
    rng = np.random.default_rng(11)
    found, errors = [], []
    for seed in range(40):
        value, without = paired_halves(distance, rng.normal(size=(80, 4)), rng.normal(size=(80, 4)) + 0.7, seed)
        found.append(value), errors.append(standard_error(without))
    assert 0.8 < np.mean(errors) / np.std(found, ddof=1) < 1.5


def test_paired_sets_omit_the_same_patients():
    """A reconstruction follows its patients: drawn independently, the error was five times that of the value."""
    rng = np.random.default_rng(12)
    real = rng.normal(size=(60, 3))
    rebuilt = 1.02 * real + 0.05 * rng.normal(size=(60, 3))
    groups = np.arange(60) % 20
    joint = leave_out(lambda i, j: frechet(real[i], rebuilt[j]), groups, groups)
    apart = leave_out(lambda i, j: frechet(real[i], rebuilt[j]), groups, groups + 20)
    assert standard_error(joint) < 0.4 * standard_error(apart)


def test_a_true_null_between_two_generators_is_rejected_as_often_as_stated():
    """And a difference of generators that share their patients has a smaller error than that of either."""
    rng, rejected = np.random.default_rng(13), 0
    for seed in range(100):
        real = rng.normal(size=(60, 2))
        (one, first), (two, second) = (
            paired_halves(frechet, real, real + 0.8 + 0.5 * rng.normal(size=(60, 2)), seed) for _ in range(2)
        )
        rejected += abs(one - two) > student_t.ppf(0.975, 19) * standard_error(first - second)
    assert 0.01 <= rejected / 100 <= 0.09


def test_invalid_feature_sets_are_rejected():
    with pytest.raises(ValueError, match="n >= 2"):
        frechet(np.zeros((1, 3)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match="finite"):
        frechet(np.full((3, 3), np.nan), np.zeros((5, 3)))
    assert wasserstein(np.array([0.0, 1.0]), np.array([2.0, 3.0])) == pytest.approx(2)


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


def test_jedi_is_the_published_form_and_its_unbiased_one_has_no_floor():
    from sklearn.metrics.pairwise import polynomial_kernel

    rng = np.random.default_rng(0)
    x, y = rng.normal(0.3, 1, (30, 8)), rng.normal(0, 1, (20, 8))
    xx, yy, xy = (polynomial_kernel(a, b, degree=2, coef0=0) for a, b in ((x, x), (y, y), (x, y)))
    assert jedi(x, y) == pytest.approx(100 * (xx.mean() + yy.mean() - 2 * xy.mean()))
    same = [
        [distance(*rng.normal(size=(2, n, 8))) for _ in range(200)]
        for n in (10, 40)
        for distance in (jedi, jedi_unbiased)
    ]
    biased, unbiased, biased_40, unbiased_40 = (np.mean(values) for values in same)
    assert 3 < biased / biased_40 < 5  # about 1 / n
    assert abs(unbiased) < 0.1 * biased and abs(unbiased_40) < 0.1 * biased_40
