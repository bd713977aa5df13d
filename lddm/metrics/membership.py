"""Rows of membership inference: AUC of a generator's loss for training patients against held-out patients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lddm.metrics.copy_search import CONTROL
from lddm.metrics.protocol import Protocol
from lddm.statistics.auc import weighted_auc
from lddm.statistics.estimate import estimate

METRIC, FEATURES = "membership_auc", "denoising loss"
RESAMPLES = 2000
NO_LOSS = "no denoising loss to attack: membership inference is for the latent diffusion model"


def membership_auc(loss: np.ndarray, member: np.ndarray, patients: np.ndarray, seed: int) -> tuple[float, float, float]:
    """AUC of the loss-threshold attack (a low loss indicates a member), with a 95 % interval over patients.

    Args:
        loss: float (n,), averaged over the latents of each patient.
        member: bool (n,); the same for all latents of a patient.
        patients: patient of each latent, (n,).
    """
    names, first, inverse = np.unique(patients.astype(str), return_index=True, return_inverse=True)
    score = -np.bincount(inverse, weights=loss) / np.bincount(inverse)
    of = member[first]
    found = estimate(
        lambda weights, *_: weighted_auc(of, score, weights), names, of.astype(int), resamples=RESAMPLES, seed=seed
    )
    return (found.value, *found.interval(0, 1))


def membership_rows(protocol: Protocol, attacks: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """One row for the generator and one for each control.

    Args:
        attacks: `lddm.synthesis.membership.Attack` by name, "" for the generator itself; None for a generator without a loss.
    """
    if attacks is None:
        yield from protocol.absent("heldout", (METRIC,), NO_LOSS)
        return
    for name, attack in attacks.items():
        numbers = membership_auc(attack.loss, attack.member, attack.patients, protocol.seed)
        counts = (int((~attack.member).sum()), int(attack.member.sum()))
        yield protocol.row("heldout", METRIC, FEATURES, CONTROL + name if name else "train", numbers, counts)
