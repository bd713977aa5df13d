"""Features on disk by the content of the videos and of the network: who changes one generator pays for that one only."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np

from lddm.files import atomic_path
from lddm.metrics.features import FeatureNetwork

logger = logging.getLogger(__name__)


class FeatureCache:
    """One file for each set of videos and network; safe for jobs that run at the same time.

    Args:
        folder: where the files lie; None keeps features in memory only.
    """

    def __init__(self, folder: Path | None = None):
        self.folder = folder
        self._memory: dict[str, np.ndarray] = {}

    def features(self, network: FeatureNetwork, clips: np.ndarray) -> np.ndarray:
        """What the network says of clips uint8 (n, T + 1, S, S): float64 (n * rows, d)."""
        key = _key(network, clips)
        if key in self._memory:
            return self._memory[key]
        path = self.folder / f"{key}.npy" if self.folder else None
        found = _read(path)
        if found is None:
            found = np.asarray(network.extract(clips), dtype=np.float64)
            if path is not None:
                with atomic_path(path) as temporary:
                    np.save(temporary, found, allow_pickle=False)
        self._memory[key] = found
        return found


def _read(path: Path | None) -> np.ndarray | None:
    if path is None or not path.is_file():
        return None
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:  # a damaged file costs its computation, no more
        logger.warning("%s cannot be read (%s): computed again", path.name, error)
        return None


def _key(network: FeatureNetwork, clips: np.ndarray) -> str:
    digest = hashlib.sha256(f"{network.content} {clips.dtype} {clips.shape}".encode())
    for clip in clips:
        digest.update(np.ascontiguousarray(clip).data)
    return digest.hexdigest()
