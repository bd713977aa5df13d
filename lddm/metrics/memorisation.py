"""Memory of training videos beyond copies of whole videos: of their motion alone, and authenticity.

Each number stands beside what videos without any memory have: held-out patients take the place of training patients.
"""

from __future__ import annotations

import cv2
import numpy as np

from lddm.metrics.features import FeatureNetwork
from lddm.metrics.novelty import nearest
from lddm.motion.flow import optical_flow

CELLS = 8  # flow is averaged in cells of an 8 x 8 grid
# Cells at the edge are left out: there real clips show tissue that enters, of which a displacement of x0 says nothing.
INNER = slice(1, CELLS - 1)
# ASSUME: two passes of the flow and four frames. On the phantom they found all motions of training latents that the decoder put
# on other stills, with two frames 0.95 of them.
PASSES = 2
STILL = 0.05  # pixels; equal frames have a measured flow of 0.02
MOMENTS = 4  # frames whose displacement from x0 is read


def _motion_films(clips: np.ndarray) -> np.ndarray:
    """How a clip moves, whatever it shows and however far: displacements of the tissue of x0 on a coarse grid.

    The displacement stands for the latent z, which only generators with an autoencoder have: two stills moved by one z have
    the same displacements.

    Args:
        clips: uint8 (n, T + 1, S, S).

    Returns:
        float32 (n, 4 * 2 * 6 * 6) with a mean square of one; zeros for a clip that stands still.
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
    """Motion (n, 288) of clips that are mirrored left to right, without measuring it again."""
    count = CELLS - 2
    turned = films.reshape(len(films), -1, 2, count, count)[..., ::-1].copy()
    turned[:, :, 1] *= -1  # the lateral component
    return turned.reshape(len(films), -1)


def authenticity(
    synthetic: np.ndarray, pool: np.ndarray, patients: np.ndarray, pool_patients: np.ndarray
) -> np.ndarray:
    """Whether each video is authentic with respect to real ones, bool (n,) (Alaa et al. 2022, section 3.3).

    A synthetic video is authentic if it is farther from the nearest real video than that one is from the nearest real video
    of another patient. Taken against training videos, and as the floor against held-out ones: videos without memory have
    about the same share in both.

    Args:
        synthetic, pool: features (n, d), (m, d).
        patients, pool_patients: of each; the own patient of a video does not count.
    """
    names, owners = patients.astype(str), pool_patients.astype(str)
    distance, which = nearest(synthetic, pool, (names, owners))
    return distance > nearest(pool[which], pool, (owners[which], owners))[0]
