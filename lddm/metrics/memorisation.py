"""Memorisation beyond copies of whole videos: copies of motion alone, and authenticity.

Each value has a reference without memorisation, computed with held-out patients in place of training patients.
"""

from __future__ import annotations

import cv2
import numpy as np

from lddm.metrics.features import FeatureNetwork
from lddm.metrics.novelty import nearest
from lddm.motion.flow import optical_flow

CELLS = 8  # flow is averaged in the cells of an 8 x 8 grid
# Border cells are excluded: tissue enters the image there, which a displacement of x0 cannot describe.
INNER = slice(1, CELLS - 1)
# ASSUME: two passes of the flow and four frames. On the phantom, this detects all stills animated with training latents;
# two frames detect 95 % of them.
PASSES = 2
STILL = 0.05  # pixels; the measured flow between identical frames is 0.02
MOMENTS = 4  # frames whose displacement from x0 is measured


def _motion_films(clips: np.ndarray) -> np.ndarray:
    """Normalised displacements of the tissue of x0 on a coarse grid, independent of appearance and amplitude.

    The displacement replaces the latent z, which only generators with an autoencoder have: two stills animated with the same z
    have the same displacements.

    Args:
        clips: uint8 (n, T + 1, S, S).

    Returns:
        float32 (n, 4 * 2 * 6 * 6) with a mean square of one; zeros for a clip without motion.
    """
    moments = np.linspace(0, clips.shape[1] - 1, MOMENTS + 1).round().astype(int)[1:]
    flows = optical_flow(clips, "forward", [int(t) for t in moments], PASSES)  # (n, 4, 2, S, S)
    size = (CELLS, CELLS)
    films = np.array(
        [[[cv2.resize(way, size, interpolation=cv2.INTER_AREA) for way in flow] for flow in c] for c in flows]
    )
    films = films[..., INNER, INNER].reshape(len(clips), -1)
    length = np.sqrt(np.square(films).mean(axis=1, keepdims=True))
    return np.divide(films, length, out=np.zeros_like(films), where=length > STILL)


MOTION = FeatureNetwork("motion", _motion_films)


def mirrored(films: np.ndarray) -> np.ndarray:
    """Motion (n, 288) of the clips mirrored left to right, without another measurement."""
    count = CELLS - 2
    turned = films.reshape(len(films), -1, 2, count, count)[..., ::-1].copy()
    turned[:, :, 1] *= -1  # the lateral component
    return turned.reshape(len(films), -1)


def authenticity(
    synthetic: np.ndarray, pool: np.ndarray, patients: np.ndarray, pool_patients: np.ndarray
) -> np.ndarray:
    """Whether each video is authentic with respect to real ones, bool (n,) (Alaa et al. 2022, section 3.3).

    A synthetic video is authentic if its distance to the nearest real video is larger than the distance of that real video to
    its nearest neighbour of another patient. Computed against training videos, and for reference against held-out ones:
    without memorisation, the shares of authentic videos are about equal.

    Args:
        synthetic, pool: features (n, d), (m, d).
        patients, pool_patients: patient of each vector; a video's own patient is excluded.
    """
    names, owners = patients.astype(str), pool_patients.astype(str)
    distance, which = nearest(synthetic, pool, (names, owners))
    return distance > nearest(pool[which], pool, (owners[which], owners))[0]
