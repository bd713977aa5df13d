"""Low-rank motion: optical flow reduced to a few maps times temporal coefficients.

The maps and coefficients come from the singular value decomposition of measured flow. A pixel loss is insensitive to
strains of a few percent, so a network trained on it discards them. K maps of 8 x 8 preserve them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from lddm.motion.flow import optical_flow


@dataclass(frozen=True)
class MotionCode:
    """Low-rank code of the measured motion of B clips.

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
        """Copy to another device."""
        return MotionCode(self.maps.to(device), self.coefficients.to(device))

    def mix(self, other: MotionCode, chosen: Tensor) -> MotionCode:
        """Replace entries by those of `other` where `chosen`, bool (B,), is True."""
        return MotionCode(
            torch.where(chosen[:, None, None, None, None], other.maps, self.maps),
            torch.where(chosen[:, None, None], other.coefficients, self.coefficients),
        )

    def flip(self, flipped: Tensor) -> MotionCode:
        """Code of the mirrored clips where `flipped`, bool (B,), is True: the lateral displacement changes sign."""
        axial_lateral = 1 - 2 * torch.arange(2, device=self.maps.device)  # on the device: a copy would synchronise
        mirrored = self.maps.flip(-1) * axial_lateral[:, None, None]
        sign = _signs(mirrored, self.coefficients)
        code = MotionCode(mirrored * sign[:, :, None, None, None], self.coefficients * sign[:, :, None])
        return self.mix(code, flipped)


def measure_motion(clips: np.ndarray, rank: int, map_size: int, passes: int = 2, chunk: int = 64) -> MotionCode:
    """Measure the optical flow of clips and reduce it to low rank.

    Args:
        clips: uint8 (n, T + 1, H, W), x0 first.
        rank: K.
        map_size: h = w.
        passes: passes of `optical_flow`.
        chunk: number of clips whose flow is held in memory at a time.
    """
    maps, coefficients = [], []
    for start in range(0, len(clips), chunk):
        flow = optical_flow(clips[start : start + chunk], "backward", passes=passes)  # (n, T, 2, H, W)
        part = svd_motion(flow, rank, map_size)
        maps.append(torch.from_numpy(part[0]))
        coefficients.append(torch.from_numpy(part[1]))
    return MotionCode(torch.cat(maps), torch.cat(coefficients))


def svd_motion(flow: np.ndarray, rank: int, map_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Reduce motion to maps times temporal coefficients: u_t(p) = sum_k a_k(t) B_k(p).

    Singular value decomposition of each clip (time x space) at the resolution of the maps, ordered by singular value. The
    signs of singular vectors are arbitrary. They are fixed so that the larger of the mean axial and mean lateral
    displacement of each map is positive. Maps of one type of motion are then similar, and the coefficients hold its direction.
    A clip of two frames has a single coefficient, which is one: its map is the displacement itself.

    Args:
        flow: float32 (n, T, 2, H, W) in pixels.
        rank: K; maps beyond the rank of the flow are zero.
        map_size: height and width of the maps.

    Returns:
        Maps float32 (n, K, 2, h, w) in pixels of the full frame, and coefficients float32 (n, K, T) of unit root mean
        square over time.
    """
    n, frames = flow.shape[:2]
    small = _fit_maps(flow, map_size)  # (n, T, 2, h, w)
    matrix = small.reshape(n, frames, -1)
    # The left singular vectors are the eigenvectors of the T x T Gram matrix: much cheaper than a full SVD.
    _, vectors = np.linalg.eigh(matrix @ matrix.transpose(0, 2, 1))
    if rank > frames:
        raise ValueError(f"rank {rank} exceeds the {frames} frames of a clip")
    coefficients = vectors[:, :, ::-1][:, :, :rank].transpose(0, 2, 1) * np.sqrt(frames)  # (n, K, T), unit RMS
    maps = (coefficients @ matrix / frames).reshape(n, rank, 2, map_size, map_size)
    sign = _signs(torch.from_numpy(maps), torch.from_numpy(coefficients)).numpy()
    return (maps * sign[..., None, None, None]).astype(np.float32), (coefficients * sign[..., None]).astype(np.float32)


def _signs(maps: Tensor, coefficients: Tensor) -> Tensor:
    """Signs (n, K), +1 or -1, that make the larger of mean axial and mean lateral displacement of maps positive.

    Maps are (n, K, 2, h, w). If both means are nearly zero, the mean cubes decide. A single coefficient, (n, K, 1), is made
    positive instead: the mean displacement of contraction and expansion is close to zero, so that otherwise only the
    coefficient would distinguish them.
    """
    if coefficients.shape[2] == 1:
        return torch.where(coefficients[:, :, 0] < 0, -1.0, 1.0).to(maps)
    size = maps.square().mean(dim=(2, 3, 4), keepdim=True).sqrt()[..., 0, 0]  # (n, K, 1)
    mean, cube = maps.mean(dim=(3, 4)), maps.pow(3).mean(dim=(3, 4))  # (n, K, 2)
    value = torch.where(mean.abs().amax(dim=2, keepdim=True) > 0.1 * size, mean, cube)
    larger = value.gather(2, value.abs().argmax(dim=2, keepdim=True))[:, :, 0]
    return torch.where(larger < 0, -1.0, 1.0).to(maps)


@functools.cache
def shrinking(height: int, size: int) -> np.ndarray:
    """Least-squares inverse of bicubic upsampling from `size` to `height` samples: float64 (size, height)."""
    # bicubic as in torch, (height, size)
    enlarging = cv2.resize(np.eye(size), (size, height), interpolation=cv2.INTER_CUBIC)
    return np.linalg.pinv(enlarging)


def _fit_maps(flow: np.ndarray, size: int) -> np.ndarray:
    """Fit maps (..., size, size) whose bicubic upsampling is closest to the flow (..., H, W) in least squares.

    Cell means, the usual way to downsample, are smoothed again by upsampling and lose local strain.
    """
    rows, columns = (shrinking(length, size) for length in flow.shape[-2:])
    return rows @ flow.astype(np.float64) @ columns.T
