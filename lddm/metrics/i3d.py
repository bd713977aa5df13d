"""The inflated Inception-v1 (I3D) of FVD, for weights that do not come as TorchScript.

Architecture: Carreira & Zisserman 2017 (CVPR), figure 3, as released in TensorFlow: convolutions and poolings with padding
SAME, batch normalisation without scale after each convolution but the last. Here it is folded into the convolutions.
FVD (Unterthiner et al. 2018) compares the 400 logits of the network trained on Kinetics-400.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 224  # pixels; size of the training videos of the network
CLASSES = 400
BLOCKS: dict[str, tuple[int, ...]] = {  # output channels: 1x1; 1x1, 3x3; 1x1, 3x3; 1x1 after pooling
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}


def same_padding(shape: Sequence[int], size: int | Sequence[int], stride: int | Sequence[int]) -> list[int]:
    """Padding SAME of TensorFlow for `torch.nn.functional.pad`: half before and half after, an odd one after.

    Args:
        shape: (T, H, W) of the input.
        size, stride: size and stride of the window, per axis or for all axes.
    """
    padding: list[int] = []
    for axis in (2, 1, 0):  # F.pad starts with the last axis
        window = size if isinstance(size, int) else size[axis]
        step = stride if isinstance(stride, int) else stride[axis]
        total = max((-(-shape[axis] // step) - 1) * step + window - shape[axis], 0)
        padding += [total // 2, total - total // 2]
    return padding


class Unit(nn.Module):
    """Convolution (padding SAME) with folded batch normalisation, and ReLU."""

    def __init__(self, before: int, after: int, size: int, stride: int = 1):
        super().__init__()
        self.size, self.stride = size, stride
        self.convolution = nn.Conv3d(before, after, size, stride)

    def forward(self, x: Tensor) -> Tensor:
        if self.size > 1:
            x = F.pad(x, same_padding(x.shape[2:], self.size, self.stride))
        return torch.relu_(self.convolution(x))


class MaxPool(nn.Module):
    """Max pooling with padding SAME; inputs are non-negative, so zero padding does not change the maximum."""

    def __init__(self, size: Sequence[int], stride: Sequence[int]):
        super().__init__()
        self.size, self.stride = tuple(size), tuple(stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool3d(F.pad(x, same_padding(x.shape[2:], self.size, self.stride)), self.size, self.stride)


class Mixed(nn.Module):
    """Inception block: four branches, concatenated along the channels."""

    def __init__(self, before: int, channels: tuple[int, ...]):
        super().__init__()
        a, b, c, d, e, f = channels
        self.Branch_0 = nn.ModuleDict({"Conv3d_0a_1x1": Unit(before, a, 1)})
        self.Branch_1 = nn.ModuleDict({"Conv3d_0a_1x1": Unit(before, b, 1), "Conv3d_0b_3x3": Unit(b, c, 3)})
        self.Branch_2 = nn.ModuleDict({"Conv3d_0a_1x1": Unit(before, d, 1), "Conv3d_0b_3x3": Unit(d, e, 3)})
        self.pool = MaxPool((3, 3, 3), (1, 1, 1))
        self.Branch_3 = nn.ModuleDict({"Conv3d_0b_1x1": Unit(before, f, 1)})

    def forward(self, x: Tensor) -> Tensor:
        branches = [x, x, x, self.pool(x)]
        for number in range(4):
            for unit in getattr(self, f"Branch_{number}").values():
                branches[number] = unit(branches[number])
        return torch.cat(branches, dim=1)


class I3d(nn.Module):
    """I3D with the 400 logits of Kinetics-400; module names as in the TensorFlow release.

    Args:
        divisor: divides the number of channels of all layers; 1 = the published network.
    """

    def __init__(self, divisor: int = 1):
        super().__init__()
        first, second = 64 // divisor, 192 // divisor
        layers: dict[str, nn.Module] = {
            "Conv3d_1a_7x7": Unit(3, first, 7, 2),
            "MaxPool3d_2a_3x3": MaxPool((1, 3, 3), (1, 2, 2)),
            "Conv3d_2b_1x1": Unit(first, first, 1),
            "Conv3d_2c_3x3": Unit(first, second, 3),
            "MaxPool3d_3a_3x3": MaxPool((1, 3, 3), (1, 2, 2)),
        }
        before = second
        for name, channels in BLOCKS.items():
            if name == "Mixed_4b":
                layers["MaxPool3d_4a_3x3"] = MaxPool((3, 3, 3), (2, 2, 2))
            elif name == "Mixed_5b":
                layers["MaxPool3d_5a_2x2"] = MaxPool((2, 2, 2), (2, 2, 2))
            narrow = tuple(count // divisor for count in channels)
            layers[name] = Mixed(before, narrow)
            before = narrow[0] + narrow[2] + narrow[4] + narrow[5]
        self.trunk = nn.ModuleDict(layers)
        self.logits = nn.Conv3d(before, CLASSES, 1)

    def forward(self, video: Tensor) -> Tensor:
        """Video float (B, 3, T, 224, 224) in [-1, 1], T >= 9 -> logits (B, 400)."""
        for layer in self.trunk.values():
            video = layer(video)
        pooled = F.avg_pool3d(video, (2, 7, 7), stride=1)  # (B, 1024, T / 8 - 1, 1, 1)
        return self.logits(pooled).mean(dim=(2, 3, 4))


def grey_video(clips: Tensor) -> Tensor:
    """Convert clips uint8 (B, T, S, S) to float (B, 3, T, 224, 224) in [-1, 1], resized as inside the StyleGAN-V file.

    ASSUME: bilinear with pixel centres, without antialiasing, as in StyleGAN-V (Skorokhodov et al. 2022), whose FVD is used
    by most later work; the original FVD code resizes with the pixel corners of TensorFlow 1.
    """
    frames = F.interpolate(clips.float(), size=(SIDE, SIDE), mode="bilinear", align_corners=False)  # (B, T, 224, 224)
    return (frames / 127.5 - 1)[:, None].expand(-1, 3, -1, -1, -1)
