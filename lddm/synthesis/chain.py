"""Long videos from overlapping windows, selected by agreement on the overlap."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# first frames, float or uint8 (n, S, S), and the window index -> float32 (n, T + 1, S, S), including the first frame
Window = Callable[[np.ndarray, int], np.ndarray]


def extend_autoregressively(window: Window, x0: np.ndarray, length: int, overlap: int, candidates: int) -> np.ndarray:
    """Extend videos window by window so that motion is continuous at the seams.

    A single frame shows positions, not velocities. Each further window therefore starts `overlap` frames before the end:
    `candidates` continuations are sampled, the one that agrees best on the overlap is kept, and both windows are blended
    over the overlap.

    Args:
        window: samples videos; deterministic for a given window index.
        x0: uint8 (n, S, S).
        length: number of frames after x0.
        overlap: frames shared by two windows, at least 1 and less than T.
        candidates: continuations sampled per seam.

    Returns:
        float32 (n, length + 1, S, S) in the units of `window`; frame 0 is x0.

    Raises:
        ValueError: the overlap leaves no new frames.
    """
    video = window(x0, 0)
    frames = video.shape[1] - 1
    if not 1 <= overlap < frames:
        raise ValueError(f"overlap must be from 1 to {frames - 1}, got {overlap}")
    weight = (np.arange(1, overlap + 1, dtype=np.float32) / (overlap + 1))[:, None, None]
    number = 1
    while video.shape[1] < length + 1:
        start = video[:, -1 - overlap]
        drawn = window(np.repeat(start, candidates, axis=0), number)
        drawn = drawn.reshape(len(x0), candidates, *drawn.shape[1:])  # (n, candidates, T + 1, S, S)
        shared = video[:, None, -overlap:]
        error = np.abs(drawn[:, :, 1 : overlap + 1] - shared).mean(axis=(2, 3, 4))  # (n, candidates)
        best = drawn[np.arange(len(x0)), error.argmin(axis=1), 1:]  # (n, T, S, S)
        blend = (1 - weight) * video[:, -overlap:] + weight * best[:, :overlap]
        video = np.concatenate([video[:, :-overlap], blend, best[:, overlap:]], axis=1)
        number += 1
    return video[:, : length + 1]
