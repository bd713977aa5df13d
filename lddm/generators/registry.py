"""The generators by name. Each is imported when it is used: some bring libraries that take seconds to import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lddm.errors import LddmError

Loaded = tuple[type[Any], Callable[..., None]]


@dataclass(frozen=True)
class Entry:
    """A generator.

    Attributes:
        load: imports its class (a `lddm.generators.base.Generator`) and the function that trains it, with the arguments of
            `lddm.generators.trainer.LatentTrainer.fit`.
        section: the settings section of its training, or None.
    """

    load: Callable[[], Loaded]
    section: str | None = None

    @property
    def model(self) -> type[Any]:
        """The class."""
        return self.load()[0]

    @property
    def fit(self) -> Callable[..., None]:
        """The function that trains it."""
        return self.load()[1]


def _lddm() -> Loaded:
    from lddm.generators.diffusion.train import DiffusionTrainer

    return DiffusionTrainer.model_type, DiffusionTrainer.fit


def _cinn() -> Loaded:
    from lddm.generators.cinn import FlowTrainer

    return FlowTrainer.model_type, FlowTrainer.fit


def _gaussian() -> Loaded:
    from lddm.generators.gaussian import ConditionalGaussian, fit_gaussian

    return ConditionalGaussian, fit_gaussian


def _pixel() -> Loaded:
    from lddm.generators.pixel import PixelDiffusion, fit_pixel

    return PixelDiffusion, fit_pixel


def _motion_transfer() -> Loaded:
    from lddm.generators.motion_transfer import MotionTransfer, fit_motion_transfer

    return MotionTransfer, fit_motion_transfer


def _static() -> Loaded:
    from lddm.generators.static import Static, fit_static

    return Static, fit_static


GENERATORS = {
    "lddm": Entry(_lddm, "diffusion"),
    "cinn": Entry(_cinn, "cinn"),
    "gaussian": Entry(_gaussian, "gaussian"),
    "pixel": Entry(_pixel, "pixel"),
    "motion_transfer": Entry(_motion_transfer),
    "static": Entry(_static),
}


def find_generator(name: str, where: str = "") -> Entry:
    """The entry of a generator.

    Raises:
        LddmError: there is none of that name.
    """
    if name not in GENERATORS:
        raise LddmError(f"{where}unknown generator '{name}'", f"expected one of {', '.join(GENERATORS)}")
    return GENERATORS[name]
