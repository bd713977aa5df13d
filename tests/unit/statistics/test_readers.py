"""Readers and cases: known values, and coverage of the interval of a difference."""

import numpy as np
import pytest
from scipy.stats import norm

from lddm.statistics.auc import auc_standard_error, delong_components
from lddm.statistics.readers import chance_p_value, obuchowski_rockette


def ratings(rng, gain, readers=4, cases=50):
    """Simulated ratings after Roe and Metz 1997: cases, readers and their meeting vary."""
    labels = np.arange(cases) % 2
    case, case_reader = rng.normal(0, 0.7, cases), rng.normal(0, 0.4, (readers, cases))
    reader = rng.normal(0, 0.15, (readers, 1))
    arms = []
    for more in (0.0, gain):
        own = rng.normal(0, 0.15, (readers, 1))
        separation = 1.2 + more + reader + own
        arms.append(labels * separation + case + case_reader + rng.normal(0, 0.5, (readers, cases)))
    return np.stack(arms), labels


def test_the_interval_over_readers_and_cases_covers_the_truth():
    rng = np.random.default_rng(0)
    spread = np.sqrt(2 * (0.7**2 + 0.4**2 + 0.5**2) + 2 * 0.15**2)
    truth = norm.cdf(1.6 / spread) - norm.cdf(1.2 / spread)
    covered, studies = 0, 400
    for _ in range(studies):
        found = obuchowski_rockette(*ratings(rng, 0.4))
        covered += found.low <= truth <= found.high
    assert 0.93 <= covered / studies <= 0.975


def test_equal_arms_have_zero_difference_and_identical_readers_the_delong_error():
    rng = np.random.default_rng(1)
    both, labels = ratings(rng, 0.0)
    same = obuchowski_rockette(np.stack([both[0], both[0]]), labels)
    assert same.value == 0 and same.p == pytest.approx(1)
    alike = np.repeat(both[:1, :1], 3, axis=1).repeat(2, axis=0)  # three times the same reader
    low, high = obuchowski_rockette(alike, labels).limits[0]
    error = auc_standard_error(delong_components(labels, both[0, 0]), np.arange(50))
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.05)


def test_too_few_readers_are_rejected_and_chance_is_tested_exactly():
    both, labels = ratings(np.random.default_rng(2), 0.0, readers=1)
    with pytest.raises(ValueError, match="two readers"):
        obuchowski_rockette(both, labels)
    assert chance_p_value(10, 10) == pytest.approx(2 / 1024) and chance_p_value(5, 10) == 1
