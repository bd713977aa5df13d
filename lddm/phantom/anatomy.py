"""Anatomy: tissue layers and a lesion, as maps of echogenicity, stiffness and attenuation.

Lengths are in pixels of a 64 x 64 frame; maps of other sizes are scaled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

REFERENCE = 64  # frame size in pixels for which all lengths below are stated
# Young's modulus of stiff and soft lesions relative to gland, and its variation in gland (log units): chosen so that a few
# hundred labelled clips suffice to learn the class from strain, but 16 do not.
STIFF, SOFT = (1.35, 2.3), (0.54, 0.84)
GLAND_VARIATION = 0.35


@dataclass(frozen=True)
class Lesion:
    """A lesion; lengths in reference pixels.

    Attributes:
        row, column: centre.
        height, width: half axes.
        lobes: relative amplitude of the irregular outline; 0 is an ellipse.
        malignant_look: irregular, taller than wide, shadow; otherwise smooth, wider than tall, enhancement, capsule.
        stiff: hardly deforms; otherwise strains more than its surroundings.
        stiffness: Young's modulus relative to gland.
    """

    row: float
    column: float
    height: float
    width: float
    lobes: float
    malignant_look: bool
    stiff: bool
    stiffness: float


@dataclass(frozen=True)
class Anatomy:
    """Maps of the tissue in the coordinates of frame 0, all float64 (H, W).

    Attributes:
        echogenicity: scattering amplitude, relative.
        stiffness: Young's modulus relative to gland.
        attenuation: nepers per pixel, of intensity, relative to the compensated mean.
        lesion: the lesion.
    """

    echogenicity: np.ndarray
    stiffness: np.ndarray
    attenuation: np.ndarray
    lesion: Lesion


def draw_lesion(rng: np.random.Generator, malignant_look: bool, stiff: bool) -> Lesion:
    """Sample a lesion; its position and size are independent of its appearance and stiffness."""
    area = rng.uniform(7.0, 10.5)  # geometric mean of the half axes
    elongation = rng.uniform(1.15, 1.5)
    tall = malignant_look
    height = area * (elongation**0.5 if tall else elongation**-0.5)
    return Lesion(
        row=rng.uniform(28, 40),
        column=rng.uniform(24, 40),
        height=height,
        width=area**2 / height,
        lobes=rng.uniform(0.12, 0.2) if malignant_look else 0.0,
        malignant_look=malignant_look,
        stiff=stiff,
        stiffness=draw_stiffness(rng, stiff),
    )


def draw_stiffness(rng: np.random.Generator, stiff: bool) -> float:
    """Sample the Young's modulus of a lesion relative to gland."""
    return rng.uniform(*STIFF) if stiff else rng.uniform(*SOFT)


def draw_anatomy(
    rng: np.random.Generator, lesion: Lesion, size: int, margin: int, hidden: np.random.Generator | None = None
) -> Anatomy:
    """Sample the tissue layers around a lesion.

    Args:
        rng: random generator.
        hidden: generator for the stiffness variation of gland, which a frame does not show; everything else is unchanged.
        lesion: from `draw_lesion`.
        size: height and width of the frame in pixels.
        margin: pixels added on each side, so that tissue can enter the view.

    Returns:
        Maps of size + 2 * margin pixels.
    """
    scale = size / REFERENCE
    grid = (np.arange(size + 2 * margin) - margin + 0.5) / scale  # reference pixels
    rows, columns = np.meshgrid(grid, grid, indexing="ij")
    # Wavy boundaries of the layers, from skin at the top to muscle at the bottom.
    edges = [
        _wave(rng, columns, depth, height)
        for depth, height in ((3, 0.3), (rng.uniform(12, 17), 1.5), (rng.uniform(48, 54), 1.5))
    ]
    skin, fat, muscle = rows < edges[0], (rows >= edges[0]) & (rows < edges[1]), rows >= edges[2]
    echo_db = np.select([skin, fat, muscle], [2.0, -9.0 + rng.uniform(-1, 1), -6.0], default=0.0)
    stiffness = np.select([skin, fat, muscle], [2.0, 0.6, 1.6], default=1.0)
    echo_db += 2.5 * _texture(rng, rows.shape, 3.0 * scale)  # gland is not homogeneous
    for depth, strength in ((edges[1], 5.0), (edges[2], 9.0)):  # fascia: bright lines
        echo_db += strength * np.exp(-0.5 * ((rows - depth) / 0.8) ** 2)
    stripes = np.sin(2 * np.pi * (rows - edges[2]) / rng.uniform(3.5, 5))
    echo_db += np.where(muscle, 3.0 * stripes, 0.0)

    inside = _lesion_mask(rng, rows, columns, lesion)
    soft_edge = gaussian_filter(inside, 0.9 * scale)
    echo_db = echo_db * (1 - soft_edge) + soft_edge * (
        rng.uniform(-20, -15) + 1.5 * _texture(rng, rows.shape, 2.0 * scale)
    )
    if not lesion.malignant_look:  # capsule: a thin bright rim
        rim = np.abs(gaussian_filter(inside, 1.2 * scale) - 0.5) < 0.16
        echo_db += np.where(rim, 4.0, 0.0)
    gland = _texture(rng, rows.shape, 4.0 * scale)
    if hidden is not None:
        gland = _texture(hidden, rows.shape, 4.0 * scale)
    stiffness = stiffness * np.exp(GLAND_VARIATION * gland)
    log_stiffness = np.log(stiffness) * (1 - soft_edge) + np.log(lesion.stiffness) * soft_edge
    through = rng.uniform(0.05, 0.075) if lesion.malignant_look else -rng.uniform(0.025, 0.04)
    return Anatomy(10 ** (echo_db / 20), np.exp(log_stiffness), inside * through / scale, lesion)


def _wave(rng: np.random.Generator, columns: np.ndarray, depth: float, height: float) -> np.ndarray:
    waves = np.zeros(columns.shape)
    for _ in range(3):
        waves = waves + rng.normal() * np.sin(2 * np.pi * columns / rng.uniform(35, 90) + rng.uniform(0, 2 * np.pi))
    return depth + height * waves / 1.5


def _texture(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> np.ndarray:
    """Smooth random field of zero mean and unit variance."""
    field = gaussian_filter(rng.normal(size=shape), scale, mode="wrap")
    return (field - field.mean()) / field.std()


def _lesion_mask(rng: np.random.Generator, rows: np.ndarray, columns: np.ndarray, lesion: Lesion) -> np.ndarray:
    """1 inside the outline, 0 outside."""
    down, right = (rows - lesion.row) / lesion.height, (columns - lesion.column) / lesion.width
    angle, radius = np.arctan2(down, right), np.hypot(down, right)
    outline = np.ones_like(radius)
    for order in (3, 5, 8, 13):  # lobes and spicules
        outline += lesion.lobes * rng.normal() / np.sqrt(order / 3) * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    return (radius < np.clip(outline, 0.55, 1.6)).astype(float)


def sample_map(values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Bilinear interpolation of a map at fractional (row, column), with repeated edges."""
    return map_coordinates(values, [rows, columns], order=1, mode="nearest")
