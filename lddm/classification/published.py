"""Published networks as classifiers of grayscale clips: video networks of torchvision, C3D, and a single-frame network.

All are trained from scratch except `still`, whose ImageNet weights come with a package: pretrained video weights require a
download, and Kinetics is far from the ultrasound domain.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from lddm.nn.perceptual import MEAN, STD, efficientnet_lite0


@dataclass(frozen=True)
class Shape:
    """Input size of a published network.

    Attributes:
        side: height and width in pixels.
        frames: number of frames; None = any.
        exact: no other size is accepted. Other networks receive smaller clips unchanged, since upsampling only adds cost.
    """

    side: int
    frames: int | None = None
    exact: bool = False


TORCHVISION: dict[str, Shape] = {
    "r3d_18": Shape(112),
    "mc3_18": Shape(112),
    "r2plus1d_18": Shape(112),
    "s3d": Shape(224, 16, exact=True),
    "mvit_v2_s": Shape(224, 16, exact=True),
    "swin3d_t": Shape(112),
}


class FromTorchvision(nn.Module):
    """Video network of torchvision.

    r3d_18, mc3_18, r2plus1d_18: Tran et al. 2018; s3d: Xie et al. 2018; mvit_v2_s: Li et al. 2022; swin3d_t: Liu et al. 2022.
    """

    def __init__(self, name: str, outputs: int = 1):
        super().__init__()
        from torchvision.models import get_model

        self.shape = TORCHVISION[name]
        # The head is rebuilt, so that all other layers have the published sizes.
        self.network = get_model(name, weights=None, num_classes=outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, T, S, S) in [-1, 1] -> (B, outputs)."""
        return self.network(resized(x, self.shape).expand(-1, 3, -1, -1, -1))


class C3d(nn.Module):
    """C3D (Tran et al. 2015): eight 3 x 3 x 3 convolutions, five poolings, two layers of 4096; 78 million parameters."""

    SHAPE = Shape(112, 16, exact=True)
    # channels of the convolutions before each pooling
    LEVELS = ((64,), (128,), (256, 256), (512, 512), (512, 512))

    def __init__(self, outputs: int = 1):
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for place, level in enumerate(self.LEVELS):
            for after in level:
                layers += [nn.Conv3d(before, after, 3, padding=1), nn.ReLU(inplace=True)]
                before = after
            pool = (1, 2, 2) if place == 0 else 2
            padding = (0, 1, 1) if place == len(self.LEVELS) - 1 else 0
            layers.append(nn.MaxPool3d(pool, stride=pool, padding=padding))
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Sequential(
            nn.Linear(512 * 4 * 4, 4096), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4096, outputs),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, T, S, S) in [-1, 1] -> (B, outputs)."""
        return self.head(self.body(resized(x, self.SHAPE)))


class StillNetwork(nn.Module):
    """EfficientNet-Lite0 on single frames, with features averaged over frames: invariant to their order."""

    SMALLEST = 64  # pixels; below that its last feature maps have a single cell

    def __init__(self, outputs: int = 1):
        super().__init__()
        network: Any = copy.deepcopy(efficientnet_lite0()).requires_grad_(True)
        self.network = network
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(network.num_features, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, F, S, S) in [-1, 1] -> (B, outputs)."""
        count, frames = x.shape[0], x.shape[2]
        x = x.transpose(1, 2).flatten(0, 1)  # (B * F, 1, S, S)
        if x.shape[-1] < self.SMALLEST:
            x = F.interpolate(x, size=self.SMALLEST, mode="bilinear", align_corners=False)
        x = ((x + 1) / 2 - MEAN) / STD
        features = self.network.forward_head(
            self.network.forward_features(x.expand(-1, 3, -1, -1)), pre_logits=True
        )  # (B * F, C)
        return self.head(features.unflatten(0, (count, frames)).mean(dim=1))


def resized(x: Tensor, shape: Shape) -> Tensor:
    """Resize clips (B, C, T, S, S) to the input size of a network."""
    side = shape.side if shape.exact else min(shape.side, x.shape[-1])
    size = (shape.frames or x.shape[2], side, side)
    return x if x.shape[2:] == size else F.interpolate(x, size=size, mode="trilinear", align_corners=False)
