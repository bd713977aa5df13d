"""Transform between z in physical units (stage 1) and normalised z (generators)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lddm.latent.spec import LatentSpec, unit_rows
from lddm.latent.whitening import Whitening
from lddm.nn.precision import in_float32

# Floor of an amplitude, relative to the typical one, so that the log-amplitude of a clip without motion is finite.
FLOOR = 0.05
KNOTS = 33  # stored quantiles of the log-amplitudes
SMALLEST = 1e-9  # avoids 0 / 0 without motion


class LatentTransform(nn.Module):
    """Invertible map from z in physical units to standardised elements with explicit log-amplitudes.

    Field or gain map k of a low-rank z has an amplitude A_k: the root mean square of its term of the sum over cells and
    frames. Normalised z consists of

    - the maps B_k and the rows a_k(t), both scaled to a root mean square of A_k and then whitened (`Whitening`). They keep
      the units of the measurement, so that its noise level is the same for clips with small and with large motion;
    - one number per amplitude: the normal score of log sqrt(A_k^2 + f_k^2), which is standard normal over the training clips
      and piecewise linear between stored quantiles. The floor f_k is a fixed share of the typical amplitude.

    In a generated sample, maps, rows and log-amplitude may imply different amplitudes. `invert` takes the amplitude from the
    log-amplitude alone. It rescales the map, and those principal axes of the row that have more than the mean variance; the
    other axes hold measurement noise, which does not scale with the motion. Vector and grid latents are only standardised.
    """

    floor: Tensor  # float (K + R,): f_k
    scores: Tensor  # float (K + R, KNOTS + 2): normal scores, ascending
    logarithms: Tensor  # float (K + R, KNOTS + 2): log-amplitudes at these scores
    main_axes: Tensor  # float (K + R, T, T): projection of a row onto its dominant principal axes

    def __init__(self, spec: LatentSpec):
        super().__init__()
        self.spec = spec
        self.whitening = Whitening(spec)
        rows = spec.coefficient_rows
        knots = torch.linspace(-1, 1, KNOTS + 2).repeat(rows, 1)
        self.register_buffer("floor", torch.full((rows,), FLOOR))
        self.register_buffer("scores", knots)
        self.register_buffer("logarithms", knots.clone())
        self.register_buffer("main_axes", torch.eye(spec.frames).repeat(rows, 1, 1))

    @classmethod
    def fit(cls, spec: LatentSpec, mean: Tensor, std: Tensor, clips: int | None = None) -> LatentTransform:
        """Fit the transform to the posteriors of the training clips.

        Args:
            spec: structure of z.
            mean, std: float (n, D), q(z | x) of each entry in physical units; one sample per entry is used.
            clips: number of independent clips behind the entries (augmented copies do not count); default: n.
        """
        self = cls(spec)
        z = mean + std * torch.randn(mean.shape, generator=torch.Generator().manual_seed(0)).to(mean)
        sized, amplitude = self._sized(z)
        self.whitening = Whitening.fit(spec, sized, clips)
        if spec.coefficient_rows:
            self.floor.copy_((FLOOR * amplitude.square().mean(dim=0).sqrt()).clamp_min(SMALLEST))
            self._fit_scores(self._logarithm(amplitude), clips or len(z))
            sizes, axes = torch.linalg.eigh(self.whitening.get_buffer("cov_sqrt_rows").double())
            large = (sizes.square() > sizes.square().mean(dim=1, keepdim=True)).double()
            self.main_axes.copy_(axes @ torch.diag_embed(large) @ axes.transpose(1, 2))
        return self

    def _fit_scores(self, logarithm: Tensor, clips: int) -> None:
        """Fit the normal scores of the log-amplitudes (n, K + R), with linear extrapolation beyond their range."""
        most = torch.special.ndtri(torch.tensor(1 - 0.5 / max(clips, 2)))
        scores = torch.linspace(-1, 1, KNOTS) * most
        # Tied amplitudes (clips without motion) have different scores; the small slope keeps the map invertible.
        slope = 1e-3 * (1 + logarithm.std(dim=0, correction=0))
        values = torch.quantile(logarithm.cpu(), torch.special.ndtr(scores), dim=0).T + slope.cpu()[:, None] * scores
        beyond = (values[:, -1:] - values[:, :1]) / (2 * most) * 10
        self.scores.copy_(torch.cat([scores[:1] - 10, scores, scores[-1:] + 10]))
        self.logarithms.copy_(torch.cat([values[:, :1] - beyond, values, values[:, -1:] + beyond], dim=1))

    @in_float32
    def forward(self, z: Tensor) -> Tensor:
        """z (B, D) in physical units -> normalised z (B, N)."""
        sized, amplitude = self._sized(z)
        white = self.whitening(sized)
        if not self.spec.coefficient_rows:
            return white
        return torch.cat([white, _interpolate(self._logarithm(amplitude), self.logarithms, self.scores)], dim=1)

    @in_float32
    def invert(self, normalised: Tensor) -> Tensor:
        """Normalised z (B, N) -> z (B, D) in physical units, with rows of unit root mean square."""
        sized = self.whitening.invert(normalised[:, : self.spec.size])
        if not self.spec.coefficient_rows:
            return sized
        logarithm = _interpolate(normalised[:, self.spec.size :], self.scores, self.logarithms)
        amplitude = (logarithm.mul(2).exp() - self.floor.square()).clamp_min(0).sqrt()  # (B, K + R)
        maps, rows = self.spec.split(sized)
        maps = maps * self.spec.per_channel(amplitude / self._map_amplitude(maps).clamp_min(SMALLEST))
        main = torch.einsum("kst,bkt->bks", self.main_axes, rows)
        # power left for the dominant axes
        power = amplitude.square() * self.spec.frames - (rows - main).square().sum(dim=2)
        scale = (power.clamp_min(0) / main.square().sum(dim=2).clamp_min(SMALLEST**2)).sqrt()
        return self.spec.join(maps, unit_rows(rows + (scale - 1)[:, :, None] * main))

    def _sized(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z (B, D) with maps and rows both scaled to the amplitude of the motion, and the amplitudes (B, K + R)."""
        if not self.spec.coefficient_rows:
            return z, z[:, :0]
        maps, rows = self.spec.split(z)
        maps = maps * self.spec.per_channel(rows.square().mean(dim=2).sqrt())
        amplitude = self._map_amplitude(maps)
        return self.spec.join(maps, unit_rows(rows) * amplitude[:, :, None]), amplitude

    def _map_amplitude(self, maps: Tensor) -> Tensor:
        """Root mean square of each field (over both components) and of each gain map: (B, K + R)."""
        power = maps.square().mean(dim=(2, 3))
        fields = power[:, : 2 * self.spec.motion_rank].unflatten(1, (self.spec.motion_rank, 2)).mean(dim=2)
        return torch.cat([fields, power[:, 2 * self.spec.motion_rank :]], dim=1).sqrt()

    def _logarithm(self, amplitude: Tensor) -> Tensor:
        return 0.5 * (amplitude.square() + self.floor.square()).log()


def _interpolate(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Column-wise linear interpolation: x (B, C), ascending knots (C, m), values (C, m) -> (B, C)."""
    columns = x.T.contiguous()
    right = torch.searchsorted(knots, columns, right=True).clamp(1, knots.shape[1] - 1)
    x0, x1, y0, y1 = (of.gather(1, at) for of in (knots, values) for at in (right - 1, right))
    return (y0 + (y1 - y0) * (columns - x0) / (x1 - x0)).T
