"""Encoder and discriminators layer by layer as in the release of the cINN code (Dorkenwald et al. 2021).

Source: CompVis/image2video-synthesis-using-cINNs at 30b1902, stage1_VAE/modules/resnet3D.py and patch_disc.py. The decoder
of the release is `lddm.autoencoder.decoder.SPADEDecoder` with `published=True`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from lddm.autoencoder.posterior import Posterior
from lddm.latent.spec import LatentSpec
from lddm.nn.blocks import group_norm, log2_ratio, max_log2_ratio

STAGES = 4
Stride = tuple[int, int, int]


class BasicBlock3d(nn.Module):
    """Two convolutions with GroupNorm and ReLU; the shortcut is a strided 3 x 3 x 3 convolution if the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: Stride, spectral: bool):
        super().__init__()
        wrap = spectral_norm if spectral else nn.Identity()
        self.conv1 = wrap(nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False))
        self.norm1 = group_norm(outputs)
        self.conv2 = wrap(nn.Conv3d(outputs, outputs, 3, 1, 1, bias=False))
        self.norm2 = group_norm(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != (1, 1, 1) or inputs != outputs:
            self.shortcut = nn.Sequential(
                wrap(nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False)), group_norm(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(hidden)) + self.shortcut(x))


def _stride(time: bool, space: bool) -> Stride:
    """Stride that halves time, space or both."""
    return (2 if time else 1, 2 if space else 1, 2 if space else 1)


def resnet18_stages(width: int, strides: list[Stride], spectral: bool = False) -> nn.ModuleList:
    """Stages of two blocks each, with width, 2 width, 4 width, 8 width (and then constant) channels, from `width` inputs.

    Args:
        strides: strides of the first block of each stage.
        spectral: spectral norm on the first block of each stage, as in the discriminator of the release.
    """
    stages, before = nn.ModuleList(), width
    for number, stride in enumerate(strides):
        channels = width * min(2**number, 8)
        first = BasicBlock3d(before, channels, stride, spectral)
        stages.append(nn.Sequential(first, BasicBlock3d(channels, channels, (1, 1, 1), False)))
        before = channels
    return stages


class PublishedEncoder(nn.Module):
    """3-D ResNet-18 over frames 1..T down to one time step of 4 x 4 cells, then mean and log-variance of z.

    Widths are those of the 128-pixel configurations (64-64-128-256-512), also at 64 pixels, where the release doubles them one
    stage earlier (ASSUME). The release does not bound the log-variance; bounds of -12 and 4 exclude no realistic posterior.

    Args:
        spec: a vector.
        size: height and width S of a frame, 4 times a power of two.
        width: channels of the stem.
    """

    def __init__(self, spec: LatentSpec, size: int, width: int):
        super().__init__()
        self.spec = spec
        space = log2_ratio(size // 2, 4, "half of size")
        time = max(0, math.ceil(math.log2(spec.frames)) - 1)
        count = max(STAGES, space, time)
        # The last stages halve, the first ones keep the size: strides (1, 2, 2, 2) at 64 pixels, as in the release.
        halved = [_stride(i >= count - time, i >= count - space) for i in range(count)]
        self.stem = nn.Sequential(
            nn.Conv3d(1, width, (3, 7, 7), 2, (1, 3, 3), bias=False), group_norm(width), nn.ReLU()
        )
        self.stages = resnet18_stages(width, halved)
        self.heads = nn.Linear(width * min(2 ** (count - 1), 8) * 16, 2 * spec.dim)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, video: Tensor, motion: Any = None) -> Posterior:
        """video float (B, 1, T + 1, S, S) in [-1, 1] -> q(z | x); x0 is ignored, as in the paper."""
        hidden = self.stem(video[:, :, 1:])
        for stage in self.stages:
            hidden = stage(hidden)  # finally (B, 8 width, 1, 4, 4)
        mean, logvar = self.heads(hidden.flatten(1)).chunk(2, dim=1)
        return Posterior(mean, logvar.clamp(-12, 4))


class PublishedTemporalDiscriminator(nn.Module):
    """3-D ResNet-18 on windows of clips: (B, 1, t, S, S) -> logits (B, 1) and the features of the four stages.

    ASSUME: features are averaged over all remaining cells; the release averages over 4 x 4, which are all at its sizes.
    """

    def __init__(self, width: int, size: int):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(1, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False),
            group_norm(width),
            nn.ReLU(),
            nn.MaxPool3d(3, (1, 2, 2), 1),
        )
        space = min(3, max_log2_ratio(size // 4))  # 3 at 128 pixels, 2 at 64, as in the release
        strides = [_stride(True, i >= STAGES - space) for i in range(STAGES)]
        self.stages = resnet18_stages(width, strides, spectral=True)
        self.head = nn.Linear(8 * width, 1, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.Linear):
                nn.init.orthogonal_(module.weight)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """No-op: the R1 penalty differentiates twice, which torch.compile does not support."""

    def forward(self, clips: Tensor) -> tuple[Tensor, list[Tensor]]:
        hidden, features = self.stem(clips), []
        for stage in self.stages:
            hidden = stage(hidden)
            features.append(hidden)
        return self.head(hidden.mean(dim=(2, 3, 4))), features


class ActNorm(nn.Module):
    """Per-channel scale and shift that standardise the first training batch (Kingma & Dhariwal 2018, sec. 3.1)."""

    ready: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.scale = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.register_buffer("ready", torch.tensor(False))

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not self.ready:
            with torch.no_grad():
                self.shift.copy_(-x.mean(dim=(0, 2, 3), keepdim=True))
                self.scale.copy_(1 / (x.std(dim=(0, 2, 3), keepdim=True) + 1e-6))
                self.ready.fill_(True)
        return self.scale * (x + self.shift)


class PublishedSpatialDiscriminator(nn.Module):
    """PatchGAN with three strided layers, ActNorm and spectral norm: (N, 1, S, S) -> logits (N, 1, s, s)."""

    def __init__(self, width: int, layers: int = 3):
        super().__init__()
        channels = [1] + [width * min(2**i, 8) for i in range(layers + 1)]
        stack: list[nn.Module] = []
        for number, (before, after) in enumerate(zip(channels, channels[1:], strict=False)):
            stack.append(nn.Conv2d(before, after, 4, 2 if number < layers else 1, 1))
            stack += [ActNorm(after)] if number else []
            stack.append(nn.LeakyReLU(0.2))
        stack.append(nn.Conv2d(channels[-1], 1, 4, 1, 1))
        for position, layer in enumerate(stack):
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.02)
                stack[position] = spectral_norm(layer)
        self.stack = nn.Sequential(*stack)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """No-op: the first batch initialises ActNorm, so torch.compile would trace twice."""

    def forward(self, frames: Tensor) -> Tensor:
        return self.stack(frames)
