"""Training of one classifier, with the same number of steps in every regime regardless of the amount of data."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lddm.classification.heads import BINARY, Head
from lddm.settings.models import Training
from lddm.training.identity import Identity
from lddm.training.loop import train
from lddm.training.parallel import pick_device
from lddm.training.schedule import step_indices

logger = logging.getLogger(__name__)
# packages whose code is part of the identity of a training
PACKAGES = ("classification", "motion", "nn", "training", "data", "task")

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}  # memory format by number of dimensions of a batch
Inputs = tuple[np.ndarray, np.ndarray]  # float32 (n, C, ...), labels (n,)
NO_INPUTS: Inputs = (np.zeros(0, np.float32), np.zeros(0, np.int64))


class ClassifierTask:
    """Training task of a classifier with batches of real and added examples; implements `lddm.training.step.Task`."""

    def __init__(
        self,
        network: nn.Module,
        real: Inputs | None,
        added: Inputs | None,
        share: float,
        batch_size: int,
        seed: int,
        head: Head = BINARY,
    ):
        """
        Args:
            real: real examples; None for a regime without them.
            added: synthetic or augmented examples; None for a regime without them.
            share: share of added examples in a batch, if there are both.
        """
        self.networks: dict[str, nn.Module] = {"classifier": network}
        self.head = head
        added_size = batch_size if real is None else 0 if added is None else round(share * batch_size)
        sizes = ((real, batch_size - added_size), (added, added_size))
        self.parts = [
            (_balanced(examples, seed), size) for examples, size in sizes if examples is not None and size > 0
        ]
        self.seed, self.device = seed, pick_device()
        # Channels last speeds up the default classifiers by a third; inputs of other dimensions stay contiguous.
        inputs = self.parts[0][0][0]
        self.memory_format = CHANNELS_LAST.get(inputs.ndim, torch.contiguous_format)
        network.to(memory_format=self.memory_format)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([self.seed, step, 3])
        inputs, labels = [], []
        for place, ((x, y, order), size) in enumerate(self.parts):
            index = order[step_indices(len(order), size, self.seed + 1000 * place, step)]
            inputs.append(x[index])
            labels.append(y[index])
        batch = np.concatenate(inputs)
        flipped = rng.random(len(batch)) < 0.5
        batch[flipped] = batch[flipped][..., ::-1]
        images = torch.from_numpy(batch).to(self.device, memory_format=self.memory_format)
        return images, torch.from_numpy(np.concatenate(labels)).to(self.device)

    def loss(self, name: str, batch: tuple[Tensor, Tensor], step: int, rng: torch.Generator):
        inputs, labels = batch
        return self.head.loss(self.networks[name](inputs), labels), {}


def _balanced(examples: Inputs, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Examples, and an index that repeats rarer classes until all are equally frequent; targets are not balanced."""
    inputs, labels = examples
    if np.issubdtype(labels.dtype, np.floating):
        return inputs, labels, np.arange(len(labels))
    labels = labels.astype(np.int64)
    members = [np.flatnonzero(labels == value) for value in np.unique(labels)]
    most = max(len(m) for m in members)
    rng = np.random.default_rng([seed, 11])
    return inputs, labels, np.concatenate([np.concatenate([m, rng.choice(m, most - len(m))]) for m in members])


@torch.no_grad()
def predict(network: nn.Module, inputs: np.ndarray, batch_size: int = 32, head: Head = BINARY) -> np.ndarray:
    """Predict each clip, as `Head.predict`: float64 (n,) or (n, classes)."""
    device = next(network.parameters()).device
    logits = [
        network(torch.from_numpy(inputs[i : i + batch_size]).to(device)) for i in range(0, len(inputs), batch_size)
    ]
    return head.predict(torch.cat(logits))


def train_classifier(
    build: Callable[[int], nn.Module],
    training: Training,
    real: Inputs | None,
    added: Inputs | None,
    val: Inputs,
    share: float,
    seed: int,
    state_dir: Path,
    on_log: Callable[[int, dict[str, float]], None],
    identity: Identity | None = None,
    head: Head = BINARY,
) -> nn.Module:
    """Train with a seed and keep the weights with the lowest loss on validation patients, or the last ones without any.

    Args:
        val: labelled validation videos; empty with `split.validation_labels: within_budget`.
        state_dir: folder of the resumable state, which the caller removes once the result is written.
        identity: identity of the training, including data and labels; None as in `lddm.training.loop.train`.
        head: head for the prediction task.
    """
    torch.manual_seed(seed)  # initial weights
    network = build(head.outputs)
    task = ClassifierTask(network, real, added, share, training.batch_size, seed, head)

    def validate(networks: dict[str, nn.Module]) -> dict[str, float]:
        return head.validate(val[1], predict(networks["classifier"], val[0], head=head))

    chosen: dict[str, Any] = {"validate": validate, "keep_best": "loss"} if len(val[1]) else {}
    train(task, training, seed, state_dir, on_log, **chosen, identity=identity)
    return network
