"""The measured part of the factorised latent: optical flow, reduced to a few maps times coefficients.

The maps and coefficients come from the singular value decomposition of measured flow. A pixel loss is insensitive to
strains of a few percent, so a network trained on it discards them. K maps of 8 x 8 preserve them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lddm.data.flow import optical_flow, svd_motion

# A classifier keeps 0.94 of its AUC on clips moved by one pass, 0.98 with two (docs/results.md).
PASSES = 2


@dataclass(frozen=True)
class MotionCode:
    """Measured motion of clips.

    Attributes:
        maps: float32 (B, K, 2, h, w), displacement fields in pixels of the full frame, (axial, lateral).
        coefficients: float32 (B, K, T), unit root mean square over time.
    """

    maps: Tensor
    coefficients: Tensor

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, index) -> MotionCode:
        return MotionCode(self.maps[index], self.coefficients[index])

    def to(self, device: torch.device) -> MotionCode:
        """The same on another device."""
        return MotionCode(self.maps.to(device), self.coefficients.to(device))

    def mix(self, other: MotionCode, chosen: Tensor) -> MotionCode:
        """The code of `other` where `chosen` (bool (B,))."""
        return MotionCode(
            torch.where(chosen[:, None, None, None, None], other.maps, self.maps),
            torch.where(chosen[:, None, None], other.coefficients, self.coefficients),
        )

    def flip(self, flipped: Tensor) -> MotionCode:
        """The code of the clips mirrored left to right where `flipped` (bool (B,)): lateral motion changes its sign."""
        mirrored = self.maps.flip(-1) * self.maps.new_tensor([1.0, -1.0])[:, None, None]
        return MotionCode(torch.where(flipped[:, None, None, None, None], mirrored, self.maps), self.coefficients)


def measure_motion(clips: np.ndarray, rank: int, map_size: int, chunk: int = 64) -> MotionCode:
    """Measure the motion of clips.

    Args:
        clips: uint8 (n, T + 1, H, W), x0 first.
        rank: K.
        map_size: h = w.
        chunk: clips whose flow is in memory at a time.
    """
    maps, coefficients = [], []
    for start in range(0, len(clips), chunk):
        flow = optical_flow(clips[start : start + chunk], "backward", passes=PASSES)  # (n, T, 2, H, W)
        part = svd_motion(flow, rank, map_size)
        maps.append(torch.from_numpy(part[0]))
        coefficients.append(torch.from_numpy(part[1]))
    return MotionCode(torch.cat(maps), torch.cat(coefficients))
