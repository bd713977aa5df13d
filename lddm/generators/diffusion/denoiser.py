"""Denoising networks, one for each type of latent; independent of the noise schedule."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lddm.latent.spec import LatentSpec
from lddm.latent.whitening import Whitening
from lddm.nn.blocks import ResBlock2d, group_norm, sinusoidal
from lddm.nn.condition import Condition, ImageCondition, LabelSpec, vector_condition
from lddm.nn.embedder import Embedder


class Denoiser(nn.Module):
    """Base class. The condition is encoded separately, so that sampling encodes it once for all steps."""

    condition: Condition

    def fit(self, whitening: Whitening) -> None:
        """Hook: receive the fitted whitening before training. No-op by default."""

    def forward(
        self,
        z: Tensor,
        timestep: Tensor,
        x0: Tensor,
        label: Tensor,
        image_mask: Tensor | None = None,
        label_mask: Tensor | None = None,
    ) -> Tensor:
        """Noisy z (B, N), timestep (B,), x0 (B, 1, S, S), label (B,) -> prediction (B, N)."""
        return self.denoise(z, timestep, *self.condition(x0, label, image_mask, label_mask))

    def denoise(self, z: Tensor, timestep: Tensor, features: Tensor, vector: Tensor) -> Tensor:
        """As `forward`, from the output of `condition`: features (B, C, h, w) and a vector (B, dim)."""
        raise NotImplementedError


class MapDenoiser(Denoiser):
    """Denoises maps with a small conv-attention network, coefficients and log-amplitudes with a transformer over time.

    The two exchange pooled features. The log-amplitudes form one token, appended to the tokens of the frames.

    The features of x0 on the same grid are concatenated to the maps, so that a stiff lesion in x0 can shape the strain at
    its location. A vector of timestep, label, pooled x0 and coefficients modulates every block (AdaIN).

    Maps are input and predicted in two forms, white and with their covariance restored. In white maps the displacement
    by the probe, which moves all cells equally, is one of h w directions of equal variance and looks like noise to a
    convolution.

    Args:
        spec: a low-rank latent, or a grid latent, which has maps only.
        size: height and width S of x0.
        width: channels.
        depth: number of residual blocks.
        labels: type of the labels.
    """

    def __init__(
        self,
        spec: LatentSpec,
        size: int,
        width: int,
        depth: int,
        labels: LabelSpec,
    ):
        super().__init__()
        self.spec, self.width = spec, width
        dim = 4 * width
        self.condition = ImageCondition(size, spec.map_size, max(8, width // 4), dim, labels)
        self.time = nn.Sequential(nn.Linear(width, dim), nn.SiLU(), nn.Linear(dim, dim))
        numbers = spec.coefficient_rows * (spec.frames + 1)
        if numbers:
            tokens = 2 * width
            self.read_coefficients = nn.Sequential(nn.Linear(numbers, dim), nn.SiLU(), nn.Linear(dim, dim))
            self.pool_maps = nn.Linear(width, dim)
            self.frames_in = nn.Linear(spec.coefficient_rows, tokens)
            self.pos_embed = nn.Parameter(0.02 * torch.randn(spec.frames, tokens))
            self.time_blocks = nn.ModuleList(TimeBlock(tokens, dim) for _ in range(depth))
            self.frames_out = nn.Sequential(nn.LayerNorm(tokens), nn.Linear(tokens, spec.coefficient_rows))
            self.amplitudes_in = nn.Linear(spec.coefficient_rows, tokens)
            self.amplitudes_out = nn.Sequential(nn.LayerNorm(tokens), nn.Linear(tokens, spec.coefficient_rows))
        cells = spec.map_size**2
        self.cov_sqrt: Tensor
        self.register_buffer("cov_sqrt", torch.eye(cells).repeat(spec.map_channels, 1, 1))  # (C, h w, h w)
        self.conv_in = nn.Conv2d(2 * spec.map_channels + self.condition.channels + 2, width, 3, 1, 1)
        self.blocks = nn.ModuleList(ResBlock2d(width, width, dim) for _ in range(depth))
        self.attention = nn.ModuleList(SelfAttention2d(width) for _ in range(depth))
        self.conv_out = nn.Sequential(group_norm(width), nn.SiLU(), nn.Conv2d(width, 2 * spec.map_channels, 3, 1, 1))
        rows = torch.linspace(-1, 1, spec.map_size)
        grid = torch.stack(torch.meshgrid(rows, rows, indexing="ij"))  # position embedding: depth matters in ultrasound
        self.grid: Tensor
        self.register_buffer("grid", grid, persistent=False)

    def fit(self, whitening: Whitening) -> None:
        """Store the square root of the maps' covariance, scaled so that the mean variance of white maps stays one."""
        root = whitening.get_buffer("cov_sqrt_maps")
        self.cov_sqrt.copy_(root / root.square().sum(dim=2).mean(dim=1).sqrt()[:, None, None])

    def _apply_cov_sqrt(self, maps: Tensor) -> Tensor:
        """Restore the covariance of white maps (B, C, h, w)."""
        return torch.einsum("cij,bcj->bci", self.cov_sqrt, maps.flatten(2)).reshape(maps.shape)

    def denoise(self, z: Tensor, timestep: Tensor, features: Tensor, vector: Tensor) -> Tensor:
        """As `Denoiser.denoise`."""
        maps, coefficients = self.spec.split(z[:, : self.spec.size])
        amplitudes = z[:, self.spec.size :]
        vector = vector + self.time(sinusoidal(timestep, self.width))
        timed = self.spec.coefficient_rows > 0
        numbers = z[:, self.spec.map_channels * self.spec.map_size**2 :]  # coefficients and log-amplitudes
        code = F.silu(vector + self.read_coefficients(numbers)) if timed else F.silu(vector)
        grid = self.grid.expand(len(z), -1, -1, -1)
        hidden = self.conv_in(torch.cat([maps, self._apply_cov_sqrt(maps), features, grid], dim=1))
        for block, attention in zip(self.blocks, self.attention, strict=True):
            hidden = attention(block(hidden, code))
        white, scaled = self.conv_out(hidden).chunk(2, dim=1)
        predicted = white + self._apply_cov_sqrt(scaled)
        if not timed:
            return self.spec.join(predicted, coefficients)
        vector = vector + self.pool_maps(hidden.mean(dim=(2, 3)))
        frames = self.frames_in(coefficients.transpose(1, 2)) + self.pos_embed  # (B, T, C)
        tokens = torch.cat([frames, self.amplitudes_in(amplitudes)[:, None]], dim=1)  # (B, T + 1, C)
        for block in self.time_blocks:
            tokens = block(tokens, vector)
        rows = self.frames_out(tokens[:, :-1]).transpose(1, 2)
        return torch.cat([self.spec.join(predicted, rows), self.amplitudes_out(tokens[:, -1])], dim=1)


class TimeBlock(nn.Module):
    """Self-attention over frames and an MLP, both with adaLN-zero modulation by a code (Peebles & Xie 2023)."""

    def __init__(self, dim: int, code: int, heads: int = 4):
        super().__init__()
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.modulate = nn.Linear(code, 3 * dim)
        self.mlp = AdaptiveMLP(dim, code)
        nn.init.zeros_(self.modulate.weight)  # zero-initialised gate: each block starts as the identity
        nn.init.zeros_(self.modulate.bias)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """x (B, T, C), code (B, D) -> (B, T, C)."""
        scale, shift, gate = self.modulate(F.silu(code))[:, None].chunk(3, dim=-1)  # (B, 1, C)
        normal = self.norm(x) * (1 + scale) + shift
        seen, _ = self.attention(normal, normal, normal, need_weights=False)
        return self.mlp(x + gate * seen, code[:, None])


class VectorDenoiser(Denoiser):
    """Residual MLP with adaptive normalisation, for a global latent vector.

    Args:
        spec, size, width, depth, labels: as in `MapDenoiser`.
        embedder: frozen embedder of x0; None = features of x0 are learned jointly.
    """

    def __init__(
        self,
        spec: LatentSpec,
        size: int,
        width: int,
        depth: int,
        labels: LabelSpec,
        embedder: Embedder | None = None,
    ):
        super().__init__()
        self.width = width
        dim = 4 * width
        self.condition = vector_condition(embedder, size, max(8, width // 4), dim, labels)
        self.time = nn.Sequential(nn.Linear(width, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.proj_in = nn.Linear(spec.dim, dim)
        self.blocks = nn.ModuleList(AdaptiveMLP(dim, dim) for _ in range(depth))
        self.proj_out = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, spec.dim))

    def denoise(self, z: Tensor, timestep: Tensor, features: Tensor, vector: Tensor) -> Tensor:
        """As `Denoiser.denoise`."""
        vector = vector + self.time(sinusoidal(timestep, self.width))
        hidden = self.proj_in(z)
        for block in self.blocks:
            hidden = block(hidden, vector)
        return self.proj_out(hidden)


class AdaptiveMLP(nn.Module):
    """Residual MLP block with adaLN-zero modulation by a code (Peebles & Xie 2023)."""

    def __init__(self, dim: int, code: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.modulate = nn.Linear(code, 3 * dim)
        self.body = nn.Sequential(nn.Linear(dim, 2 * dim), nn.SiLU(), nn.Linear(2 * dim, dim))
        nn.init.zeros_(self.modulate.weight)  # zero-initialised gate: each block starts as the identity
        nn.init.zeros_(self.modulate.bias)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        scale, shift, gate = self.modulate(F.silu(code)).chunk(3, dim=-1)
        return x + gate * self.body(self.norm(x) * (1 + scale) + shift)


class SelfAttention2d(nn.Module):
    """Residual self-attention over the cells of a small grid, initialised as the identity."""

    def __init__(self, channels: int, heads: int = 4):
        super().__init__()
        self.norm = group_norm(channels)
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)
        nn.init.zeros_(self.attention.out_proj.weight)
        nn.init.zeros_(self.attention.out_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        cells = self.norm(x).flatten(2).transpose(1, 2)  # (B, H W, C)
        seen, _ = self.attention(cells, cells, cells, need_weights=False)
        return x + seen.transpose(1, 2).reshape(x.shape)


def build_denoiser(
    spec: LatentSpec,
    size: int,
    width: int,
    depth: int,
    labels: LabelSpec,
    embedder: Embedder | None = None,
) -> Denoiser:
    """Build the denoiser for a type of latent.

    Raises:
        ValueError: an embedder is given for a latent other than a vector.
    """
    if spec.kind == "vector":
        return VectorDenoiser(spec, size, width, depth, labels, embedder)
    if embedder is not None:
        raise ValueError(f"a latent '{spec.kind}' needs features of x0 on its grid, which an embedder does not give")
    return MapDenoiser(spec, size, width, depth, labels)
