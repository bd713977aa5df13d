"""Training progress stored in a resumable state: the best validation value and the skipped steps."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lddm.errors import LddmError

logger = logging.getLogger(__name__)
Values = Mapping[str, Tensor] | Mapping[str, float]  # scalars by network
MOST_SKIPPED = 10  # consecutive skipped steps that stop a run, since training has then diverged


class Progress:
    """Progress of a run.

    Attributes:
        best_value: smallest validation value so far, infinite before the first.
        best_step: optimiser step of the best value.
        skipped: total number of steps that were not finite.
        in_a_row: number of consecutive skipped steps up to the last step.
    """

    def __init__(self, best_value: float | None = None, best_step: int = 0, skipped: int = 0, in_a_row: int = 0):
        self.best_value = math.inf if best_value is None else best_value
        self.best_step, self.skipped, self.in_a_row = best_step, skipped, in_a_row

    def to_dict(self) -> dict[str, Any]:
        """JSON form; `Progress(**d)` is its inverse."""
        best_value = self.best_value if math.isfinite(self.best_value) else None
        return vars(self) | {"best_value": best_value}

    def to_log(self) -> dict[str, float]:
        """Total number of skipped steps, if there are any."""
        return {"skipped_steps": float(self.skipped)} if self.skipped else {}

    def skip(self, step: int, steps: int, losses: Values, norms: Values) -> None:
        """Count a step that is not finite.

        Args:
            step: its number, from 0.
            steps: number of steps of the run.
            losses, norms: scalars by network, some of them not finite.

        Raises:
            LddmError: too many consecutive steps, or no step of the run, was finite.
        """
        self.skipped += 1
        self.in_a_row += 1
        said = _values(losses, norms)
        logger.warning("step %d skipped: loss or gradient is not finite (%s)", step + 1, said)
        self._check(self.in_a_row, step + 1, steps, said)

    def skip_several(self, count: int, most: int, last: int, steps: int, losses: Values, norms: Values) -> None:
        """Add skipped steps counted on the device; the caller sets `in_a_row`.

        Args:
            count: number of skipped steps.
            most: largest number of consecutive ones.
            last: number of the last one, from 1.
            steps: number of steps of the run.
            losses, norms: values of the last one.

        Raises:
            LddmError: as in `skip`.
        """
        self.skipped += count
        said = _values(losses, norms)
        logger.warning("%d steps skipped: loss or gradient is not finite (last: step %d, %s)", count, last, said)
        self._check(most, last, steps, said)

    @staticmethod
    def _check(in_a_row: int, last: int, steps: int, said: str) -> None:
        if in_a_row >= min(MOST_SKIPPED, steps):
            raise LddmError(
                f"{in_a_row} steps in a row, up to step {last}, are not finite ({said})",
                "lower training.learning_rate or set training.precision: 'no' (training then restarts from the "
                "beginning); with the same settings it stops at the same step again",
            )


def _values(losses: Values, norms: Values) -> str:
    return ", ".join(f"{name}: loss {float(losses[name]):g}, gradient norm {float(norms[name]):g}" for name in losses)
