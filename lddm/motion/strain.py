"""Strain of tissue, normalised by the motion of the probe."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter1d

from lddm.motion.flow import optical_flow

LEAST_STRAIN = 0.1  # of areas, in the unit of `strain_maps`: below it is noise, whose ratios would be anything


def strain_maps(clips: np.ndarray) -> np.ndarray:
    """Strain normalised by the probe's own motion, as in quasi-static elastography.

    For each pixel of x0: the least-squares slope, over time, of the axial strain d u_z / d z and of the axial
    displacement u_z on the mean axial displacement of the frame. Both do not depend on how hard the probe pressed.

    Args:
        clips: uint8 (n, T + 1, H, W).

    Returns:
        float32 (n, 2, H, W): slope of the strain (1 / pixel, times H so that it is of order 1) and of the displacement.
    """
    frames = range(2, clips.shape[1], 2) or range(1, clips.shape[1])  # of two frames, the one that there is
    axial = optical_flow(clips, "forward", frames)[:, :, 0]  # (n, T', H, W)
    smooth = uniform_filter1d(uniform_filter1d(axial, 3, axis=2), 3, axis=3)
    strain = np.gradient(smooth, axis=2)
    pressed = axial.mean(axis=(2, 3))  # (n, T')
    # A clip in which the probe hardly moves has no slope: the ridge keeps noise from blowing up (0.05 px^2 a frame).
    norm = (pressed**2).sum(axis=1) + 0.05 * pressed.shape[1]
    slopes = [np.einsum("nt,nthw->nhw", pressed, field) / norm[:, None, None] for field in (strain, axial)]
    slopes[0] *= clips.shape[2]
    return np.stack(slopes, axis=1).astype(np.float32)


def strain_ratio(maps: np.ndarray) -> np.ndarray:
    """Logarithm of the strain ratio of strain elastography: strain of the tissue beside the centre over that of the centre.

    Positive where the centre is stiffer than its surroundings. ASSUME: the finding is in the middle of the frame, where people
    put it, and fills the middle third of both axes; the reference is the tissue to its left and right, at the same depth.

    Args:
        maps: float (n, 2, H, W), from `strain_maps`.

    Returns:
        float64 (n,), natural logarithm, no unit.
    """
    height, width = maps.shape[-2:]
    rows, columns = slice(height // 3, height - height // 3), slice(width // 3, width - width // 3)
    band = maps[:, 0, rows].astype(np.float64)  # (n, h, W)
    centre = band[:, :, columns]
    beside = np.concatenate([band[:, :, : columns.start], band[:, :, columns.stop :]], axis=2)
    means = [np.abs(part.mean(axis=(1, 2))) for part in (beside, centre)]
    return np.log(np.maximum(means[0], LEAST_STRAIN) / np.maximum(means[1], LEAST_STRAIN))
