"""D: (x0, z) -> video, twice: by moving x0 (frugal) and by painting every frame (the paper)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lddm.nn.blocks import SPADE, AdaIN, ImagePyramid, ResBlock2d, group_norm
from lddm.nn.latent import LatentSpec
from lddm.nn.warping import compose_motion, upsample_maps, warp_sequence


@dataclass(frozen=True)
class Decoded:
    """What a decoder makes.

    Attributes:
        frames: float (B, 1, T, S, S) in [-1, 1], frames 1..T.
        motion: float (B, T, 2, S, S) in pixels, or None where the decoder has no motion field.
    """

    frames: Tensor
    motion: Tensor | None


class WarpDecoder(nn.Module):
    """Move x0 by a low-rank motion field and add a low-rank residual.

    frame_t = warp(x0, sum_k a_k(t) B_k) + sum_j b_j(t) rho_j, where the residual images rho_j are painted by a small
    top-down network from z's maps and the features of x0 at every scale, modulated by z's coefficients through AdaIN.
    """

    def __init__(self, spec: LatentSpec, size: int, width: int):
        super().__init__()
        self.spec, self.size = spec, size
        code = 4 * width
        # Down to the grid of the maps; the residual is painted at half size, which is enough for what is no motion.
        self.pyramid = ImagePyramid(size, spec.map_size, width)
        self.coefficients = nn.Sequential(
            nn.Linear(spec.coefficient_rows * spec.frames, code), nn.SiLU(), nn.Linear(code, code)
        )
        channels = self.pyramid.channels[::-1]  # coarsest first
        self.enter = nn.Conv2d(spec.map_channels + channels[0], channels[0], 3, 1, 1)
        self.blocks = nn.ModuleList(ResBlock2d(channels[0], channels[0], code) for _ in range(1))
        self.blocks.extend(
            ResBlock2d(before + after, after, code) for before, after in zip(channels, channels[1:-1], strict=False)
        )
        last = channels[-2] if len(channels) > 1 else channels[0]
        self.leave = nn.Sequential(group_norm(last), nn.SiLU(), nn.Conv2d(last, spec.residual_rank, 3, 1, 1))
        nn.init.zeros_(self.leave[-1].weight)  # begin as the pure warp
        nn.init.zeros_(self.leave[-1].bias)

    def forward(self, x0: Tensor, z: Tensor) -> Decoded:
        """x0 float (B, 1, S, S), z float (B, D) -> frames."""
        maps, coefficients = self.spec.split(z)
        rank = self.spec.motion_rank
        fields = maps[:, : 2 * rank].unflatten(1, (rank, 2))  # (B, K, 2, h, w)
        motion = compose_motion(fields, coefficients[:, :rank], self.size)
        moved = warp_sequence(x0, motion)  # (B, 1, T, S, S)
        residual = self._residual_images(x0, maps, coefficients)  # (B, R, S, S)
        added = torch.einsum("brt,brhw->bthw", coefficients[:, rank:], residual)[:, None]
        return Decoded((moved + added).clamp(-1, 1), motion)

    def _residual_images(self, x0: Tensor, maps: Tensor, coefficients: Tensor) -> Tensor:
        features = self.pyramid(x0)[::-1]  # coarsest first
        code = self.coefficients(coefficients.flatten(1))
        hidden = self.blocks[0](self.enter(torch.cat([maps, features[0]], dim=1)), code)
        for block, skip in zip(self.blocks[1:], features[1:], strict=False):
            hidden = F.interpolate(hidden, scale_factor=2, mode="nearest")
            hidden = block(torch.cat([hidden, skip], dim=1), code)
        return upsample_maps(self.leave(hidden), self.size)


class PaintDecoder(nn.Module):
    """The paper's kind: every frame painted, z by AdaIN and x0 by SPADE at every scale.

    ASSUME: layers as in the cINN code (Dorkenwald et al. 2021): a seed of 4 x 4 x 1 from z, residual blocks whose
    first normalisation takes x0 and whose second takes z, nearest-neighbour upsampling between them.
    """

    def __init__(self, spec: LatentSpec, size: int, width: int):
        super().__init__()
        doublings = math.log2(size / 4)
        time_doublings = math.log2(spec.frames)
        if doublings != int(doublings) or time_doublings != int(time_doublings) or time_doublings > doublings:
            raise ValueError(f"'paint' takes sizes of 4 * 2^k and T = 2^j with j <= k, got {size} and {spec.frames}")
        steps = int(doublings)
        channels = [width * min(2 ** (steps - i), 16) for i in range(steps + 1)]  # narrower as the grid grows
        self.time_steps = int(time_doublings)
        self.seed = nn.Linear(spec.dim, channels[0] * 16)
        self.blocks = nn.ModuleList(
            [PaintBlock(channels[0], channels[0], spec.dim)]
            + [PaintBlock(before, after, spec.dim) for before, after in zip(channels, channels[1:], strict=False)]
        )
        self.leave = nn.Conv3d(channels[-1], 1, 3, 1, 1)

    def forward(self, x0: Tensor, z: Tensor) -> Decoded:
        """x0 float (B, 1, S, S), z float (B, D) -> frames."""
        hidden = self.seed(z).reshape(len(z), -1, 1, 4, 4)  # (B, C, T, H, W)
        for i, block in enumerate(self.blocks):
            if i > 0:
                time = 2 if i <= self.time_steps else 1
                hidden = F.interpolate(hidden, scale_factor=(time, 2, 2), mode="nearest")
            hidden = block(hidden, x0, z)
        return Decoded(torch.tanh(self.leave(F.leaky_relu(hidden, 0.2))), None)


class PaintBlock(nn.Module):
    """SPADE(x0), convolution, AdaIN(z), convolution, with a residual path."""

    def __init__(self, inputs: int, outputs: int, code: int):
        super().__init__()
        self.norm1 = SPADE(inputs)
        self.conv1 = nn.Conv3d(inputs, outputs, 3, 1, 1)
        self.norm2 = AdaIN(outputs, code)
        self.conv2 = nn.Conv3d(outputs, outputs, 3, 1, 1)
        self.skip = nn.Conv3d(inputs, outputs, 1, bias=False) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, x0: Tensor, z: Tensor) -> Tensor:
        hidden = self.conv1(F.leaky_relu(self.norm1(x, x0), 0.2))
        return self.skip(x) + self.conv2(F.leaky_relu(self.norm2(hidden, z), 0.2))
