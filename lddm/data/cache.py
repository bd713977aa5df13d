"""On-disk cache of arrays computed from videos, keyed by the content of the videos and of the computation."""

from __future__ import annotations

import hashlib
import logging
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
from filelock import Timeout

from lddm.files import atomic_path, lock

logger = logging.getLogger(__name__)


class ArrayCache:
    """Cache with one file per set of videos (or part of a set) and computation, shared by concurrent jobs.

    Args:
        folder: folder of the files; None = arrays are not stored.
    """

    def __init__(self, folder: Path | None = None):
        self.folder = folder
        self._memory: dict[str, np.ndarray] = {}
        # Digests of live arrays by id: many measures use the same array, and hashing it takes 0.1 s.
        self._digests: dict[int, tuple[weakref.ref[np.ndarray], str]] = {}

    def get(self, content: str, clips: np.ndarray, compute: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return `compute(clips)` for clips uint8 (n, T + 1, S, S), from the cache if possible.

        Args:
            clips: must not be modified during the lifetime of this cache.
            content: identifies the computation, e.g. name and hash of a network or of source code.
        """
        found = self._found(content, clips, compute, wait=True)
        assert found is not None
        return found

    def get_in_parts(
        self, content: str, clips: np.ndarray, compute: Callable[[np.ndarray], np.ndarray], at_a_time: int = 16
    ) -> np.ndarray:
        """As `get`, for arrays computed clip by clip: concurrent jobs divide the clips between them.

        Args:
            at_a_time: number of clips per part; each part is one file.
        """
        if self.folder is None or not len(clips):
            return self.get(content, clips, compute)
        parts = [clips[start : start + at_a_time] for start in range(0, len(clips), at_a_time)]
        # parts in progress in another job are skipped at first
        found = [self._found(content, part, compute, wait=False) for part in parts]
        made = zip(found, parts, strict=True)
        return np.concatenate([one if one is not None else self.get(content, part, compute) for one, part in made])

    def _found(
        self, content: str, clips: np.ndarray, compute: Callable[[np.ndarray], np.ndarray], wait: bool
    ) -> np.ndarray | None:
        """As `get`; None if another job is computing the array and the caller does not wait."""
        key = hashlib.sha256(f"{content} {self._digest(clips)}".encode()).hexdigest()
        if key in self._memory:
            return self._memory[key]
        found: np.ndarray | None
        if self.folder is None:
            found = compute(clips)
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{key}.npy"
            found = _read(path)
            if found is None:
                try:
                    with lock(path.with_suffix(".lock")).acquire(timeout=-1 if wait else 0):
                        found = _read(path)  # another job may have computed it in the meantime
                        if found is None:
                            found = compute(clips)
                            with atomic_path(path) as temporary:
                                np.save(temporary, found, allow_pickle=False)
                except Timeout:
                    return None
        self._memory[key] = found
        return found

    def _digest(self, clips: np.ndarray) -> str:
        array, digest = self._digests.get(id(clips), (None, ""))
        if array is None or array() is not clips:
            digest = _content(clips)
            self._digests[id(clips)] = weakref.ref(clips), digest
        return digest


def _read(path: Path) -> np.ndarray | None:
    if not path.is_file():
        return None
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:  # a damaged file is recomputed
        logger.warning("%s cannot be read (%s): computed again", path.name, error)
        return None


def _content(clips: np.ndarray) -> str:
    digest = hashlib.sha256(f"{clips.dtype} {clips.shape}".encode())
    for clip in clips:
        digest.update(np.ascontiguousarray(clip).data)
    return digest.hexdigest()
