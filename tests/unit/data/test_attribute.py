"""p(attribute | label): what is drawn for a label, and what few labels are refused."""

import json
import math

import numpy as np
import pytest

from lddm.data.attribute import STREAM, Attribute, AttributePrior, load_attribute, save_attribute
from lddm.errors import LddmError
from lddm.task import Task

BINARY = Task()
EF = Task("regression", (), "ejection fraction", "%", 0.0, 100.0)
LABELS = np.array([0, 0, 0, 1, 1, 1])
VALUES = np.array([-1.0, -0.8, 0.2, 0.5, 1.1, 1.4])
VIDEOS = list("abcdef")


def prior(smoothing=0.5, values=VALUES, labels=LABELS, videos=VIDEOS, task=BINARY):
    return AttributePrior.fit(labels, values, videos, smoothing, task)


def drawn(one, label, count=20000):
    rng = np.random.default_rng(0)
    return np.array([one.draw(label, rng) for _ in range(count)])


@pytest.mark.parametrize("smoothing", [0.0, 0.5, 1.0])
def test_draws_have_the_mean_and_the_variance_of_the_labelled_clips_whatever_the_smoothing(smoothing):
    found = drawn(prior(smoothing), 1)
    assert found.mean() == pytest.approx(VALUES[3:].mean(), abs=0.02)
    assert found.std() == pytest.approx(VALUES[3:].std(), abs=0.02)


def test_without_smoothing_only_values_of_the_class_are_drawn_and_with_it_others_too():
    assert set(drawn(prior(0.0), 0, 100).round(9)) == {-1.0, -0.8, 0.2}
    assert len(set(drawn(prior(0.3), 0, 100).round(9))) == 100


def test_a_video_with_many_clips_counts_once():
    values, labels = np.r_[VALUES, np.full(30, 2.0)], np.r_[LABELS, np.ones(30, int)]
    more = prior(0.0, values, labels, VIDEOS + ["g"] * 30)
    assert more.centre(1) == pytest.approx(np.r_[VALUES[3:], 2.0].mean())
    assert (drawn(more, 1, 4000) == 2.0).mean() == pytest.approx(0.25, abs=0.03)


def test_the_centre_of_a_number_lies_on_a_line():
    numbers = np.array([20.0, 40.0, 60.0, 80.0, 30.0, 50.0])
    noise = np.array([0.1, -0.1, -0.1, 0.1, 0.0, 0.0])
    one = prior(0.5, 0.05 * numbers - 2 + noise, numbers, task=EF)
    assert one.centre(50.0) == pytest.approx(0.5, abs=0.02)
    assert drawn(one, 70.0, 4000).mean() == pytest.approx(one.centre(70.0), abs=0.02)
    assert 0.97 < one.explained() < 1


def test_explained_variance_is_that_between_the_classes():
    assert prior(values=np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])).explained() == pytest.approx(1)
    assert prior(values=np.array([1.0, 2.0, 3.0, 1.0, 2.0, 3.0])).explained() == pytest.approx(0)


def test_an_unknown_label_has_no_value_and_an_exact_prior_gives_the_label():
    rng = np.random.default_rng(0)
    assert math.isnan(prior().draw(-1, rng)) and math.isnan(prior().draw(math.nan, rng))
    assert AttributePrior(exact=True).draw(1.0, rng) == 1.0
    assert AttributePrior(numbers=True, exact=True).draw(35.0, rng) == 35.0


def test_few_labels_are_refused_with_the_name_of_the_class():
    with pytest.raises(LddmError, match=r"p\(attribute \| malignant\) needs 2 labelled training videos, there are 1"):
        prior(labels=np.array([0, 0, 0, 0, 1, 1]), videos=list("abcdee"))
    with pytest.raises(LddmError, match=r"p\(attribute \| ejection fraction\) needs 3 labelled numbers, there are 2"):
        prior(labels=np.array([30.0, 30.0, 30.0, 60.0, 60.0, 60.0]), task=EF)


def test_an_attribute_draws_the_same_for_the_same_seed_within_its_range_and_survives_a_file(tmp_path):
    one = Attribute("strain_ratio", "ratio", 1.0, 2.0, -0.9, 0.9, prior())
    save_attribute(tmp_path / "attribute.json", one, {"v@0": 0.25})
    again, values = load_attribute(tmp_path / "attribute.json")
    assert again == one and values == {"v@0": 0.25}
    found = [one.draw(label, seed) for label in (0, 1) for seed in range(200)]
    assert found == [again.draw(label, seed) for label in (0, 1) for seed in range(200)]
    assert min(found) == -0.9 and max(found) == 0.9 and len(set(found)) > 100
    assert one.draw(1, 5) == np.clip(prior().draw(1.0, np.random.default_rng([5, STREAM])), -0.9, 0.9)
    assert one.task.target_range == (-0.9, 0.9)


def test_a_damaged_file_names_the_rule(tmp_path):
    (tmp_path / "attribute.json").write_text(json.dumps({"clips": {}}))
    with pytest.raises(LddmError, match="attribute.json cannot be read") as error:
        load_attribute(tmp_path / "attribute.json")
    assert "measure_attribute" in error.value.hint
