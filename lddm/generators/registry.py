"""Registry of the generators by name. Each is imported on first use, since some libraries take seconds to import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lddm.errors import LddmError

Loaded = tuple[type[Any], Callable[..., None]]


@dataclass(frozen=True)
class Entry:
    """Registry entry of a generator.

    Attributes:
        load: imports and returns the class (a `lddm.generators.base.Generator`) and the function that trains it, which takes
            the arguments of `lddm.generators.trainer.LatentTrainer.fit`.
        section: settings section of the training, or None.
    """

    load: Callable[[], Loaded]
    section: str | None = None

    @property
    def model(self) -> type[Any]:
        """Class of the generator."""
        return self.load()[0]

    @property
    def fit(self) -> Callable[..., None]:
        """Function that trains the generator."""
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
    """Look up a generator by name.

    Args:
        where: prefix of the error message, e.g. the settings key.

    Raises:
        LddmError: unknown name.
    """
    if name not in GENERATORS:
        raise LddmError(f"{where}unknown generator '{name}'", f"expected one of {', '.join(GENERATORS)}")
    return GENERATORS[name]
