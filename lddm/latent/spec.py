"""The latent z in physical units: a vector (B, D) outside, maps and temporal coefficients inside."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor

from lddm.nn.precision import in_float32


@dataclass(frozen=True)
class LatentSpec:
    """The inner structure of z.

    `vector` (the paper): z is one global vector of `dim` numbers.
    `low_rank` (ours): z = (maps aligned with x0, temporal coefficients). The maps are `motion_rank` displacement
    fields (axial, lateral) and `gain_rank` code maps of the gain, `map_size` pixels high and wide; each
    field and each code map has one coefficient per frame. Motion of frame t = sum_k a_k(t) B_k: the local strain that a
    global vector loses stays where it is. The amplitude of the motion is in the maps B_k, in pixels; each row a_k has a
    root mean square of one.
    `grid`: `channels` maps for each of `grid_frames` steps of time, no coefficients.

    Attributes:
        kind: vector, low_rank or grid.
        frames: T.
        dim: size of the vector (vector only).
        motion_rank: K (low_rank only).
        gain_rank: R (low_rank only).
        map_size: height and width of the maps (low_rank and grid).
        channels: numbers of a cell of the grid (grid only).
        grid_frames: steps of time of the grid (grid only).
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
        """Channels of the maps: K axial-lateral pairs, then R code maps; or those of the grid, step after step."""
        return self.channels * self.grid_frames if self.kind == "grid" else 2 * self.motion_rank + self.gain_rank

    @property
    def coefficient_rows(self) -> int:
        """Rows of coefficients: K of the motion, then R of the gain."""
        return self.motion_rank + self.gain_rank

    @property
    def size(self) -> int:
        """D: numbers in z in physical units."""
        if self.kind == "vector":
            return self.dim
        return self.map_channels * self.map_size**2 + self.coefficient_rows * self.frames

    @property
    def normalised_size(self) -> int:
        """N: numbers in normalised z, which has a log-amplitude for each row beside the D (see `LatentTransform`)."""
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
        """One value of each field and gain map (B, K + R) -> one of each channel of the maps (B, 2K + R, 1, 1)."""
        fields = values[:, : self.motion_rank].repeat_interleave(2, dim=1)
        return torch.cat([fields, values[:, self.motion_rank :]], dim=1)[:, :, None, None]

    @in_float32
    def apply(self, z: Tensor, to_maps: Tensor, to_rows: Tensor) -> Tensor:
        """Multiply each map over its cells and each row over its frames by a matrix of its own; a vector stays as it is.

        Args:
            z: float (B, D).
            to_maps: float (C, h w, h w).
            to_rows: float (K + R, T, T).
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
    """Coefficients (B, K + R, T) scaled to a root mean square of one over time."""
    return coefficients / coefficients.square().mean(dim=2, keepdim=True).add(1e-10).sqrt()
