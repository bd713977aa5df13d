"""Memory of training videos beyond copies of whole videos: of their motion alone, and authenticity.

Each number stands beside what videos without any memory have: held-out patients take the place of training patients.
"""

from __future__ import annotations

import cv2
import numpy as np

from lddm.metrics.features import FeatureNetwork
from lddm.metrics.novelty import DRAWS, by_patient
from lddm.motion.flow import optical_flow

CELLS = 8  # flow is averaged in cells of an 8 x 8 grid
# ASSUME: two passes of the flow. In a simulation they found all motions planted with the same flow, but 0.62 of those planted
# with a coarser one: the rate is a lower bound, and its control, planted alike, shows the best case.
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
        float32 (n, 4 * 2 * 8 * 8) with a mean square of one; zeros for a clip that stands still.
    """
    moments = np.linspace(0, clips.shape[1] - 1, MOMENTS + 1).round().astype(int)[1:]
    flows = optical_flow(clips, "forward", [int(t) for t in moments], PASSES)  # (n, 4, 2, S, S)
    size = (CELLS, CELLS)
    films = np.array(
        [[[cv2.resize(way, size, interpolation=cv2.INTER_AREA) for way in flow] for flow in c] for c in flows]
    )
    films = films.reshape(len(clips), -1)
    length = np.sqrt(np.square(films).mean(axis=1, keepdims=True))
    return np.divide(films, length, out=np.zeros_like(films), where=length > STILL)


MOTION = FeatureNetwork("motion", _motion_films)


def transplanted(stills: np.ndarray, clips: np.ndarray) -> np.ndarray:
    """Control of motion copying: stills that move as other clips do.

    Args:
        stills: uint8 (n, S, S).
        clips: uint8 (n, T + 1, S, S), whose motion is taken.

    Returns:
        uint8 (n, T + 1, S, S), the still first.
    """
    y, x = np.mgrid[: stills.shape[1], : stills.shape[2]].astype(np.float32)
    flows = optical_flow(clips, "backward", passes=PASSES)  # (n, T, 2, S, S)
    moved = [
        [cv2.remap(still, x + flow[1], y + flow[0], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT) for flow in film]
        for still, film in zip(stills, flows, strict=True)
    ]
    return np.concatenate([stills[:, None], np.array(moved, dtype=np.uint8)], axis=1)


def authenticity(
    synthetic: np.ndarray,
    pool: np.ndarray,
    patients: np.ndarray,
    pool_patients: np.ndarray,
    count: int,
    seed: int,
) -> np.ndarray:
    """How often each video is authentic with respect to real ones, (n,) in [0, 1] (Alaa et al. 2022, section 3.3).

    A synthetic video is authentic if it is farther from the nearest real video than that one is from the nearest real video
    of another patient. Taken against training videos, and against held-out ones of as many patients: videos without
    memory have about the same share in both. The mean over random subsets of `count` patients of the pool.

    Args:
        synthetic, pool: features (n, d), (m, d).
        patients, pool_patients: of each; the own patient of a video does not count.
        count: patients of a subset, at least two.
        seed: of the subsets.
    """
    to_pool, which = by_patient(synthetic, pool, pool_patients)  # (n, patients)
    names = np.unique(pool_patients.astype(str))
    to_pool[patients.astype(str)[:, None] == names[None]] = np.inf
    within, _ = by_patient(pool, pool, pool_patients)  # (m, patients)
    rng, total = np.random.default_rng(seed), np.zeros(len(synthetic))
    for _ in range(DRAWS):
        chosen = rng.permutation(len(names))[: max(2, count)]
        best = chosen[to_pool[:, chosen].argmin(axis=1)]  # patient of the nearest real video
        rows = which[np.arange(len(synthetic)), best]
        others = np.where(chosen[None] == best[:, None], np.inf, within[rows][:, chosen]).min(axis=1)
        total += to_pool[np.arange(len(synthetic)), best] > others
    return total / DRAWS
