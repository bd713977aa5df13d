"""Decoders D: (x0, z) -> video, by warping x0 (cheap) or by synthesising every frame (the paper)."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.checkpoint import checkpoint

from lddm.latent.spec import LatentSpec, unit_rows
from lddm.motion.field_of_view import erode, field_of_view
from lddm.motion.warp import compose_motion, low_pass, low_pass_weights, refine, upsample_maps, warp_sequence
from lddm.nn.blocks import SPADE, AdaIN, ImagePyramid, ResBlock2d, group_norm, log2_ratio, max_log2_ratio
from lddm.nn.precision import in_float32

OPEN = 4.0  # logit of visibility before training (0.98)
# ASSUME: brightness changes by at most a factor of two, so that noise in shadows stays dark.
LARGEST_LOG_GAIN = math.log(2)


@dataclass(frozen=True)
class Decoded:
    """Output of a decoder.

    Attributes:
        frames: float (B, 1, T, S, S) in [-1, 1], frames 1..T.
        motion: float (B, T, 2, S, S) in pixels, or None if the decoder has no motion field.
    """

    frames: Tensor
    motion: Tensor | None


@dataclass(frozen=True)
class Layers:
    """Fields from which a `WarpDecoder` composes frames; all are smooth, so they can be upsampled.

    Attributes:
        motion: float (B, T, 2, S, S) in pixels, (axial, lateral): offset of each pixel's source in x0.
        occlusion_logits: float (B, 1, T, S, S); sigmoid(logits - OPEN) is the share of a pixel covered by new tissue.
        log_gain: float (B, 1, T, S, S); see `apply_gain`.
    """

    motion: Tensor
    occlusion_logits: Tensor
    log_gain: Tensor

    def in_full(self) -> Layers:
        """A copy in float32."""
        return Layers(*(getattr(self, field.name).float() for field in fields(self)))

    def one(self, number: int) -> Layers:
        """The layers of one clip, as a batch of one."""
        return Layers(*(getattr(self, field.name)[number : number + 1] for field in fields(self)))


class WarpDecoder(nn.Module):
    """Warp x0 by a low-rank motion field, fill in new tissue, and modulate brightness by a low-rank gain.

    frame_t = gain_t [w_t + s_t G (x0 - w_t)], w_t = (1 - v_t) warp(x0, sum_k a_k(t) B_k) + v_t x0, where black is zero, G
    removes the texture (`lddm.motion.warp.low_pass`), and the log-gain is s_t n + sum_j b_j(t) rho_j, limited to a factor of
    two. A top-down network computes rho_j, the log-gain n of new tissue and the occlusion maps of s_t from the maps and the
    features of x0 at every scale, modulated by the coefficients through AdaIN. A gain leaves black unchanged and preserves the
    contrast of speckle, whereas an additive term causes haze in shadows (docs/results/lungs.md, "Texture"). s_t is the share of
    tissue from behind a fold or from another plane. It changes only the brightness, because a mixture of two textures is
    blurred. v_t is one where the field points out of x0's field of view. Outside the field of view x0 is unchanged, so that the
    edge of a fan stays fixed while tissue slides past.

    Args:
        spec: structure of z; for a vector or a grid, maps and coefficients are decoded first.
        size: height and width S of a frame.
        width: channels of the first level.
        ranks: K and R of the decoded maps, if z does not determine them.
        map_size: their height and width, if z does not determine it.
    """

    def __init__(self, spec: LatentSpec, size: int, width: int, ranks: tuple[int, int], map_size: int):
        super().__init__()
        self.size = size
        for name, weights in zip(("enlarge", "average"), low_pass_weights(np.arange(size), size), strict=True):
            self.register_buffer(name, weights, persistent=False)
        self.inner = spec
        self.factors = None
        if spec.kind != "low_rank":
            side = spec.map_size if spec.kind == "grid" else map_size
            self.inner = LatentSpec("low_rank", spec.frames, motion_rank=ranks[0], gain_rank=ranks[1], map_size=side)
        code = 4 * width
        # Down to the grid of the maps. Gain and occlusion are computed at half resolution; only motion needs full resolution.
        self.pyramid = ImagePyramid(size, width, log2_ratio(size, self.inner.map_size, "size"))
        channels = self.pyramid.channels[::-1]  # coarsest first
        if spec.kind != "low_rank":
            self.factors = LowRankHead(spec, self.inner, channels[0])
        self.coefficients = nn.Sequential(
            nn.Linear(self.inner.coefficient_rows * spec.frames, code), nn.SiLU(), nn.Linear(code, code)
        )
        self.conv_in = nn.Conv2d(self.inner.map_channels + channels[0], channels[0], 3, 1, 1)
        self.blocks = nn.ModuleList([ResBlock2d(channels[0], channels[0], code)])
        self.blocks.extend(
            ResBlock2d(before + after, after, code) for before, after in zip(channels, channels[1:-1], strict=False)
        )
        last = channels[-2] if len(channels) > 1 else channels[0]
        conv_out = nn.Conv2d(last, 2 * self.inner.gain_rank + 1, 3, 1, 1)  # rho_j, occlusion maps, n
        for parameter in conv_out.parameters():
            nn.init.zeros_(parameter)  # start as a pure warp
        self.conv_out = nn.Sequential(group_norm(last), nn.SiLU(), conv_out)

    def forward(self, x0: Tensor, z: Tensor, fov_mask: Tensor | None = None) -> Decoded:
        """x0 float (B, 1, S, S), z float (B, D) -> frames; `fov_mask` as in `compose`."""
        return self.compose(x0, self.layers(x0, z), fov_mask)

    @in_float32
    def compose(self, x0: Tensor, layers: Layers, fov_mask: Tensor | None = None) -> Decoded:
        """x0 float (B, 1, S, S) and layers for any number of frames -> frames. Masks are float32, also under autocast.

        Args:
            fov_mask: bool (B, 1, S, S), the field of view of x0, if known; computing it here synchronises with a GPU.
        """
        layers = layers.in_full()
        moved = warp_sequence(refine(x0), layers.motion)  # (B, 1, T, S, S)
        fov_mask = field_of_view(x0) if fov_mask is None else fov_mask
        still = x0[:, :, None]
        moved = moved + out_of_view(fov_mask, layers.motion) * (still - moved)
        new = torch.sigmoid(layers.occlusion_logits - OPEN)
        cells = self.get_buffer("enlarge"), self.get_buffer("average")
        frames = apply_gain(moved + new * low_pass(still - moved, cells, cells), layers.log_gain)
        return Decoded(torch.where(fov_mask[:, :, None], frames.clamp(-1, 1), still), layers.motion)

    def layers(self, x0: Tensor, z: Tensor) -> Layers:
        """x0 float (B, 1, S, S), z float (B, D) -> layers of the frames."""
        features = self.pyramid(x0)[::-1]  # coarsest first
        if self.factors is None:
            maps, rows = self.inner.split(z)
        else:
            maps, rows = self.factors(z, features[0])
        rows = unit_rows(rows)
        rank, gains = self.inner.motion_rank, self.inner.gain_rank
        fields = maps[:, : 2 * rank].unflatten(1, (rank, 2))  # (B, K, 2, h, w)
        motion = compose_motion(fields, rows[:, :rank], self.size)
        images = self._images(features, maps, rows)  # (B, 2R + 1, S, S)
        log_gain, occlusion_logits = (
            torch.einsum("brt,brhw->bthw", rows[:, rank:], part)[:, None]  # (B, 1, T, S, S)
            for part in images[:, : 2 * gains].chunk(2, dim=1)
        )
        new = torch.sigmoid(occlusion_logits - OPEN)
        return Layers(motion, occlusion_logits, log_gain + new * images[:, 2 * gains :, None])

    def _images(self, features: list[Tensor], maps: Tensor, rows: Tensor) -> Tensor:
        code = self.coefficients(rows.flatten(1))
        hidden = self.blocks[0](self.conv_in(torch.cat([maps, features[0]], dim=1)), code)
        for block, skip in zip(self.blocks[1:], features[1:], strict=False):
            hidden = F.interpolate(hidden, scale_factor=2, mode="nearest")
            hidden = block(torch.cat([hidden, skip], dim=1), code)
        return upsample_maps(self.conv_out(hidden), self.size)


class LowRankHead(nn.Module):
    """Decode maps and coefficients from a global vector or a grid, with the features of x0 on the grid of the maps.

    Computed in float32 even under autocast: bfloat16 rounds a displacement of 4 pixels to 1/64 of a pixel.
    """

    def __init__(self, spec: LatentSpec, inner: LatentSpec, channels: int):
        super().__init__()
        self.spec, self.inner = spec, inner
        self.code = spec.dim if spec.kind == "vector" else spec.map_channels
        extra = 0 if spec.kind == "vector" else spec.map_channels
        self.conv_in = nn.Conv2d(channels + extra, channels, 3, 1, 1)
        self.block = ResBlock2d(channels, channels, self.code)
        self.maps = nn.Conv2d(channels, inner.map_channels, 3, 1, 1)
        numbers = inner.coefficient_rows * inner.frames
        self.rows = nn.Sequential(nn.Linear(self.code, 4 * channels), nn.SiLU(), nn.Linear(4 * channels, numbers))
        nn.init.normal_(self.maps.weight, std=1e-3)  # start with almost no motion
        nn.init.constant_(self.maps.get_parameter("bias"), 0.0)

    @in_float32
    def forward(self, z: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """z (B, D) and features (B, C, h, w) -> maps (B, 2K + R, h, w) and coefficients (B, K + R, T)."""
        code = z
        if self.spec.kind == "grid":
            grid, _ = self.spec.split(z)
            features, code = torch.cat([features, grid], dim=1), grid.mean(dim=(2, 3))
        hidden = self.block(self.conv_in(features), code)
        rows = self.rows(code).unflatten(1, (self.inner.coefficient_rows, self.inner.frames))
        return self.maps(hidden), rows


def apply_gain(frames: Tensor, log_gain: Tensor) -> Tensor:
    """Multiply grey levels, -1 = black, by exp(log-gain), which saturates smoothly at a factor of two.

    Args:
        frames: float, any shape.
        log_gain: float of the same shape.
    """
    return (frames + 1) * (LARGEST_LOG_GAIN * torch.tanh(log_gain / LARGEST_LOG_GAIN)).exp() - 1


@in_float32
def out_of_view(fov_mask: Tensor, motion: Tensor) -> Tensor:
    """Mask of the pixels whose source lies outside the field of view of x0.

    Args:
        fov_mask: bool (B, 1, S, S), the field of view of x0.
        motion: float (B, T, 2, S, S) in pixels.

    Returns:
        float (B, 1, T, S, S): 0 inside, 1 outside, in between within one pixel of the border.
    """
    size = motion.shape[-1]
    place = torch.arange(size, device=motion.device, dtype=motion.dtype)
    rows, columns = motion[:, :, 0] + place[:, None], motion[:, :, 1] + place
    beyond = torch.stack([-rows, rows - size + 1, -columns, columns - size + 1]).amax(dim=0).clamp(0, 1)[:, None]
    edge = 1 - warp_sequence(erode(fov_mask, 1).to(motion), motion, "bilinear")  # the rim of a fan is partly black
    return torch.maximum(beyond, edge)


class SPADEDecoder(nn.Module):
    """The paper's decoder: synthesises every frame, conditioned on z by AdaIN and on x0 by SPADE at every scale.

    ASSUME: layers as in the cINN code (Dorkenwald et al. 2021): a seed of about 4 x 4 x 1 from z, residual blocks whose
    first normalisation is conditioned on x0 and whose second on z, nearest-neighbour upsampling between them. For a grid the
    seed is the grid itself, and AdaIN uses the mean of its cells.

    Args:
        spec: a vector or a grid.
        size: height and width S of a frame.
        width: channels of the last level.
        checkpointing: recompute the activations of the blocks in the backward pass instead of storing them.
        published: spectral norm on the convolutions of the blocks and 128 hidden channels in SPADE, as in the release
            (stage1_VAE/modules/decoder.py and normalization_layer.py); otherwise no spectral norm and 64 channels.
    """

    def __init__(self, spec: LatentSpec, size: int, width: int, checkpointing: bool = False, published: bool = False):
        super().__init__()
        self.spec, self.gradient_checkpointing = spec, checkpointing
        grid = spec.kind == "grid"
        steps = log2_ratio(size, spec.map_size, "size") if grid else max_log2_ratio(size)
        if steps < 2 and not grid:
            raise ValueError(f"size {size} must be a multiple of 4 and at least 16")
        base = size // 2**steps
        doublings = log2_ratio(spec.frames, spec.grid_frames, "T") if grid else math.ceil(math.log2(spec.frames))
        # Time doubles in the first blocks, as in the cINN code; it starts longer if there are too few blocks.
        self.times = [math.ceil(spec.frames / 2 ** max(0, doublings - i)) for i in range(steps + 1)]
        self.times[-1] = spec.frames
        self.base = base
        channels = [width * min(2 ** (steps - i), 16) for i in range(steps + 1)]  # fewer channels at higher resolution
        code = spec.map_channels if grid else spec.dim
        cells = self.times[0] * base**2
        self.seed = nn.Conv3d(spec.channels, channels[0], 3, 1, 1) if grid else nn.Linear(spec.dim, channels[0] * cells)
        self.blocks = nn.ModuleList(
            [SPADEBlock(channels[0], channels[0], code, published)]
            + [
                SPADEBlock(before, after, code, published)
                for before, after in zip(channels, channels[1:], strict=False)
            ]
        )
        self.conv_out = nn.Conv3d(channels[-1], 1, 3, 1, 1)

    def forward(self, x0: Tensor, z: Tensor, fov_mask: Tensor | None = None) -> Decoded:
        """x0 float (B, 1, S, S), z float (B, D) -> frames; without warping, the field of view is not used."""
        if self.spec.kind == "grid":
            grid, _ = self.spec.split(z)
            cells = grid.unflatten(1, (self.spec.grid_frames, self.spec.channels)).transpose(1, 2)
            hidden, z = self.seed(cells), grid.mean(dim=(2, 3))  # (B, C, t, h, w)
        else:
            hidden = self.seed(z).reshape(len(z), -1, self.times[0], self.base, self.base)  # (B, C, T, H, W)
        for i, (block, time) in enumerate(zip(self.blocks, self.times, strict=True)):
            if i > 0:
                side = self.base * 2**i
                hidden = F.interpolate(hidden, size=(time, side, side), mode="nearest")
            if self.gradient_checkpointing and self.training:
                hidden = checkpoint(block, hidden, x0, z, use_reentrant=False)
            else:
                hidden = block(hidden, x0, z)
        return Decoded(torch.tanh(self.conv_out(F.leaky_relu(hidden, 0.2))), None)


class SPADEBlock(nn.Module):
    """SPADE(x0), convolution, AdaIN(z), convolution, with a residual path."""

    def __init__(self, inputs: int, outputs: int, code: int, published: bool = False):
        super().__init__()
        wrap = spectral_norm if published else nn.Identity()
        self.norm1 = SPADE(inputs, hidden=128 if published else 64)
        self.conv1 = wrap(nn.Conv3d(inputs, outputs, 3, 1, 1))
        self.norm2 = AdaIN(outputs, code)
        self.conv2 = wrap(nn.Conv3d(outputs, outputs, 3, 1, 1))
        self.skip: nn.Module = nn.Identity()
        if inputs != outputs:
            skip = wrap(nn.Conv3d(inputs, outputs, 1, bias=False))
            self.skip = nn.Sequential(group_norm(inputs), skip) if published else skip

    def forward(self, x: Tensor, x0: Tensor, z: Tensor) -> Tensor:
        hidden = self.conv1(F.leaky_relu(self.norm1(x, x0), 0.2))
        return self.skip(x) + self.conv2(F.leaky_relu(self.norm2(hidden, z), 0.2))
