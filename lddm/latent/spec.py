"""Structure of the latent z in physical units: a vector (B, D), composed of maps and temporal coefficients."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor

from lddm.nn.precision import in_float32


@dataclass(frozen=True)
class LatentSpec:
    """Type and dimensions of z.

    `vector` (the paper): one global vector of `dim` elements.
    `low_rank` (ours): maps aligned with x0, and temporal coefficients. The maps are `motion_rank` displacement fields
    (axial, lateral) and `gain_rank` gain maps, each `map_size` x `map_size`; each field and each gain map has one
    coefficient per frame. The motion of frame t is sum_k a_k(t) B_k. Unlike a global vector, the maps preserve the
    location of local strain. The fields B_k carry the amplitude, in pixels; each row a_k has a root mean square of one.
    `grid`: `channels` maps for each of `grid_frames` time steps, no coefficients.

    Attributes:
        kind: "vector", "low_rank" or "grid".
        frames: T.
        dim: size of the vector (vector only).
        motion_rank: K (low_rank only).
        gain_rank: R (low_rank only).
        map_size: height and width of the maps (low_rank and grid).
        channels: channels per time step (grid only).
        grid_frames: number of time steps (grid only).
    """

    kind: Literal["vector", "low_rank", "grid"]
    frames: int
    dim: int = 0
    motion_rank: int = 0
    gain_rank: int = 0
    map_size: int = 0
    channels: int = 0
    grid_frames: int = 0

    @property
    def map_channels(self) -> int:
        """Channels of the maps: K axial-lateral pairs, then R gain maps; for a grid, all channels of all time steps."""
        return self.channels * self.grid_frames if self.kind == "grid" else 2 * self.motion_rank + self.gain_rank

    @property
    def coefficient_rows(self) -> int:
        """Number of coefficient rows: K for motion, then R for gain."""
        return self.motion_rank + self.gain_rank

    @property
    def size(self) -> int:
        """D: dimension of z in physical units."""
        if self.kind == "vector":
            return self.dim
        return self.map_channels * self.map_size**2 + self.coefficient_rows * self.frames

    @property
    def normalised_size(self) -> int:
        """N: dimension of normalised z, which is D plus one log-amplitude per row (see `LatentTransform`)."""
        return self.size + self.coefficient_rows

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z (B, D) -> maps (B, 2K + R, h, w) and coefficients (B, K + R, T); a grid has no coefficients."""
        cells = self.map_channels * self.map_size**2
        maps = z[:, :cells].reshape(len(z), self.map_channels, self.map_size, self.map_size)
        return maps, z[:, cells:].reshape(len(z), self.coefficient_rows, self.frames)

    def join(self, maps: Tensor, coefficients: Tensor) -> Tensor:
        """The inverse of `split`: z (B, D)."""
        return torch.cat([maps.flatten(1), coefficients.flatten(1)], dim=1)

    def per_channel(self, values: Tensor) -> Tensor:
        """Expand one value per field or gain map, (B, K + R), to one per channel of the maps, (B, 2K + R, 1, 1)."""
        fields = values[:, : self.motion_rank].repeat_interleave(2, dim=1)
        return torch.cat([fields, values[:, self.motion_rank :]], dim=1)[:, :, None, None]

    @in_float32
    def apply(self, z: Tensor, to_maps: Tensor, to_rows: Tensor) -> Tensor:
        """Apply a linear operator to each map (over its cells) and to each coefficient row (over frames).

        A vector latent is returned unchanged.

        Args:
            z: float (B, D).
            to_maps: float (C, h w, h w), one matrix per channel.
            to_rows: float (K + R, T, T), one matrix per row.
        """
        if self.kind == "vector":
            return z
        maps, rows = self.split(z)
        maps = torch.einsum("cij,bcj->bci", to_maps, maps.flatten(2))
        return self.join(maps, torch.einsum("cij,bcj->bci", to_rows, rows))

    def to_dict(self) -> dict:
        """JSON form; `LatentSpec(**d)` is its inverse."""
        return asdict(self)


@in_float32
def unit_rows(coefficients: Tensor) -> Tensor:
    """Scale coefficients (B, K + R, T) to a root mean square of one over time."""
    return coefficients / coefficients.square().mean(dim=2, keepdim=True).add(1e-10).sqrt()
