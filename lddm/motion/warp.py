"""Moving an image by a displacement field. All of it is computed in float32, also under autocast."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lddm.nn.precision import in_float32

LOBES = 4  # of the Lanczos kernel
CELL = 4  # pixels of the model over which texture is averaged


@in_float32
def refine(image: Tensor) -> Tensor:
    """Insert samples halfway between those of an image, by a Lanczos kernel of eight taps (Duchon 1979).

    Bicubic interpolation blurs an image that is moved by a fraction of a pixel; on the refined image it does so about half as
    much (docs/results/lungs.md, "Texture").

    Args:
        image: float (B, C, H, W), H and W at least 2.

    Returns:
        float (B, C, 2 H - 1, 2 W - 1), whose samples 2 i are those of the image.
    """
    return _with_halfway(_with_halfway(image).mT).mT


def _with_halfway(image: Tensor) -> Tensor:
    """An image (B, C, H, W) with samples inserted between its rows: (B, C, 2 H - 1, W)."""
    place = torch.arange(-LOBES + 0.5, LOBES, device=image.device, dtype=image.dtype)
    kernel = torch.sinc(place) * torch.sinc(place / LOBES)
    padded = F.pad(image, (0, 0, LOBES - 1, LOBES - 1), mode="replicate")
    count = image.shape[2] - 1
    # A sum, not a convolution: those of a GPU round to TF32.
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
        mode: "bicubic" (keeps speckle sharp) or "bilinear".
        beyond: what lies beyond the frame: its "border", repeated, or its "reflection".

    Returns:
        float (B, C, H, W).

    Raises:
        ValueError: the grid of the image is neither that of the motion nor finer.
    """
    return warp_sequence(image, motion[:, None], mode, beyond)[:, :, 0]


@in_float32
def warp_sequence(x0: Tensor, motion: Tensor, mode: str = "bicubic", beyond: str = "border") -> Tensor:
    """Warp one image by a field for each frame.

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
    flat = grid.flatten(1, 2).to(x0)  # (B, T H, W, 2): all frames are read from one image
    warped = F.grid_sample(x0, flat, mode=mode, padding_mode=beyond, align_corners=True)  # (B, C, T H, W)
    return warped.unflatten(2, (frames, height))


@in_float32
def upsample_maps(maps: Tensor, size: int) -> Tensor:
    """Maps (B, C, h, w) -> (B, C, size, size), bicubic without aligned corners; measured maps are fitted for it."""
    return F.interpolate(maps, size=(size, size), mode="bicubic", align_corners=False)


@in_float32
def compose_motion(maps: Tensor, coefficients: Tensor, size: int) -> Tensor:
    """Low-rank motion: sum_k a_k(t) B_k.

    Args:
        maps: float (B, K, 2, h, w), displacement fields in pixels of the full frame.
        coefficients: float (B, K, T), no unit.
        size: height and width of the frame.

    Returns:
        float (B, T, 2, size, size) in pixels.
    """
    fields = upsample_maps(maps.flatten(1, 2), size).unflatten(1, maps.shape[1:3])  # (B, K, 2, S, S)
    return torch.einsum("bkt,bkchw->btchw", coefficients, fields)


def bicubic_weights(positions: np.ndarray, count: int) -> Tensor:
    """Matrix that interpolates `count` samples at the given positions, as `upsample_maps` does (a = -0.75).

    A map of h x w is enlarged by two of them, `down @ map @ across.T`, to any size and from any part of it: cheaper than
    `F.interpolate`, which knows whole maps only. Beyond the ends the last sample is repeated.

    Args:
        positions: float (n,), in samples from the first one.
        count: samples.

    Returns:
        float32 (n, count).
    """
    first = np.floor(positions).astype(np.int64)[:, None] + np.arange(-1, 3)  # (n, 4), the samples that count
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
    """Images without their texture: means over cells of 4 x 4 pixels of the model, enlarged bicubically.

    Args:
        images: float (..., H, W).
        rows, columns: `low_pass_weights` for the rows and for the columns.

    Returns:
        float (..., H, W).
    """
    return rows[0] @ (rows[1] @ images @ columns[1].T) @ columns[0].T


def low_pass_weights(positions: np.ndarray, size: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Matrices that enlarge cells of four pixels, and that average over them.

    ASSUME: four pixels. Speckle is two to three wide in frames of 64; larger cells follow the brightness less.

    Args:
        positions: float (n,), where rows (or columns) of an image lie on the square of the model, in pixels.
        size: height and width S of that square.
        device: where they are used.

    Returns:
        float32 (n, S / 4) and (S / 4, n).
    """
    places, count = (positions + 0.5) / CELL, max(1, size // CELL)
    cells = np.floor(places).astype(int).clip(0, count - 1)
    members = (cells == np.arange(count)[:, None]) & (
        np.floor(places) == cells
    )  # what "crop" leaves out counts in no cell
    means = members / np.maximum(members.sum(axis=1), 1)[:, None]
    used = np.flatnonzero(members.any(axis=1))
    nearest = used[np.abs(used - np.arange(count)[:, None]).argmin(axis=1)]  # cells that the image does not reach
    average = torch.from_numpy(means[nearest].astype(np.float32))
    return bicubic_weights(places - 0.5, count).to(device), average.to(device)
