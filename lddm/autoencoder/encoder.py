"""Encoders E: video -> q(z | x), one for each type of latent."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lddm.autoencoder.posterior import Posterior
from lddm.latent.spec import LatentSpec, unit_rows
from lddm.motion.low_rank import MotionCode
from lddm.motion.warp import compose_motion, warp_sequence
from lddm.nn.blocks import group_norm, log2_ratio


class LowRankEncoder(nn.Module):
    """Encodes measured motion unchanged and learns a code of the gain.

    The code of the gain is bilinear like the motion: temporal coefficients b_j(t) times spatial maps r_j. The input of the
    network is each frame together with the warped x0.

    Args:
        spec: a low-rank latent.
        size: height and width S of a frame; S / map_size must be a power of two.
        width: channels of the first level.
    """

    # ASSUME: q(z | x) of the measured motion has a fixed standard deviation of 0.002 px, for the maps and, times their map,
    # for the rows. It must be far below the displacement of a map cell by a lesion's strain (hundredths of a pixel), because
    # stage 2 learns to reproduce this noise.
    MOTION_STD = 0.002

    def __init__(self, spec: LatentSpec, size: int, width: int):
        super().__init__()
        self.spec, self.size = spec, size
        levels = log2_ratio(size, spec.map_size, "frame size")
        channels = [3] + [width * min(2**i, 4) for i in range(levels)]
        self.frames = nn.Sequential(
            *[
                layer
                for before, after in zip(channels, channels[1:], strict=False)
                for layer in (nn.Conv2d(before, after, 3, 2, 1), group_norm(after), nn.SiLU())
            ]
        )
        last, rank = channels[-1], spec.gain_rank
        self.mix = nn.Sequential(nn.Conv3d(last, last, 3, padding=1), group_norm(last), nn.SiLU())
        self.temporal_coefficients = nn.Conv1d(last, rank, 3, padding=1)
        self.gain_maps = nn.Conv3d(last, 2 * rank, 1)

    def forward(self, video: Tensor, motion: MotionCode) -> Posterior:
        """video float (B, 1, T + 1, S, S) in [-1, 1] and its measured motion -> q(z | x)."""
        x0, frames = video[:, :, 0], video[:, :, 1:]
        warped = warp_sequence(x0, compose_motion(motion.maps, motion.coefficients, self.size), "bilinear")
        seen = torch.cat([frames, warped, 4 * (frames - warped)], dim=1)  # (B, 3, T, S, S)
        features = self.frames(seen.transpose(1, 2).flatten(0, 1))  # (B T, C, h, w)
        features = self.mix(features.unflatten(0, (len(video), -1)).transpose(1, 2))  # (B, C, T, h, w)
        coefficients = self.temporal_coefficients(features.mean(dim=(-2, -1)))  # (B, R, T)
        coefficients = unit_rows(coefficients)
        gain, spread = self.gain_maps(features).chunk(2, dim=1)  # (B, R, T, h, w) each
        gain = torch.einsum("brt,brthw->brhw", coefficients, gain) / self.spec.frames
        spread = spread.mean(dim=2).clamp(-8, 4)
        maps = torch.cat([motion.maps.flatten(1, 2), gain], dim=1)
        rows = torch.cat([motion.coefficients, coefficients], dim=1)
        fixed_maps = torch.full_like(motion.maps.flatten(1, 2), 2 * math.log(self.MOTION_STD))
        amplitude = motion.maps.square().mean(dim=(2, 3, 4)).sqrt()  # (B, K)
        amplitude = torch.cat([amplitude, torch.ones_like(coefficients[:, :, 0])], dim=1).clamp_min(self.MOTION_STD)
        fixed_rows = 2 * (self.MOTION_STD / amplitude).log()[:, :, None].expand_as(rows)
        logvar = self.spec.join(torch.cat([fixed_maps, spread], dim=1), fixed_rows)
        return Posterior(self.spec.join(maps, rows), logvar)


class VectorEncoder(nn.Module):
    """The paper's encoder: a 3-D residual network over frames 1..T, with a global vector z.

    ASSUME: similar to the encoder of the cINN code on which the paper builds (Dorkenwald et al. 2021, stage 1): stem and
    stages that halve space and time down to at most 4 x 4 cells of one time step, GroupNorm, two heads for mean and
    log-variance. The release has two blocks per stage and widths 64-64-128-256-512; here each stage is one block.
    """

    def __init__(self, spec: LatentSpec, size: int, width: int):
        super().__init__()
        self.spec = spec
        channels, space, time = width, size // 2, math.ceil(spec.frames / 2)
        layers: list[nn.Module] = [nn.Conv3d(1, channels, (3, 7, 7), 2, (1, 3, 3)), group_norm(channels), nn.SiLU()]
        while space > 4 or time > 1:
            stride = (2 if time > 1 else 1, 2 if space > 4 else 1, 2 if space > 4 else 1)
            wider = min(channels * 2, 8 * width)
            layers.append(ResBlock3d(channels, wider, stride))
            channels = wider
            space, time = math.ceil(space / stride[1]), math.ceil(time / stride[0])
        self.body = nn.Sequential(*layers)
        self.heads = nn.Linear(channels * space**2 * time, 2 * spec.dim)

    def forward(self, video: Tensor, motion: MotionCode | None = None) -> Posterior:
        """video float (B, 1, T + 1, S, S) in [-1, 1] -> q(z | x); x0 is ignored, as in the paper."""
        features = self.body(video[:, :, 1:])  # (B, C, 1, 4, 4)
        mean, logvar = self.heads(features.flatten(1)).chunk(2, dim=1)
        return Posterior(mean, logvar.clamp(-12, 4))


class GridEncoder(nn.Module):
    """A 3-D residual network down to a small spatio-temporal grid, aligned with x0.

    Args:
        spec: a grid latent.
        size: height and width S of a frame; S / map_size and T / grid_frames must be powers of two.
        width: channels of the first level.
    """

    def __init__(self, spec: LatentSpec, size: int, width: int):
        super().__init__()
        self.spec = spec
        space, time = log2_ratio(size, spec.map_size, "size"), log2_ratio(spec.frames, spec.grid_frames, "T")
        layers: list[nn.Module] = [nn.Conv3d(3, width, 3, padding=1), group_norm(width), nn.SiLU()]
        channels = width
        for level in range(max(space, time)):
            stride = (2 if level < time else 1, 2 if level < space else 1, 2 if level < space else 1)
            wider = min(channels * 2, 8 * width)
            layers.append(ResBlock3d(channels, wider, stride))
            channels = wider
        self.body = nn.Sequential(*layers, nn.Conv3d(channels, 2 * spec.channels, 1))

    def forward(self, video: Tensor, motion: MotionCode | None = None) -> Posterior:
        """video float (B, 1, T + 1, S, S) in [-1, 1] -> q(z | x)."""
        frames = video[:, :, 1:]
        x0 = video[:, :, :1].expand_as(frames)
        grid = self.body(torch.cat([frames, x0, 4 * (frames - x0)], dim=1))  # (B, 2C, t, h, w)
        mean, logvar = grid.transpose(1, 2).chunk(2, dim=2)  # (B, t, C, h, w) each
        return Posterior(mean.flatten(1), logvar.clamp(-12, 4).flatten(1))


class ResBlock3d(nn.Module):
    """Residual block of 3-D convolutions with a strided shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: tuple[int, int, int]):
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, 3, stride, 1)
        self.norm1 = group_norm(outputs)
        self.conv2 = nn.Conv3d(outputs, outputs, 3, 1, 1)
        self.norm2 = group_norm(outputs)
        self.skip = nn.Conv3d(inputs, outputs, 3, stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.silu(self.norm1(self.conv1(x)))
        return F.silu(self.norm2(self.conv2(hidden)) + self.skip(x))
