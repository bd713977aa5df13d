"""The latent z: a vector (B, D) outside, maps and temporal coefficients inside."""

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
    fields (axial, lateral) and `residual_rank` code maps of the residual branch, `map_size` pixels high and wide; each
    field and each code map has one coefficient a frame. Motion of frame t = sum_k a_k(t) B_k: the local strain that a
    global vector loses stays where it is.
    `grid`: `channels` maps for each of `grid_frames` steps of time, no coefficients.

    Attributes:
        kind: vector, low_rank or grid.
        frames: T.
        dim: size of the vector (vector only).
        motion_rank: K (low_rank only).
        residual_rank: R (low_rank only).
        map_size: height and width of the maps (low_rank and grid).
        channels: numbers of a cell of the grid (grid only).
        grid_frames: steps of time of the grid (grid only).
    """

    kind: Literal["vector", "low_rank", "grid"]
    frames: int
    dim: int = 0
    motion_rank: int = 0
    residual_rank: int = 0
    map_size: int = 0
    channels: int = 0
    grid_frames: int = 0

    @property
    def map_channels(self) -> int:
        """Channels of the maps: K axial-lateral pairs, then R code maps; or those of the grid, step after step."""
        return self.channels * self.grid_frames if self.kind == "grid" else 2 * self.motion_rank + self.residual_rank

    @property
    def coefficient_rows(self) -> int:
        """Rows of coefficients: K of the motion, then R of the residual."""
        return self.motion_rank + self.residual_rank

    @property
    def size(self) -> int:
        """D: numbers in z."""
        if self.kind == "vector":
            return self.dim
        return self.map_channels * self.map_size**2 + self.coefficient_rows * self.frames

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z (B, D) -> maps (B, 2K + R, h, w) and coefficients (B, K + R, T); a grid has no coefficients."""
        cells = self.map_channels * self.map_size**2
        maps = z[:, :cells].reshape(len(z), self.map_channels, self.map_size, self.map_size)
        return maps, z[:, cells:].reshape(len(z), self.coefficient_rows, self.frames)

    def join(self, maps: Tensor, coefficients: Tensor) -> Tensor:
        """The inverse of `split`: z (B, D)."""
        return torch.cat([maps.flatten(1), coefficients.flatten(1)], dim=1)

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

    @in_float32
    def map_amplitude(self, maps: Tensor) -> Tensor:
        """Root mean square of each field and each code map: maps (B, 2K + R, h, w) -> (B, K + R)."""
        power = maps.square().mean(dim=(2, 3))
        fields = power[:, : 2 * self.motion_rank].unflatten(1, (self.motion_rank, 2)).mean(dim=2)
        return torch.cat([fields, power[:, 2 * self.motion_rank :]], dim=1).sqrt()

    @in_float32
    def balanced(self, maps: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """Maps with the size of the motion, and coefficients of unit size; low_rank only.

        Both parts of z encode the amplitude. They agree in a measured code and may disagree in a sample; then the geometric
        mean of the two counts: an error of either weighs half, and noise beside a large map stays small.
        """
        rows = coefficients.square().mean(dim=2).sqrt()  # (B, K + R)
        share = (rows / self.map_amplitude(maps).clamp_min(1e-6)).sqrt()
        fields = share[:, : self.motion_rank].repeat_interleave(2, dim=1)
        share = torch.cat([fields, share[:, self.motion_rank :]], dim=1)  # (B, 2K + R)
        return maps * share[:, :, None, None], unit_rows(coefficients)

    def to_dict(self) -> dict:
        """JSON form; `LatentSpec(**d)` is its inverse."""
        return asdict(self)


@in_float32
def unit_rows(coefficients: Tensor) -> Tensor:
    """Coefficients (B, K + R, T) with a root mean square of one over time: the maps carry the size."""
    return coefficients / coefficients.square().mean(dim=2, keepdim=True).add(1e-10).sqrt()
