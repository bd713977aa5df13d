"""Inflated Inception-v1 (Carreira & Zisserman 2017) for tests: all layers and poolings, an eighth of the width."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 8  # divides the channels of all blocks but the last
BLOCKS = (  # output channels: 1x1; 1x1 and 3x3; 1x1 and 3x3; 1x1 after pooling
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    ((192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64), (112, 144, 288, 32, 64, 64),
     (256, 160, 320, 32, 128, 128)),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)  # fmt: skip


def unit(before: int, after: int, size: int, stride: int = 1) -> nn.Module:
    convolution = nn.Conv3d(before, after, size, stride=stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight)
    return nn.Sequential(convolution, nn.BatchNorm3d(after), nn.ReLU())


class Inception(nn.Module):
    def __init__(self, before: int, channels: tuple[int, ...]):
        super().__init__()
        a, b, c, d, e, f = channels
        self.one, self.two = unit(before, a, 1), nn.Sequential(unit(before, b, 1), unit(b, c, 3))
        self.three = nn.Sequential(unit(before, d, 1), unit(d, e, 3))
        self.four = nn.Sequential(nn.MaxPool3d(3, stride=1, padding=1), unit(before, f, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.two(x), self.three(x), self.four(x)], dim=1)


def trunk() -> nn.Sequential:
    """(B, 3, T, 224, 224) in [-1, 1] -> (B, 1024, T', 1, 1); T' = 1 for 9 to 16 frames."""
    spatial = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
    layers: list[nn.Module] = [unit(3, 64 // WIDTH, 7, 2), spatial, unit(64 // WIDTH, 64 // WIDTH, 1)]
    layers += [unit(64 // WIDTH, 192 // WIDTH, 3), spatial]
    before, pools = 192 // WIDTH, (nn.MaxPool3d(3, stride=2, padding=1), nn.MaxPool3d(2, stride=2, ceil_mode=True))
    for level, blocks in enumerate(BLOCKS):
        for channels in blocks:
            narrow = channels if channels is BLOCKS[-1][-1] else tuple(c // WIDTH for c in channels)
            layers.append(Inception(before, narrow))
            before = narrow[0] + narrow[2] + narrow[4] + narrow[5]
        layers.append(pools[level] if level < 2 else nn.AvgPool3d((2, 7, 7), stride=1))
    return nn.Sequential(*layers)


class I3d(nn.Module):
    """Called like the file of StyleGAN-V: 400 logits, or their softmax."""

    def __init__(self):
        super().__init__()
        self.trunk, self.logits = trunk(), nn.Conv3d(1024, 400, 1)

    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        if resize:
            x = F.interpolate(x, size=[x.shape[2], 224, 224], mode="trilinear", align_corners=False)
        if rescale:
            x = 2 * x / 255 - 1
        logits = self.logits(self.trunk(x)).mean(dim=(2, 3, 4))
        return logits if return_features else logits.softmax(dim=1)


class Pooled(nn.Module):
    """Called like a network of dynamic textures: values 0..255, 1024 pooled features."""

    def __init__(self):
        super().__init__()
        self.trunk = trunk()

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, size=[x.shape[2], 224, 224], mode="trilinear", align_corners=True)
        return self.trunk(x / 127.5 - 1).mean(dim=(2, 3, 4))
