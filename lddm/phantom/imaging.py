"""Image formation from scatterers: speckle by a point-spread function, attenuation, noise, log compression."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

AXIAL_OVERSAMPLING = 2
DENSITY = 2.2  # scatterers per pixel, enough for fully developed speckle
DYNAMIC_RANGE = 45.0  # dB
GAMMA = 2.4
RIM = 4  # pixels imaged beyond each side of the frame: the extent of the point-spread function


def draw_scatterers(rng: np.random.Generator, size: int, margin: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions float64 (n, 2) as (row, column) in frame pixels and complex Gaussian strengths (n,)."""
    side = size + 2 * margin
    count = int(DENSITY * side * side)
    positions = rng.uniform(-margin, size + margin, (count, 2))
    return positions, (rng.normal(size=count) + 1j * rng.normal(size=count)) / np.sqrt(2 * DENSITY)


def image(positions: np.ndarray, strengths: np.ndarray, gain: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """B-mode frames of moving scatterers.

    Args:
        positions: float (T, n, 2), (row, column) in frame pixels. Scatterers up to RIM outside the frame contribute.
        strengths: complex (n,).
        gain: intensity gain float (S, S): attenuation, shadow, enhancement.
        rng: generator of the receiver noise.

    Returns:
        uint8 (T, S, S).
    """
    frames, size = len(positions), len(gain)
    field = _splat(positions + RIM, strengths, size + 2 * RIM)  # complex (T, 2 (S + 2 RIM), S + 2 RIM)
    # Point-spread function: axial pulse, lateral beam. Incoherent compounding softens the envelope.
    field = gaussian_filter1d(field, 0.6 * AXIAL_OVERSAMPLING, axis=1, mode="constant")
    field = gaussian_filter1d(field, 0.95, axis=2, mode="constant")
    intensity = field.real**2 + field.imag**2
    intensity = gaussian_filter1d(gaussian_filter1d(intensity, 0.9, axis=1), 0.55, axis=2)
    wide = size + 2 * RIM
    intensity = intensity.reshape(frames, wide, AXIAL_OVERSAMPLING, wide).mean(axis=2)
    intensity = intensity[:, RIM:-RIM, RIM:-RIM] * gain  # (T, S, S)
    # Normalised by the first frame, so that brightness does not flicker.
    intensity = intensity / np.percentile(intensity[0], 99.3)
    noise = rng.exponential(1.5e-4, intensity.shape)
    decibel = 10 * np.log10(intensity + noise)
    grey = np.clip(1 + decibel / DYNAMIC_RANGE, 0, 1) ** GAMMA
    return np.rint(255 * grey).astype(np.uint8)


def _splat(positions: np.ndarray, strengths: np.ndarray, size: int) -> np.ndarray:
    """Bilinear splatting: complex (T, AXIAL_OVERSAMPLING * S, S).

    Frames are processed one by one, since the arrays of one frame fit into the CPU cache: twice as fast as all at once.
    """
    height, width = AXIAL_OVERSAMPLING * size, size
    out = np.zeros((len(positions), height * width), complex)
    for frame, (axial, lateral) in zip(out, np.moveaxis(positions, -1, 1), strict=True):
        rows, columns = axial * AXIAL_OVERSAMPLING - 0.5, lateral - 0.5
        seen = np.flatnonzero((rows > 0) & (rows < height - 1) & (columns > 0) & (columns < width - 1))
        rows, columns, values = rows[seen], columns[seen], strengths[seen]
        top, left = rows.astype(np.int64), columns.astype(np.int64)
        down, right = rows - top, columns - left
        cell = top * width + left
        for offset, weight in (
            (0, (1 - down) * (1 - right)),
            (1, (1 - down) * right),
            (width, down * (1 - right)),
            (width + 1, down * right),
        ):
            frame.real += np.bincount(cell + offset, weight * values.real, len(frame))
            frame.imag += np.bincount(cell + offset, weight * values.imag, len(frame))
    return out.reshape(-1, height, width)
