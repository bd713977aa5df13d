"""Published image distances on ImageNet backbones: LPIPS and DISTS.

Implemented here because the licence of pyiqa is non-commercial, and because pyiqa requires the complete classifier
checkpoints of torchvision although both need only the convolutions. Tests compare both with pyiqa and torch-fidelity.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

Backbone = Literal["vgg16", "alexnet"]
RELUS = {"vgg16": (3, 8, 15, 22, 29), "alexnet": (1, 4, 7, 9, 11)}  # layer indices in torchvision's `features`
LAST = {net: places[-1] + 1 for net, places in RELUS.items()}
EPSILON = 1e-10


def backbone(net: Backbone, state: dict[str, Tensor]) -> nn.Sequential:
    """Build the convolutional layers up to the last ReLU that is used.

    Args:
        net: name in torchvision.
        state: state dict of the whole network, or of its `features` alone.

    Raises:
        RuntimeError: the state does not fit.
    """
    own = {key.removeprefix("features."): value for key, value in state.items() if not key.startswith("classifier")}
    with torch.device("meta"):
        network = getattr(torchvision.models, net)(weights=None).features[: LAST[net]]
    network.load_state_dict(
        {key: value for key, value in own.items() if int(key.split(".")[0]) < LAST[net]}, assign=True
    )
    return network.eval().requires_grad_(False)


class Lpips(nn.Module):
    """LPIPS 0.1 (Zhang et al. 2018, CVPR): squared differences of unit-normalised features, weighted by learned heads.

    Args:
        net: name of the backbone in torchvision.
        state: state dict of the backbone.
        heads: `lin<i>.model.1.weight` (1, C, 1, 1) for the five levels.

    Raises:
        RuntimeError: a state does not fit.
        KeyError: a head is missing.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, net: Backbone, state: dict[str, Tensor], heads: dict[str, Tensor]):
        super().__init__()
        self.features, self.relus = backbone(net, state), RELUS[net]
        self.heads = nn.ParameterList([heads[f"lin{i}.model.1.weight"] for i in range(5)]).requires_grad_(False)
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).reshape(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).reshape(1, 3, 1, 1))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Two batches of images float (N, 3, H, W) in [-1, 1] -> (N,)."""
        pairs = zip(self._levels(first), self._levels(second), self.heads, strict=True)
        return torch.stack([((a - b).square() * head).sum(dim=1).mean(dim=(1, 2)) for a, b, head in pairs]).sum(dim=0)

    def _levels(self, images: Tensor) -> list[Tensor]:
        hidden, levels = (images - self.shift) / self.scale, []
        for place, layer in enumerate(self.features):
            hidden = layer(hidden)
            if place in self.relus:
                norm = hidden.square().sum(dim=1, keepdim=True)
                # The square root has no finite gradient at zero, which occurs where all channels of a ReLU are zero.
                levels.append(hidden / (norm.clamp_min(EPSILON**2).sqrt() + EPSILON))
        return levels


class Dists(nn.Module):
    """DISTS (Ding et al. 2020, TPAMI): similarity of feature means (texture) and covariances (structure) of VGG16.

    Args:
        state: state dict of VGG16.
        weights: `alpha` and `beta`, (1, 1475, 1, 1) each, for the image itself and five feature levels.

    Raises:
        RuntimeError: the state does not fit.
        KeyError: a weight is missing.
    """

    CHANNELS = (3, 64, 128, 256, 512, 512)
    mean: Tensor
    std: Tensor
    alpha: Tensor
    beta: Tensor
    window: Tensor

    def __init__(self, state: dict[str, Tensor], weights: dict[str, Tensor]):
        super().__init__()
        self.features = backbone("vgg16", state)
        total = weights["alpha"].sum() + weights["beta"].sum()
        self.register_buffer("alpha", weights["alpha"].detach() / total)
        self.register_buffer("beta", weights["beta"].detach() / total)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1))
        hann = torch.from_numpy(np.hanning(5)[1:-1]).float()
        self.register_buffer("window", torch.outer(hann, hann) / hann.sum() ** 2)  # (3, 3)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Two batches of images float (N, 3, H, W) in [0, 1] -> (N,); 0 = equal."""
        alpha, beta = (weights.split(self.CHANNELS, dim=1) for weights in (self.alpha, self.beta))
        likeness: Any = 0
        for x, y, a, b in zip(self._levels(first), self._levels(second), alpha, beta, strict=True):
            mx, my = x.mean(dim=(2, 3), keepdim=True), y.mean(dim=(2, 3), keepdim=True)
            vx, vy = (x - mx).square().mean(dim=(2, 3), keepdim=True), (y - my).square().mean(dim=(2, 3), keepdim=True)
            covariance = (x * y).mean(dim=(2, 3), keepdim=True) - mx * my
            texture = (2 * mx * my + 1e-6) / (mx.square() + my.square() + 1e-6)
            structure = (2 * covariance + 1e-6) / (vx + vy + 1e-6)
            likeness = likeness + (a * texture + b * structure).sum(dim=1)
        return 1 - likeness[:, 0, 0]

    def _levels(self, images: Tensor) -> list[Tensor]:
        hidden, levels = (images - self.mean) / self.std, [images]
        for place, layer in enumerate(self.features):
            hidden = self._pool(hidden) if isinstance(layer, nn.MaxPool2d) else layer(hidden)
            if place in RELUS["vgg16"]:
                levels.append(hidden)
        return levels

    def _pool(self, hidden: Tensor) -> Tensor:
        """L2 pooling with a Hann window instead of max pooling, to avoid aliasing."""
        channels = hidden.shape[1]
        kernel = self.window.expand(channels, 1, -1, -1)
        return (F.conv2d(hidden.square(), kernel, stride=2, padding=1, groups=channels) + 1e-12).sqrt()
