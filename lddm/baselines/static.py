"""Static: x0 repeated. What a classifier gains from it comes from the extra stills, not from motion."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from lddm.data.frames import FrameStore
from lddm.nn.condition import SamplingOptions
from lddm.nn.noise import Rng
from lddm.training.generator import Decode
from lddm.training.weights import load_weights, save_weights


class Static(nn.Module):
    """No latent at all.

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

    def save(self, path: str | Path, **provenance) -> None:
        """Write a file that only says what it is."""
        save_weights(path, {"none": torch.zeros(1)}, "generator:static", frames=self.frames, provenance=provenance)

    @classmethod
    def load(cls, path: str | Path) -> Static:
        """Read what `save` wrote."""
        _, about = load_weights(path, "generator:static")
        return cls(about["frames"])


def keep_nothing(settings, latents, store: FrameStore, seed, state_dir, out: Path, on_log, keep_state=False) -> None:
    """There is nothing to train: write the number of frames (arguments as `lddm.synthesis.generators.Entry`)."""
    Static(store.clip_length).save(out)
