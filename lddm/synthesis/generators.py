"""The generators by name. Each is imported when it is used: some bring libraries that take seconds to import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from lddm.errors import LddmError


@dataclass(frozen=True)
class Entry:
    """Where a generator is, each as "module:name".

    Attributes:
        model: its class, with `video` (see `lddm.training.generator.Generator`), `save` and `load`.
        train: a function (settings, latents, store, seed, state_dir, out, on_log, keep_state) that writes its weights to
            `out` and then removes its resumable state, unless `keep_state`.
        section: the settings section of its training, or None.
    """

    model: str
    train: str
    section: str | None = None

    def load_model(self) -> type[Any]:
        """The class."""
        return _load(self.model)

    def load_train(self) -> Callable[..., None]:
        """The function that trains it."""
        return _load(self.train)


GENERATORS = {
    "lddm": Entry("lddm.diffusion.model:LatentDiffusion", "lddm.diffusion.train:train_diffusion", "diffusion"),
    "cinn": Entry("lddm.baselines.cinn:ConditionalFlow", "lddm.baselines.cinn:train_cinn", "cinn"),
    "gaussian": Entry(
        "lddm.baselines.gaussian:ConditionalGaussian", "lddm.baselines.gaussian:fit_gaussian", "gaussian"
    ),
    "pixel": Entry("lddm.diffusion.pixel:PixelDiffusion", "lddm.diffusion.pixel:train_pixel", "pixel"),
    "motion_transfer": Entry(
        "lddm.baselines.motion_transfer:MotionTransfer", "lddm.baselines.motion_transfer:keep_motion"
    ),
    "static": Entry("lddm.baselines.static:Static", "lddm.baselines.static:keep_nothing"),
}


def find_generator(name: str, where: str = "") -> Entry:
    """The entry of a generator.

    Raises:
        LddmError: there is none of that name.
    """
    if name not in GENERATORS:
        raise LddmError(f"{where}unknown generator '{name}'", f"expected one of {', '.join(GENERATORS)}")
    return GENERATORS[name]


def _load(place: str) -> Any:
    module, name = place.split(":")
    return getattr(import_module(module), name)
