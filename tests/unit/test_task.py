"""What a label is, in words and back."""

import math

import numpy as np
import pytest

from lddm.errors import LddmError
from lddm.task import Task, level_names, levels

EF = Task("regression", (), "ejection fraction", "%", 0.0, 100.0)
LUNG = Task("ordinal", ("normal", "mild", "severe"))


def test_labels_are_shown_and_read_back_by_class_name_or_with_the_unit():
    assert [LUNG.show(label) for label in (0, 2, -1)] == ["normal", "severe", "unknown"]
    assert LUNG.check("mild") == 1 and LUNG.check(2) == 2 and LUNG.check(None) == -1
    assert EF.show(35.25) == "35.2 %" and EF.show(math.nan) == "unknown"
    assert EF.check("35") == 35.0 and math.isnan(EF.check(None))


@pytest.mark.parametrize(
    ("task", "label", "message", "hint"),
    [
        (LUNG, "bad", "unknown class 'bad'", "normal, mild, severe"),
        (LUNG, 3, "label 3 is out of range", "to 2"),
        (EF, 120, "ejection fraction 120 % is out of range", "ejection fraction from 0 to 100 %"),
        (EF, "mild", "'mild' is not a number", "ejection fraction from 0 to 100 %"),
    ],
)
def test_errors_name_the_class_or_the_unit(task, label, message, hint):
    with pytest.raises(LddmError) as caught:
        task.check(label)
    assert message in caught.value.message and hint in caught.value.hint


@pytest.mark.parametrize("task", [Task(), LUNG, EF])
def test_the_meta_of_a_store_carries_the_task(task):
    assert Task.of_meta(task.to_meta() | {"size": 64}) == task


def test_a_store_that_names_no_task_has_classes():
    assert Task.of_meta({"classes": ["a", "b"]}) == Task("binary", ("a", "b"))


def test_quartiles_are_named_by_their_span_and_unit():
    values = np.array([10.0, 12, 30, 33, 50, 55, 70, 71, np.nan])
    assert level_names(values, EF)[0] == "ejection fraction 10 % to 12 %" and len(level_names(values, EF)) == 4
    assert level_names(np.array([0, 2]), LUNG) == ["normal", "mild", "severe"]


def test_levels_are_classes_or_quartiles():
    assert levels(np.array([2, 0, -1])).tolist() == [2, 0, -1]
    values = np.random.default_rng(0).permutation(40).astype(float)
    level = levels(values)
    assert np.bincount(level).tolist() == [10] * 4
    assert values[level == 0].max() < values[level == 1].min()
    assert levels(np.array([1.0, 1.0, 1.0, 5.0, np.nan])).tolist() == [0, 0, 0, 1, -1]  # equal numbers stay together
