"""What is drawn gets the mean and the variance that it should have."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lddm.latent.spec import LatentSpec
from lddm.latent.whitening import Whitening

RATIOS = (0.5, 2.0)  # a generator whose spread is further off is not repaired by scaling its noise


class Matching(nn.Module):
    """An affine map of white z along the principal axes of its maps and rows (of a vector: along each number).

    A generator that has seen few clips draws with a little less variance than it was taught, and with a mean that is off by a
    tenth of a standard deviation: its samples move less than real tissue does. Two numbers an axis set that right and leave
    all else that it has learnt, since they are the same for all x0 and labels. Before it is fitted it changes nothing.
    """

    ratio: Tensor  # float (D,), along the axes
    offset: Tensor  # float (D,), along the axes

    def __init__(self, spec: LatentSpec):
        super().__init__()
        self.spec = spec
        self.register_buffer("ratio", torch.ones(spec.size))
        self.register_buffer("offset", torch.zeros(spec.size))
        for name, count, size in (
            ("maps", spec.map_channels, spec.map_size**2),
            ("rows", spec.coefficient_rows, spec.frames),
        ):
            self.register_buffer(f"axes_{name}", torch.eye(size).repeat(count, 1, 1))  # an axis a column

    def fit(self, whitening: Whitening, drawn: Tensor, real: Tensor) -> None:
        """Compare sampled white z, float (n, D), with white z of training clips, float (m, D), of the same x0.

        Each x0 has to occur equally often among the samples: means of different x0 differ.
        """
        for name in ("maps", "rows"):
            axes = torch.linalg.eigh(whitening.get_buffer(f"cov_sqrt_{name}").double())[1]
            self.get_buffer(f"axes_{name}").copy_(axes)
        drawn, real = self._turn(drawn, to_axes=True), self._turn(real, to_axes=True)
        spread = drawn.std(dim=0)
        constant = spread < 1e-3  # a number that never changes has no scale
        ratio = (real.std(dim=0) / spread.clamp_min(1e-3)).clamp(*RATIOS)
        self.ratio.copy_(torch.where(constant, 1.0, ratio))
        self.offset.copy_(real.mean(dim=0) - self.ratio * drawn.mean(dim=0))

    def forward(self, white: Tensor) -> Tensor:
        """White z (B, D) as drawn -> white z (B, D) with the right mean and variance."""
        return self._turn(self._turn(white, to_axes=True) * self.ratio + self.offset, to_axes=False)

    def _turn(self, z: Tensor, to_axes: bool) -> Tensor:
        maps, rows = self.get_buffer("axes_maps"), self.get_buffer("axes_rows")
        if to_axes:  # the matrices are orthogonal
            maps, rows = maps.transpose(1, 2), rows.transpose(1, 2)
        return self.spec.apply(z, maps, rows)
