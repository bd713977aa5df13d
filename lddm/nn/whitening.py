"""Standardisation of z: what stage 2 learns is white, so that small things count as much as large ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lddm.nn.latent import LatentSpec

# Directions with less than this share of a map's mean variance are noise and are not blown up to unit variance.
FLOOR = 0.002


class Whitening(nn.Module):
    """An invertible linear map to zero mean and unit variance.

    The maps of a factorised latent are whitened as images, W = C^(-1/2) for each channel (ZCA, the whitening that
    stays closest to the image, so they remain aligned with x0). The probe's pressure moves whole maps by pixels, the
    strain at a lesion by hundredths of one; dividing each cell by its own standard deviation leaves that ratio, and a
    generator trained on it learns the pressure and misses the diagnosis (docs/method.md). All else is divided by its
    standard deviation.
    """

    def __init__(self, spec: LatentSpec):
        super().__init__()
        self.spec = spec
        cells = spec.map_size**2
        self.register_buffer("shift", torch.zeros(spec.size))
        self.register_buffer("scale", torch.ones(spec.size))
        self.register_buffer("whiten", torch.eye(cells).repeat(spec.map_channels, 1, 1))  # (C, h w, h w)
        self.register_buffer("colour", torch.eye(cells).repeat(spec.map_channels, 1, 1))

    @classmethod
    def fit(cls, spec: LatentSpec, mean: Tensor, std: Tensor) -> Whitening:
        """From the posteriors of training clips.

        Args:
            spec: the structure of z.
            mean, std: float (n, D), q(z | x) of each clip; the variance of z is that of the means plus q's own.
        """
        self = cls(spec)
        self.shift.copy_(mean.mean(dim=0))
        centred = (mean - self.shift).double()
        noise = std.double().square().mean(dim=0)
        # A dimension that never changes would be divided by zero; its scale then does not matter.
        scale = (centred.square().mean(dim=0) + noise).sqrt().clamp_min(1e-4)
        if spec.kind == "factorised":
            maps, _ = spec.split(centred)
            maps = maps.flatten(2).transpose(0, 1)  # (C, n, h w)
            spread, _ = spec.split(noise[None])
            covariance = maps.transpose(1, 2) @ maps / len(centred) + torch.diag_embed(spread[0].flatten(1))
            values, vectors = torch.linalg.eigh(covariance)
            values = values.clamp_min(0) + FLOOR * values.mean(dim=1, keepdim=True).clamp_min(1e-8)
            self.whiten.copy_(vectors @ torch.diag_embed(values.rsqrt()) @ vectors.transpose(1, 2))
            self.colour.copy_(vectors @ torch.diag_embed(values.sqrt()) @ vectors.transpose(1, 2))
            scale[: spec.map_channels * spec.map_size**2] = 1
        self.scale.copy_(scale)
        return self

    def forward(self, z: Tensor) -> Tensor:
        """z (B, D) -> white z (B, D)."""
        return self._on_maps((z - self.shift) / self.scale, self.whiten)

    def invert(self, white: Tensor) -> Tensor:
        """White z (B, D) -> z (B, D), in the units of stage 1."""
        return self._on_maps(white, self.colour) * self.scale + self.shift

    def _on_maps(self, z: Tensor, matrix: Tensor) -> Tensor:
        if self.spec.kind != "factorised":
            return z
        maps, coefficients = self.spec.split(z)
        return self.spec.join(torch.einsum("cij,bcj->bci", matrix, maps.flatten(2)), coefficients)
