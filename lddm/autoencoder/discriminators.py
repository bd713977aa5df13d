"""Spatial (per-frame) and temporal (per-clip) discriminators of stage 1.

ASSUME: smaller than those of the cINN code (Dorkenwald et al. 2021), which are a PatchGAN with ActNorm and a 3-D ResNet-18 on
12 of 16 frames.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class SpatialDiscriminator(nn.Module):
    """PatchGAN on single frames: (N, 1, S, S) -> logits (N, 1, s, s)."""

    def __init__(self, width: int, layers: int = 3):
        super().__init__()
        channels = [1] + [width * min(2**i, 8) for i in range(layers)]
        stack: list[nn.Module] = []
        for before, after in zip(channels, channels[1:], strict=False):
            stack += [spectral_norm(nn.Conv2d(before, after, 4, 2, 1)), nn.LeakyReLU(0.2)]
        stack.append(spectral_norm(nn.Conv2d(channels[-1], 1, 3, 1, 1)))
        self.stack = nn.Sequential(*stack)

    def forward(self, frames: Tensor) -> Tensor:
        return self.stack(frames)


class TemporalDiscriminator(nn.Module):
    """3-D network on clips: (B, 1, T, S, S) -> logits (B, 1) and the features of each level for matching."""

    def __init__(self, width: int, levels: int = 4):
        super().__init__()
        channels = [1] + [width * min(2**i, 8) for i in range(levels)]
        self.levels = nn.ModuleList(
            nn.Sequential(spectral_norm(nn.Conv3d(before, after, 3, (1 if i == 0 else 2, 2, 2), 1)), nn.LeakyReLU(0.2))
            for i, (before, after) in enumerate(zip(channels, channels[1:], strict=False))
        )
        self.head = nn.Linear(channels[-1], 1, bias=False)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """No-op: the R1 penalty differentiates twice, which torch.compile does not support."""

    def forward(self, clips: Tensor) -> tuple[Tensor, list[Tensor]]:
        features = []
        for level in self.levels:
            clips = level(clips)
            features.append(clips)
        return self.head(clips.mean(dim=(2, 3, 4))), features
