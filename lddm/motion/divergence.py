"""Divergence of measured motion: relative change of tissue area."""

from __future__ import annotations

import numpy as np

from lddm.motion.low_rank import MotionCode


def area_change(code: MotionCode, size: int) -> np.ndarray:
    """Standard deviation over time of the tissue area in view, relative to frame 0.

    To first order, the relative change of area is the mean divergence of the displacement field; in the heart it measures
    contraction. The standard deviation over frames 0..T is invariant to mirroring and time reversal.

    Args:
        code: measured motion of n clips.
        size: height and width S of a frame, in pixels, the unit of the displacements.

    Returns:
        float64 (n,), in percent.
    """
    maps, rows = code.maps.double().numpy(), code.coefficients.double().numpy()
    spacing = size / maps.shape[-1]  # pixels between neighbouring cells
    axial, lateral = np.gradient(maps[:, :, 0], spacing, axis=2), np.gradient(maps[:, :, 1], spacing, axis=3)
    change = (axial + lateral).mean(axis=(2, 3))  # (n, K), mean divergence of each map
    over_time = np.einsum("nkt,nk->nt", rows, change)
    return 100 * np.concatenate([np.zeros((len(code), 1)), over_time], axis=1).std(axis=1)
