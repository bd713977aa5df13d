"""Warping of images by displacement fields, in float32 even under autocast."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lddm.nn.precision import in_float32

LOBES = 4  # lobes of the Lanczos kernel (eight taps)
CELL = 4  # side of the averaging cell of `low_pass`, in pixels of the model


@in_float32
def refine(image: Tensor) -> Tensor:
    """Upsample an image by two with an eight-tap Lanczos kernel (Duchon 1979).

    Bicubic interpolation blurs an image when it is shifted by a fraction of a pixel. On the refined image this blur is about
    half as strong (docs/results/lungs.md, "Texture").

    Args:
        image: float (B, C, H, W), H and W at least 2.

    Returns:
        float (B, C, 2 H - 1, 2 W - 1); the even samples are those of the image.
    """
    return _with_halfway(_with_halfway(image).mT).mT


def _with_halfway(image: Tensor) -> Tensor:
    """Insert interpolated rows between the rows of an image: (B, C, H, W) -> (B, C, 2 H - 1, W)."""
    place = torch.arange(-LOBES + 0.5, LOBES, device=image.device, dtype=image.dtype)
    kernel = torch.sinc(place) * torch.sinc(place / LOBES)
    padded = F.pad(image, (0, 0, LOBES - 1, LOBES - 1), mode="replicate")
    count = image.shape[2] - 1
    # A sum instead of a convolution, since convolutions on a GPU may use TF32.
    taps = enumerate((kernel / kernel.sum()).unbind())
    between = torch.stack([weight * padded[:, :, i : i + count] for i, weight in taps]).sum(dim=0)
    both = torch.stack([image[:, :, :-1], between], dim=3).flatten(2, 3)  # (B, C, 2 H - 2, W)
    return torch.cat([both, image[:, :, -1:]], dim=2)


@in_float32
def warp(image: Tensor, motion: Tensor, mode: str = "bicubic", beyond: str = "border") -> Tensor:
    """Backward warp: out(p) = image(p + motion(p)).

    Args:
        image: float (B, C, H, W), or on a finer grid with the same corners (see `refine`).
        motion: float (B, 2, H, W) in pixels, (axial, lateral).
        mode: "bicubic" (preserves the sharpness of speckle) or "bilinear".
        beyond: padding beyond the frame, "border" (replicate) or "reflection".

    Returns:
        float (B, C, H, W).

    Raises:
        ValueError: the grid of the image is neither the grid of the motion nor a refinement of it.
    """
    return warp_sequence(image, motion[:, None], mode, beyond)[:, :, 0]


@in_float32
def warp_sequence(x0: Tensor, motion: Tensor, mode: str = "bicubic", beyond: str = "border") -> Tensor:
    """Warp one image by one displacement field per frame.

    Args:
        x0: float (B, C, H, W), or on a finer grid.
        motion: float (B, T, 2, H, W) in pixels.
        mode, beyond: as in `warp`.

    Returns:
        float (B, C, T, H, W).

    Raises:
        ValueError: as `warp`.
    """
    frames, height, width = motion.shape[1], *motion.shape[-2:]
    if min(height, width) < 2 or (x0.shape[-2] - 1) % (height - 1) or (x0.shape[-1] - 1) % (width - 1):
        raise ValueError(f"an image of {tuple(x0.shape[-2:])} is not on the grid of a motion of {(height, width)}")
    rows = torch.arange(height, device=motion.device, dtype=motion.dtype)[:, None] + motion[:, :, 0]
    columns = torch.arange(width, device=motion.device, dtype=motion.dtype) + motion[:, :, 1]
    # align_corners=True: the centre of pixel i lies at 2 i / (n - 1) - 1.
    grid = torch.stack([2 * columns / (width - 1) - 1, 2 * rows / (height - 1) - 1], dim=-1)  # (B, T, H, W, 2)
    flat = grid.flatten(1, 2).to(x0)  # (B, T H, W, 2): all frames sample one image
    warped = F.grid_sample(x0, flat, mode=mode, padding_mode=beyond, align_corners=True)  # (B, C, T H, W)
    return warped.unflatten(2, (frames, height))


@in_float32
def upsample_maps(maps: Tensor, size: int) -> Tensor:
    """Bicubic upsampling (align_corners=False) of maps (B, C, h, w) to (B, C, size, size), as assumed by `svd_motion`."""
    return F.interpolate(maps, size=(size, size), mode="bicubic", align_corners=False)


@in_float32
def compose_motion(maps: Tensor, coefficients: Tensor, size: int) -> Tensor:
    """Compose low-rank motion: u_t = sum_k a_k(t) B_k.

    Args:
        maps: float (B, K, 2, h, w), displacement fields in pixels of the full frame.
        coefficients: float (B, K, T), dimensionless.
        size: height and width of the frame.

    Returns:
        float (B, T, 2, size, size) in pixels.
    """
    fields = upsample_maps(maps.flatten(1, 2), size).unflatten(1, maps.shape[1:3])  # (B, K, 2, S, S)
    return torch.einsum("bkt,bkchw->btchw", coefficients, fields)


def bicubic_weights(positions: np.ndarray, count: int) -> Tensor:
    """Bicubic interpolation matrix for `count` samples at given positions, consistent with `upsample_maps` (a = -0.75).

    Two of them upsample an h x w map, or any part of it, to any size: `down @ map @ across.T`. This is cheaper than
    `F.interpolate`, which processes whole maps only. Beyond the ends, the last sample is replicated.

    Args:
        positions: float (n,), in samples from the first one.
        count: number of samples.

    Returns:
        float32 (n, count).
    """
    # (n, 4), indices of the contributing samples
    first = np.floor(positions).astype(np.int64)[:, None] + np.arange(-1, 3)
    distance = np.abs(positions[:, None] - first)
    near = (1.25 * distance - 2.25) * distance**2 + 1
    far = -0.75 * (((distance - 5) * distance + 8) * distance - 4)
    weights = np.zeros((len(positions), count))
    np.add.at(
        weights, (np.arange(len(positions))[:, None], first.clip(0, count - 1)), np.where(distance <= 1, near, far)
    )
    return torch.from_numpy(weights.astype(np.float32))


@in_float32
def low_pass(images: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor]) -> Tensor:
    """Low-pass filter that removes texture: means over cells of 4 x 4 model pixels, upsampled bicubically.

    Args:
        images: float (..., H, W).
        rows, columns: `low_pass_weights` of the rows and of the columns.

    Returns:
        float (..., H, W).
    """
    return rows[0] @ (rows[1] @ images @ columns[1].T) @ columns[0].T


def low_pass_weights(positions: np.ndarray, size: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Upsampling and averaging matrices for cells of four pixels, along one axis.

    ASSUME: four pixels. Speckle is two to three pixels wide in frames of 64; larger cells follow the brightness less closely.

    Args:
        positions: float (n,), positions of the rows (or columns) of an image on the model's square, in pixels.
        size: height and width S of that square.
        device: device of the matrices.

    Returns:
        float32 (n, S / 4) and (S / 4, n).
    """
    places, count = (positions + 0.5) / CELL, max(1, size // CELL)
    cells = np.floor(places).astype(int).clip(0, count - 1)
    # pixels outside a "crop" belong to no cell
    members = (cells == np.arange(count)[:, None]) & (np.floor(places) == cells)
    means = members / np.maximum(members.sum(axis=1), 1)[:, None]
    used = np.flatnonzero(members.any(axis=1))
    nearest = used[np.abs(used - np.arange(count)[:, None]).argmin(axis=1)]  # cells without pixels of the image
    average = torch.from_numpy(means[nearest].astype(np.float32))
    return bicubic_weights(places - 0.5, count).to(device), average.to(device)
