"""Heads of the classifiers: number of outputs, loss, and conversion of outputs to predictions, per type of label.

* binary: one logit; cross-entropy; probability of the positive class.
* classes: one logit per class; softmax cross-entropy; one probability per class.
* ordinal: one logit per step between neighbouring classes, the log-odds of y > k given y >= k (CORN, Shi, Cao & Raschka,
  Pattern Analysis and Applications 2023), so that probabilities are consistent without a constraint.
* regression: one number, standardised by the standard deviation of a uniform distribution over the range; Huber loss, which
  is robust to single wrong targets.
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
    """Binary head with one logit, and base class of the other heads.

    Attributes:
        task: prediction task.
    """

    task: Task

    @property
    def outputs(self) -> int:
        """Number of outputs of the network."""
        return 1

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of outputs float (B, outputs) and labels (B,): scalar."""
        return F.binary_cross_entropy_with_logits(outputs[:, 0], labels.float())

    def predict(self, outputs: Tensor) -> np.ndarray:
        """Convert outputs float (n, outputs) to predictions float64.

        Shape (n,) for the probability of the positive class and for targets, (n, classes) for class probabilities."""
        return outputs[:, 0].double().sigmoid().cpu().numpy()

    def validate(self, labels: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
        """Validation values of examples; `loss` chooses the weights."""
        clipped = np.clip(predicted, 1e-7, 1 - 1e-7)
        loss = -np.mean(np.where(labels == 1, np.log(clipped), np.log(1 - clipped)))
        return {"loss": float(loss), "auc": area_under_curve(labels, predicted)}


class SoftmaxHead(Head):
    """Multi-class head with one logit per class."""

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
    """Ordinal head with one logit per step between neighbouring classes (CORN)."""

    @property
    def outputs(self) -> int:
        """As `Head.outputs`."""
        return len(self.task.classes) - 1

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """CORN loss: binary cross-entropy of y > k over all pairs of an example and a step k with y >= k."""
        steps = torch.arange(outputs.shape[1], device=outputs.device)
        asked = labels[:, None] >= steps  # step k is trained on examples with y >= k
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
    """Regression head with one output."""

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
    """Build the head for a task."""
    return HEADS[task.kind](task)
