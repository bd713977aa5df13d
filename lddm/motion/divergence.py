"""Divergence of measured motion: how much the area of the tissue changes."""

from __future__ import annotations

import numpy as np

from lddm.motion.low_rank import MotionCode


def area_change(code: MotionCode, size: int) -> np.ndarray:
    """How much the area of the tissue in view changes over a clip.

    The mean divergence of a displacement field is the relative change of area to first order, in a heart its contraction. Its
    standard deviation over frames 0..T is the same for a clip that is mirrored or runs backwards.

    Args:
        code: measured motion of n clips.
        size: height and width S of a frame, whose pixels the displacements are in.

    Returns:
        float64 (n,), in percent.
    """
    maps, rows = code.maps.double().numpy(), code.coefficients.double().numpy()
    spacing = size / maps.shape[-1]  # pixels from cell to cell
    axial, lateral = np.gradient(maps[:, :, 0], spacing, axis=2), np.gradient(maps[:, :, 1], spacing, axis=3)
    change = (axial + lateral).mean(axis=(2, 3))  # (n, K), of each map
    over_time = np.einsum("nkt,nk->nt", rows, change)
    return 100 * np.concatenate([np.zeros((len(code), 1)), over_time], axis=1).std(axis=1)
