"""What a classifier gives for each kind of label: its outputs, its loss, and how outputs become predictions.

The networks are the same; a head says how many numbers they give and what these mean:

* binary: one logit; cross-entropy; the probability of the positive class.
* classes: a logit per class; cross-entropy of the softmax; a probability per class.
* ordinal: a logit per step from one class to the next, log-odds of being above k given that one is not below it (CORN, Shi,
  Cao & Raschka, Pattern Analysis and Applications 2023); so probabilities are consistent without a constraint.
* regression: one number, in standard deviations of a uniform distribution over the range; Huber loss, since single targets may
  be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lddm.classification.multiclass import class_log_loss, macro_auc
from lddm.statistics.auc import area_under_curve
from lddm.task import Task


@dataclass(frozen=True)
class Head:
    """One logit for two classes, and what the other heads share.

    Attributes:
        task: what a label is.
    """

    task: Task

    @property
    def outputs(self) -> int:
        """How many numbers the network gives."""
        return 1

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """outputs float (B, outputs), labels (B,) -> ()."""
        return F.binary_cross_entropy_with_logits(outputs[:, 0], labels.float())

    def predict(self, outputs: Tensor) -> np.ndarray:
        """outputs float (n, outputs) -> float64: (n,) for the probability of the positive class and for targets, (n, classes)
        for probabilities."""
        return outputs[:, 0].double().sigmoid().cpu().numpy()

    def validate(self, labels: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
        """Values of validation examples; `loss` chooses the weights."""
        clipped = np.clip(predicted, 1e-7, 1 - 1e-7)
        loss = -np.mean(np.where(labels == 1, np.log(clipped), np.log(1 - clipped)))
        return {"loss": float(loss), "auc": area_under_curve(labels, predicted)}


class SoftmaxHead(Head):
    """A logit per class."""

    @property
    def outputs(self) -> int:
        """As `Head.outputs`."""
        return len(self.task.classes)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """As `Head.loss`."""
        return F.cross_entropy(outputs, labels)

    def predict(self, outputs: Tensor) -> np.ndarray:
        """As `Head.predict`."""
        return outputs.double().softmax(dim=1).cpu().numpy()

    def validate(self, labels: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
        """As `Head.validate`."""
        return {"loss": class_log_loss(labels, predicted), "auc_macro": macro_auc(labels, predicted)}


class OrdinalHead(SoftmaxHead):
    """A logit per step between neighbouring classes."""

    @property
    def outputs(self) -> int:
        """As `Head.outputs`."""
        return len(self.task.classes) - 1

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Mean over the examples of each step that are not below it, summed over steps and divided by all of these."""
        steps = torch.arange(outputs.shape[1], device=outputs.device)
        asked = labels[:, None] >= steps  # the question "above k?" is put to those that are k or above
        above = (labels[:, None] > steps).to(outputs)
        each = F.binary_cross_entropy_with_logits(outputs, above, reduction="none")
        return (each * asked).sum() / asked.sum()

    def predict(self, outputs: Tensor) -> np.ndarray:
        """As `Head.predict`: P(y > k) is the product of the conditional probabilities up to k."""
        above = outputs.double().sigmoid().cumprod(dim=1)  # (n, classes - 1)
        edge = above.new_ones(len(above), 1)
        bounds = torch.cat([edge, above, 0 * edge], dim=1)
        return (bounds[:, :-1] - bounds[:, 1:]).cpu().numpy()


class RegressionHead(Head):
    """One number."""

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """As `Head.loss`."""
        return F.smooth_l1_loss(outputs[:, 0], ((labels - self._centre) / self._scale).to(outputs))

    def predict(self, outputs: Tensor) -> np.ndarray:
        """As `Head.predict`: targets in their unit."""
        return (outputs[:, 0].double() * self._scale + self._centre).cpu().numpy()

    def validate(self, labels: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
        """As `Head.validate`; `mae` in the unit of the target."""
        error = torch.from_numpy((predicted - labels) / self._scale)
        loss = F.smooth_l1_loss(error, torch.zeros_like(error))
        return {"loss": float(loss), "mae": float(np.abs(labels - predicted).mean())}

    @property
    def _centre(self) -> float:
        return (self.task.low + self.task.high) / 2

    @property
    def _scale(self) -> float:
        return (self.task.high - self.task.low) / np.sqrt(12)


HEADS: dict[str, type[Head]] = {
    "binary": Head,
    "classes": SoftmaxHead,
    "ordinal": OrdinalHead,
    "regression": RegressionHead,
}
BINARY = Head(Task())


def head_of(task: Task) -> Head:
    """The head for a task."""
    return HEADS[task.kind](task)
