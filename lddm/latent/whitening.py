"""ZCA whitening of latents, so that low-variance directions are not ignored by the loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lddm.latent.spec import LatentSpec

# Directions with less than this share of the mean variance are treated as noise and not scaled up to unit variance. With
# few clips per dimension the small eigenvalues of a covariance are unreliable, so the share grows: SCARCE * dimensions /
# clips. Coefficient rows have no such noise. Their low-variance directions are high temporal frequencies, and errors there
# make the motion jerky.
FLOOR = {"maps": 3e-4, "rows": 3e-5}
SCARCE = {"maps": 0.0005, "rows": 0.0}


class Whitening(nn.Module):
    """Invertible linear map to zero mean and unit variance.

    Each map of a low-rank latent is whitened over its cells and each coefficient row over time, with W = C^(-1/2) (ZCA, the
    whitening closest to the data, which keeps maps aligned with x0). Probe pressure displaces whole maps by pixels, whereas
    strain at a lesion amounts to hundredths of a pixel. Standardising each cell separately preserves that ratio, and a
    generator trained on such latents learns the pressure and misses the diagnosis (docs/method/latent.md). A vector latent is
    divided by its standard deviation.
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
        """Fit mean and covariance to training latents.

        Args:
            spec: structure of z.
            z: float (n, D).
            clips: number of independent clips behind the entries (augmented copies do not count); default: n.
        """
        self = cls(spec)
        self.shift.copy_(z.mean(dim=0))
        centred = (z - self.shift).double()
        if spec.kind == "vector":
            # Guards against division by zero for a constant dimension, whose scale does not matter.
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
