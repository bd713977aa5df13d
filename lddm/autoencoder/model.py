"""The autoencoder as one module that can be saved and loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lddm.autoencoder.decoder import Decoded, SPADEDecoder, WarpDecoder
from lddm.autoencoder.encoder import GridEncoder, LowRankEncoder, VectorEncoder
from lddm.autoencoder.measured import MeasuredMotion
from lddm.autoencoder.posterior import Posterior
from lddm.autoencoder.published import PublishedEncoder
from lddm.data.frames import FrameStore
from lddm.errors import LddmError
from lddm.latent.spec import LatentSpec
from lddm.motion.field_of_view import view_of_spans, view_spans
from lddm.motion.low_rank import MotionCode, measure_motion
from lddm.settings.models import AutoencoderSettings
from lddm.training.device import to_device
from lddm.training.weights import SavedModule, read_settings


class Autoencoder(SavedModule):
    """Encoder E and decoder D for one type of latent.

    Args:
        settings: the section `autoencoder`.
        size: height and width S of a frame in pixels.
        frames: T.

    Raises:
        LddmError: the networks do not support this size.
    """

    kind = "autoencoder"

    def __init__(self, settings: AutoencoderSettings, size: int, frames: int):
        super().__init__()
        self.settings, self.size, self.frames = settings, size, frames
        try:
            self.spec = latent_spec(settings, frames)
            published = settings.networks == "published"
            vector = PublishedEncoder if published else VectorEncoder
            encoder = {"low_rank": LowRankEncoder, "vector": vector, "grid": GridEncoder}[settings.latent]
            self.encoder = encoder(self.spec, size, settings.width)
            self.decoder: WarpDecoder | SPADEDecoder
            width = settings.decoder_width or settings.width
            if settings.decoder == "warp":
                ranks = (settings.motion_rank, settings.gain_rank)
                self.decoder = WarpDecoder(self.spec, size, width, ranks, settings.map_size)
            else:
                self.decoder = SPADEDecoder(self.spec, size, width, settings.gradient_checkpointing, published)
        except ValueError as error:
            raise LddmError(
                f"the autoencoder does not support these sizes: {error}",
                "change preprocess.size, preprocess.clip_length, autoencoder.map_size or autoencoder.grid_frames",
            ) from error

    @property
    def measures_motion(self) -> bool:
        """Whether training needs the measured motion of the clips, as the code itself or for supervision."""
        return self.settings.decoder == "warp"

    def checked(
        self, measured: MeasuredMotion | None, store: FrameStore, current: bool = False
    ) -> MeasuredMotion | None:
        """Check the measured motion of a store against this model; returns None if the model needs none.

        Args:
            current: see `MeasuredMotion.check`.

        Raises:
            LddmError: the motion is missing, or was measured with other settings.
        """
        if not self.measures_motion:
            return None
        if measured is None:
            raise LddmError(
                f"decoder {self.settings.decoder} needs the measured motion of the clips",
                "make it with `lddm measure-motion` and pass it with --motion",
            )
        measured.check(self.settings, store, current)
        return measured

    def measure(self, clips: np.ndarray) -> MotionCode | None:
        """Measure the motion for `encode` of clips outside a store; clips uint8 (n, T + 1, S, S). On the CPU."""
        if not self.measures_motion:
            return None
        return measure_motion(clips, self.settings.motion_rank, self.settings.map_size, self.settings.flow_passes)

    def encode(self, video: Tensor, motion: MotionCode | None) -> Posterior:
        """video float (B, 1, T + 1, S, S) in [-1, 1], x0 first -> q(z | x)."""
        return self.encoder(video, motion)

    def decode(self, x0: Tensor, z: Tensor, fov_mask: Tensor | None = None) -> Decoded:
        """x0 float (B, 1, S, S) in [-1, 1] and z float (B, D) -> frames 1..T.

        Args:
            fov_mask: bool (B, 1, S, S), the field of view of x0 if it is known.
        """
        return self.decoder(x0, z, fov_mask)

    def decoding(self, stills: np.ndarray) -> Callable[[Tensor, Tensor], Tensor]:
        """`decode` to frames for the x0 of stills uint8 (B, S, S).

        Field-of-view masks are computed on the host while the device samples z; reading x0 from the device would synchronise.
        """

        def decode(x0: Tensor, z: Tensor) -> Tensor:
            if not isinstance(self.decoder, WarpDecoder):
                return self.decode(x0, z).frames
            return self.decode(x0, z, view_of_spans(to_device(view_spans(stills), x0.device), self.size)).frames

        return decode

    def forward(
        self, video: Tensor, motion: MotionCode | None, rng: torch.Generator, fov_mask: Tensor | None = None
    ) -> tuple[Decoded, Posterior]:
        """Encode, sample z and decode, as in training."""
        noise = torch.randn((len(video), self.spec.size), generator=rng, device=rng.device).to(video)
        return self.reconstruct(video, motion, noise, fov_mask)

    def reconstruct(
        self, video: Tensor, motion: MotionCode | None, noise: Tensor, fov_mask: Tensor | None = None
    ) -> tuple[Decoded, Posterior]:
        """As `forward`, with z = mean + std * noise for standard normal noise (B, D)."""
        posterior = self.encode(video, motion)
        z = posterior.mean + (0.5 * posterior.logvar).exp() * noise
        return self.decode(video[:, :, 0], z, fov_mask), posterior

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile `reconstruct` only, because the random generator of `forward` would break the graph."""
        self.reconstruct = torch.compile(self.reconstruct, *args, **kwargs)  # type: ignore[method-assign]

    def arguments(self) -> dict[str, Any]:
        """As `SavedModule.arguments`."""
        about = {"settings": self.settings.model_dump(mode="json"), "size": self.size, "frames": self.frames}
        return about | ({"brightness": "gain"} if self.settings.decoder == "warp" else {})

    @classmethod
    def from_arguments(cls, about: Mapping[str, Any], path: str | Path) -> Autoencoder:
        """As `SavedModule.from_arguments`."""
        settings = read_settings(AutoencoderSettings, about, path)
        # not detected by tensor shapes, which are equal
        if settings.decoder == "warp" and about.get("brightness") != "gain":
            raise LddmError(f"{path} has an additive decoder of a version before 0.5.0", "train again")
        return cls(settings, about["size"], about["frames"])


def latent_spec(settings: AutoencoderSettings, frames: int) -> LatentSpec:
    """The structure of z according to the settings, for T = `frames`."""
    if settings.latent == "vector":
        return LatentSpec("vector", frames, dim=settings.vector_dim)
    if settings.latent == "grid":
        grid = {"channels": settings.grid_channels, "grid_frames": settings.grid_frames}
        return LatentSpec("grid", frames, map_size=settings.map_size, **grid)
    ranks = {"motion_rank": settings.motion_rank, "gain_rank": settings.gain_rank}
    return LatentSpec("low_rank", frames, map_size=settings.map_size, **ranks)
