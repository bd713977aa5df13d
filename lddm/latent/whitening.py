"""Standardisation of z: what stage 2 learns is white, so that small things count as much as large ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lddm.latent.spec import LatentSpec

# Directions with less than this share of the mean variance are noise and are not scaled up to unit variance. The fewer
# clips there are per dimension, the less certain the small directions of a covariance are: SCARCE * dimensions / clips.
# Rows of coefficients have no such noise: their smallest directions are jerks, and a generator that gets these wrong
# moves jerkily, even if all else is right.
FLOOR = {"maps": 3e-4, "rows": 3e-5}
SCARCE = {"maps": 0.0005, "rows": 0.0}


class Whitening(nn.Module):
    """An invertible linear map to zero mean and unit variance.

    Each map of a low-rank latent is whitened over its cells and each row of coefficients over time, W = C^(-1/2)
    (ZCA, the whitening that stays closest to the data, so that maps remain aligned with x0). The probe's pressure moves
    whole maps by pixels, the strain at a lesion by hundredths of one; dividing each cell by its own standard deviation
    leaves that ratio, and a generator trained on it learns the pressure and misses the diagnosis (docs/method/latent.md). A
    vector is divided by its standard deviation.
    """

    shift: Tensor  # float (D,)
    scale: Tensor  # float (D,)

    def __init__(self, spec: LatentSpec):
        super().__init__()
        self.spec = spec
        self.register_buffer("shift", torch.zeros(spec.size))
        self.register_buffer("scale", torch.ones(spec.size))
        cells = spec.map_size**2
        for name, count, size in (("maps", spec.map_channels, cells), ("rows", spec.coefficient_rows, spec.frames)):
            self.register_buffer(f"whiten_{name}", torch.eye(size).repeat(count, 1, 1))  # (C, h w, h w), (K + R, T, T)
            self.register_buffer(f"cov_sqrt_{name}", torch.eye(size).repeat(count, 1, 1))

    @classmethod
    def fit(cls, spec: LatentSpec, z: Tensor, clips: int | None = None) -> Whitening:
        """From training clips.

        Args:
            spec: the structure of z.
            z: float (n, D).
            clips: how many independent clips the entries come from (mirrored and reversed copies are not); default: n.
        """
        self = cls(spec)
        self.shift.copy_(z.mean(dim=0))
        centred = (z - self.shift).double()
        if spec.kind == "vector":
            # A dimension that never changes would be divided by zero; its scale then does not matter.
            self.scale.copy_(centred.square().mean(dim=0).sqrt().clamp_min(1e-4))
            return self
        for name, values in zip(("maps", "rows"), spec.split(centred), strict=True):
            if values.shape[1] == 0:  # a grid has no coefficients
                continue
            floor = FLOOR[name] + SCARCE[name] * values.flatten(2).shape[2] / (clips or len(z))
            values = values.flatten(2).transpose(0, 1)  # (C, n, size)
            variance, axes = torch.linalg.eigh(values.transpose(1, 2) @ values / len(centred))
            variance = variance.clamp_min(0) + floor * variance.mean(dim=1, keepdim=True).clamp_min(1e-8)
            for kind, power in (("whiten", -0.5), ("cov_sqrt", 0.5)):
                matrix = axes @ torch.diag_embed(variance**power) @ axes.transpose(1, 2)
                self.get_buffer(f"{kind}_{name}").copy_(matrix)
        return self

    def forward(self, z: Tensor) -> Tensor:
        """z (B, D) -> white z (B, D)."""
        return self._rotate((z - self.shift) / self.scale, "whiten")

    def invert(self, white: Tensor) -> Tensor:
        """White z (B, D) -> z (B, D)."""
        return self._rotate(white, "cov_sqrt") * self.scale + self.shift

    def _rotate(self, z: Tensor, kind: str) -> Tensor:
        return self.spec.apply(z, self.get_buffer(f"{kind}_maps"), self.get_buffer(f"{kind}_rows"))
