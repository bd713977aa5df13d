"""Frozen embeddings of x0: an image autoencoder, or EfficientNet-Lite0."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lddm.nn.blocks import ImagePyramid, ResBlock2d, group_norm, max_log2_ratio
from lddm.nn.perceptual import MEAN, STD, efficientnet_lite0

WIDTH = 16  # channels of the first level of the autoencoder
SMALLEST = 64  # pixels; EfficientNet-Lite0 halves five times


class AutoencoderEmbedder(nn.Module):
    """Variational autoencoder of single frames; the embedding is the posterior mean.

    The released code of the cINN conditions its flow on such a frozen embedding (stage2_cINN/AE). ASSUME: a small
    convolutional network instead of its ResNet-50 encoder and BigGAN decoder.

    Args:
        size: height and width S of a frame.
        dim: size of the embedding.
    """

    def __init__(self, size: int, dim: int):
        super().__init__()
        self.dim, levels = dim, max_log2_ratio(size)
        self.base = size // 2**levels
        self.encoder = ImagePyramid(size, WIDTH, levels)
        channels = self.encoder.channels[::-1]
        self.heads = nn.Linear(channels[0] * self.base**2, 2 * dim)
        self.seed = nn.Linear(dim, channels[0] * self.base**2)
        self.decoder = nn.ModuleList(
            ResBlock2d(before, after) for before, after in zip(channels, channels[1:], strict=False)
        )
        self.conv_out = nn.Sequential(group_norm(channels[-1]), nn.SiLU(), nn.Conv2d(channels[-1], 1, 3, 1, 1))

    def forward(self, x0: Tensor) -> Tensor:
        """x0 float (B, 1, S, S) in [-1, 1] -> embedding (B, dim)."""
        return self._posterior(x0)[0]

    def reconstruct(self, x0: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Decode a posterior sample given standard normal noise (B, dim): frame (B, 1, S, S) and KL (B,) in nats."""
        mean, logvar = self._posterior(x0)
        hidden = self.seed(mean + (0.5 * logvar).exp() * noise).reshape(len(x0), -1, self.base, self.base)
        for block in self.decoder:
            hidden = block(F.interpolate(hidden, scale_factor=2, mode="nearest"))
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(dim=1)
        return torch.tanh(self.conv_out(hidden)), kl

    def _posterior(self, x0: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = self.heads(self.encoder(x0)[-1].flatten(1)).chunk(2, dim=1)
        return mean, logvar.clamp(-12, 4)


class EfficientNetEmbedder(nn.Module):
    """The 1280 pooled features of EfficientNet-Lite0 (ImageNet). Its weights are not registered in the module."""

    dim = 1280

    def forward(self, x0: Tensor) -> Tensor:
        """x0 float (B, 1, S, S) in [-1, 1] -> features (B, 1280)."""
        network: Any = efficientnet_lite0().to(x0.device)
        x = ((x0.float() + 1) / 2 - MEAN) / STD
        if x.shape[-1] < SMALLEST:
            x = F.interpolate(x, size=SMALLEST, mode="bilinear", align_corners=False)
        return network.forward_head(network.forward_features(x.expand(-1, 3, -1, -1)), pre_logits=True)


Embedder = AutoencoderEmbedder | EfficientNetEmbedder


def build_embedder(kind: Literal["autoencoder", "efficientnet"], size: int, dim: int) -> Embedder:
    """Build an embedder by type; `dim` applies to the autoencoder only."""
    return AutoencoderEmbedder(size, dim) if kind == "autoencoder" else EfficientNetEmbedder()
