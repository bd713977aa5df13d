"""Static baseline: x0 repeated. It isolates the effect of extra still images on a classifier from that of motion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from lddm.data.frames import FrameStore
from lddm.generators.base import Decode, Generator
from lddm.generators.sampling import Rng, SamplingOptions


class Static(Generator):
    """Repeats x0; has no latent and no parameters.

    Args:
        frames: T.
    """

    name = "static"

    def __init__(self, frames: int):
        super().__init__()
        self.frames = frames

    def video(self, x0: Tensor, label: Tensor, rng: Rng, options: SamplingOptions, decode: Decode) -> Tensor:
        """x0 for every frame; float (B, 1, T, S, S)."""
        return x0[:, :, None].expand(-1, -1, self.frames, -1, -1)

    def arguments(self) -> dict[str, Any]:
        """As `SavedModule.arguments`."""
        return {"frames": self.frames}


def fit_static(settings, latents, store: FrameStore, seed, state_dir, out: Path, on_log, keep_state=False) -> None:
    """Write the number of frames; there is no training. Arguments as `LatentTrainer.fit`."""
    Static(store.clip_length).save(out)
