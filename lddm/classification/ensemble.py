"""Ensembles of classifiers that differ only in their seed; their mean prediction varies less."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch import nn

from lddm.classification.heads import Head
from lddm.classification.networks import Classifier
from lddm.classification.train import Inputs, train_classifier
from lddm.settings.models import Training
from lddm.training.identity import Identity
from lddm.training.state import remove_state

OnLog = Callable[[int, dict[str, float]], None]


def train_ensemble(
    entry: Classifier,
    training: Training,
    size: int,
    known: Inputs,
    held_out: Inputs,
    head: Head,
    seed: int,
    state: Path,
    on_log: OnLog,
    identity: Identity,
) -> list[nn.Module]:
    """Train `size` networks on the same examples.

    Args:
        known: labelled training examples.
        held_out: examples of validation patients, which choose the weights.
        head: head for the prediction task.
        seed: seed of the first network; the others use the following integers.
        state: folder of the resumable states, which the caller removes (`remove_ensemble_state`).
    """
    return [
        train_classifier(
            entry.build,
            training,
            known,
            None,
            held_out,
            0.0,
            seed + member,
            state / f"member-{member}",
            partial(_log_member, on_log, member),
            identity.extended(member=member),
            head,
        )
        for member in range(size)
    ]


def remove_ensemble_state(state: Path) -> None:
    """Remove the resumable states of `train_ensemble`."""
    remove_state(state, *(path.name for path in state.glob("member-*")))


def _log_member(on_log: OnLog, member: int, step: int, values: dict[str, float]) -> None:
    on_log(step, {f"member-{member}/{key}": value for key, value in values.items()})
