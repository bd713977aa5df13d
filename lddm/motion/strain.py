"""Tissue strain normalised by probe motion, as in quasi-static elastography."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter1d

from lddm.motion.flow import optical_flow

LEAST_STRAIN = 0.1  # floor of a mean strain, in the unit of `strain_maps`; ratios of smaller values would be noise


def strain_maps(clips: np.ndarray) -> np.ndarray:
    """Strain and displacement normalised by probe motion, as in quasi-static elastography.

    For each pixel of x0: the least-squares slope, over time, of the axial strain d u_z / d z and of the axial
    displacement u_z on the mean axial displacement of the frame. Both are independent of the probe force.

    Args:
        clips: uint8 (n, T + 1, H, W).

    Returns:
        float32 (n, 2, H, W): slope of the strain (1 / pixel, times H so that it is of order 1) and of the displacement.
    """
    frames = range(2, clips.shape[1], 2) or range(1, clips.shape[1])  # the only one if T = 1
    axial = optical_flow(clips, "forward", frames)[:, :, 0]  # (n, T', H, W)
    smooth = uniform_filter1d(uniform_filter1d(axial, 3, axis=2), 3, axis=3)
    strain = np.gradient(smooth, axis=2)
    pressed = axial.mean(axis=(2, 3))  # (n, T')
    # Ridge term (0.05 px^2 per frame): without probe motion the slope is undefined and noise would be amplified.
    norm = (pressed**2).sum(axis=1) + 0.05 * pressed.shape[1]
    slopes = [np.einsum("nt,nthw->nhw", pressed, field) / norm[:, None, None] for field in (strain, axial)]
    slopes[0] *= clips.shape[2]
    return np.stack(slopes, axis=1).astype(np.float32)


def strain_ratio(maps: np.ndarray) -> np.ndarray:
    """Log strain ratio of strain elastography: strain of the reference tissue over strain of the lesion.

    Positive if the centre is stiffer than its surroundings. ASSUME: the lesion is centred in the frame, as is usual in
    practice, and fills the middle third of both axes; the reference is the tissue to its left and right at the same depth.

    Args:
        maps: float (n, 2, H, W), from `strain_maps`.

    Returns:
        float64 (n,), natural logarithm, dimensionless.
    """
    height, width = maps.shape[-2:]
    rows, columns = slice(height // 3, height - height // 3), slice(width // 3, width - width // 3)
    band = maps[:, 0, rows].astype(np.float64)  # (n, h, W)
    centre = band[:, :, columns]
    beside = np.concatenate([band[:, :, : columns.start], band[:, :, columns.stop :]], axis=2)
    means = [np.abs(part.mean(axis=(1, 2))) for part in (beside, centre)]
    return np.log(np.maximum(means[0], LEAST_STRAIN) / np.maximum(means[1], LEAST_STRAIN))
