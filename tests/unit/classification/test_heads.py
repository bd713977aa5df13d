"""Outputs, losses and predictions for each type of label."""

import numpy as np
import pytest
import torch

from lddm.classification.heads import head_of
from lddm.task import Task

CLASSES = ("none", "some", "much", "most")
ORDINAL, SEVERAL = Task("ordinal", CLASSES), Task("classes", CLASSES)
NUMBER = Task("regression", (), "age", "years", 20.0, 80.0)


def fitted(task, labels):
    """Predictions of free outputs, one row per example, after gradient descent on the head's loss."""
    head = head_of(task)
    outputs = torch.zeros(len(labels), head.outputs, requires_grad=True)
    optimiser = torch.optim.Adam([outputs], lr=0.2)
    for _ in range(200):
        optimiser.zero_grad()
        head.loss(outputs, torch.from_numpy(labels)).backward()
        optimiser.step()
    return head.predict(outputs.detach())


@pytest.mark.parametrize("task", [SEVERAL, ORDINAL])
def test_the_minimum_of_the_loss_is_the_true_class(task):
    labels = np.arange(4).repeat(2)
    probability = fitted(task, labels)
    assert probability.shape == (8, 4) and np.allclose(probability.sum(axis=1), 1)
    assert (probability.argmax(axis=1) == labels).all() and probability.max(axis=1).min() > 0.9


def test_the_minimum_of_the_loss_is_the_true_number_in_its_unit():
    targets = np.array([20.0, 33.0, 80.0])
    assert np.allclose(fitted(NUMBER, targets), targets, atol=0.5)


def test_an_outlier_moves_a_mean_less_than_with_squared_errors():
    head = head_of(NUMBER)
    output = torch.zeros(1, 1, requires_grad=True)
    targets = torch.tensor([50.0] * 9 + [1e4])
    optimiser = torch.optim.Adam([output], lr=0.05)
    for _ in range(500):
        optimiser.zero_grad()
        head.loss(output.expand(10, 1), targets).backward()
        optimiser.step()
    assert head.predict(output.detach())[0] < 60  # the mean is 1045


def test_ordinal_probabilities_are_consistent_whatever_the_outputs():
    outputs = torch.randn(100, 3, generator=torch.Generator().manual_seed(0)) * 5
    probability = head_of(ORDINAL).predict(outputs)
    assert (probability >= 0).all() and np.allclose(probability.sum(axis=1), 1)
    # P(y > 0) is the first conditional probability, P(y > 1) is it times the second
    conditional = outputs.double().sigmoid().numpy()
    assert np.allclose(1 - probability[:, 0], conditional[:, 0])
    assert np.allclose(probability[:, 2:].sum(axis=1), conditional[:, 0] * conditional[:, 1])


def test_a_softmax_of_two_classes_is_the_sigmoid_of_their_difference():
    outputs = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    several = head_of(Task("classes", ("a", "b"))).predict(outputs)[:, 1]
    binary = head_of(Task()).predict(outputs[:, 1:] - outputs[:, :1])
    assert np.allclose(several, binary)


def test_validation_values_are_those_of_the_predictions():
    labels = np.array([0, 1, 2, 3])
    sure = np.eye(4) * 0.96 + 0.01
    values = head_of(SEVERAL).validate(labels, sure)
    assert values["auc_macro"] == 1 and values["loss"] == pytest.approx(-np.log(0.97))
    numbers = head_of(NUMBER).validate(np.array([30.0, 50.0]), np.array([33.0, 51.0]))
    assert numbers["mae"] == pytest.approx(2)
