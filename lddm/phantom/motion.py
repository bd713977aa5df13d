"""Tissue motion: layers and lesion strain according to their stiffness under compression, drift and tremor of the probe.

The motion depends on what a frame shows (layers, position and size of the lesion) and on the stiffness of the lesion, which a
frame does not show: p(motion | x0) differs from p(motion), and from p(motion | x0, class).
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from lddm.phantom.anatomy import REFERENCE, Anatomy


def compression_pattern(anatomy: Anatomy, size: int, margin: int) -> np.ndarray:
    """Displacement of the tissue for one pixel of compression: float64 (2, H, W), (axial, lateral), in pixels.

    Each column is a series of springs: the axial strain is proportional to 1 / E, smoothed because tissue is continuous. The
    probe face (row 0 of the frame) is at rest, because the image moves with the probe, and the deepest row of the frame
    moves by one pixel. The lateral displacement follows from near incompressibility.
    """
    scale = size / REFERENCE
    strain = gaussian_filter(1 / anatomy.stiffness, (1.0 * scale, 2.0 * scale), mode="nearest")
    view = slice(margin, margin + size)
    # Equal pressure and equal total compression (flat probe, firm chest wall) contradict each other; use their mean.
    total = strain[view].sum(axis=0)
    strain = strain / (0.5 * total + 0.5 * total.mean())
    axial = -(np.cumsum(strain, axis=0) - np.cumsum(strain, axis=0)[margin])  # towards the probe
    axial = gaussian_filter(axial, (0.5 * scale, 3.0 * scale), mode="nearest")
    columns = (np.arange(size + 2 * margin) - margin + 0.5) - size / 2
    lateral = 0.4 * gaussian_filter(strain, 6 * scale, mode="nearest") * columns  # Poisson's ratio of about 0.4
    return np.stack([axial, lateral])


def probe_motion(rng: np.random.Generator, frames: int, fps: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Sample the motion of the probe.

    Returns:
        Compression relative to frame 0 in pixels (frames,), and the common shift (frames, 2) in pixels: slow drift along the
        skin and a small tremor.
    """
    scale = size / REFERENCE
    time = np.arange(frames) / fps
    amplitude, rate, phase = rng.uniform(3.0, 6.0), rng.uniform(0.35, 1.1), rng.uniform(0, 2 * np.pi)
    pressed = 0.5 * amplitude * np.sin(2 * np.pi * rate * time + phase)
    pressed += 0.15 * amplitude * np.sin(4 * np.pi * rate * time + rng.uniform(0, 2 * np.pi))
    drift = np.stack([np.zeros(frames), rng.normal(0, 0.5) * time], axis=1)
    tremor = 0.06 * rng.normal(size=(frames, 2))
    shift = drift + tremor
    return scale * (pressed - pressed[0]), scale * (shift - shift[0])
