"""Convolution blocks and their conditional normalisation: AdaIN (global code) and SPADE (image)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lddm.nn.precision import LOW


def groups_of(channels: int, most: int = 16) -> int:
    """Largest number of groups, at most `most`, that divides the channels."""
    return next(g for g in range(min(most, channels), 0, -1) if channels % g == 0)


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm with at most 16 groups."""
    return nn.GroupNorm(groups_of(channels), channels)


def normalise(x: Tensor, groups: int) -> Tensor:
    """Group norm without affine parameters; (B, C, *space) in and out, in the input precision even under autocast.

    Autocast would output float32, which the next convolution casts back, at twice the memory traffic. Mean and variance are
    accumulated in float32 in both cases.
    """
    if x.dtype not in LOW:
        return F.group_norm(x, groups)
    with torch.autocast(x.device.type, enabled=False):
        return F.group_norm(x, groups)


class AdaIN(nn.Module):
    """Adaptive instance normalisation: a code sets scale and shift of each channel (Huang & Belongie 2017).

    Input (B, C, *space) and a code (B, D). The scale is 1 + gamma, so that an untrained layer only normalises.
    """

    def __init__(self, channels: int, code: int):
        super().__init__()
        self.affine = nn.Linear(code, 2 * channels)
        nn.init.normal_(self.affine.weight, std=0.02)
        nn.init.zeros_(self.affine.bias)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        normal = normalise(x, x.shape[1])  # one group per channel: instance norm that also accepts 1-pixel maps
        gamma, beta = self.affine(code).reshape(x.shape[0], 2 * x.shape[1], *[1] * (x.dim() - 2)).chunk(2, dim=1)
        return normal * (1 + gamma) + beta


class SPADE(nn.Module):
    """Spatially adaptive normalisation by an image (Park et al. 2019), constant over time.

    Input: features (B, C, T, H, W) and an image (B, 1, h, w) of any size.
    """

    def __init__(self, channels: int, image_channels: int = 1, hidden: int = 64):
        super().__init__()
        self.groups = groups_of(channels)
        self.shared = nn.Conv2d(image_channels, hidden, 3, padding=1)
        self.gamma = nn.Conv2d(hidden, channels, 3, padding=1)
        self.beta = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        image = F.interpolate(image, size=x.shape[-2:], mode="bilinear", align_corners=False, antialias=True)
        hidden = F.leaky_relu(self.shared(image), 0.2)
        gamma, beta = self.gamma(hidden)[:, :, None], self.beta(hidden)[:, :, None]  # (B, C, 1, H, W)
        return normalise(x, self.groups) * (1 + gamma) + beta


class ResBlock2d(nn.Module):
    """Pre-activation residual block; an optional code modulates it by AdaIN before the second convolution."""

    def __init__(self, inputs: int, outputs: int, code: int = 0, stride: int = 1):
        super().__init__()
        self.norm1 = group_norm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.norm2 = AdaIN(outputs, code) if code else group_norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.skip = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else nn.Identity()
        self.coded = bool(code)

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x)))
        hidden = self.norm2(hidden, code) if self.coded else self.norm2(hidden)
        return self.skip(x) + self.conv2(F.silu(hidden))


def log2_ratio(large: int, small: int, name: str) -> int:
    """Number of halvings from `large` to `small`.

    Raises:
        ValueError: `large` is not `small` times a power of two.
    """
    count = int(math.log2(large // small)) if large >= small else -1
    if count < 0 or small * 2**count != large:
        raise ValueError(f"{name} {large} must be {small} times a power of two")
    return count


def max_log2_ratio(size: int, smallest: int = 4) -> int:
    """Largest number of halvings of a size that keep it an integer of at least `smallest`."""
    count = 0
    while size % 2 == 0 and size // 2 >= smallest:
        size, count = size // 2, count + 1
    return count


class ImagePyramid(nn.Module):
    """Multi-scale features of an image, at half the resolution per level.

    Returns a list, finest first: level i is (B, width * min(2**i, 4), S / 2**i, S / 2**i).

    Args:
        size: height and width S.
        width: channels of the first level.
        levels: number of halvings; S must be a multiple of 2**levels.
    """

    def __init__(self, size: int, width: int, levels: int, inputs: int = 1):
        super().__init__()
        if size % 2**levels:
            raise ValueError(f"image size {size} must be a multiple of {2**levels}")
        self.channels = [width * min(2**i, 4) for i in range(levels + 1)]
        self.stem = nn.Conv2d(inputs, width, 3, 1, 1)
        self.levels = nn.ModuleList(
            ResBlock2d(before, after, stride=2) for before, after in zip(self.channels, self.channels[1:], strict=False)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        features = [self.stem(image)]
        for level in self.levels:
            features.append(level(features[-1]))
        return features


def sinusoidal(values: Tensor, size: int, longest: float = 10_000.0) -> Tensor:
    """Sinusoidal embedding of numbers (B,) -> (B, size) (Vaswani et al. 2017)."""
    rates = torch.exp(-math.log(longest) * torch.arange(size // 2, device=values.device) / (size // 2))
    angles = values.float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=1)
