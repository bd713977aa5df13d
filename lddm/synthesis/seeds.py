"""Seeds of videos, independent of machine, batches, shards and the order of jobs."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np


def video_seed(seed: int, x0: str, sample: int, *more: int) -> int:
    """Seed of the noise of one video, from 0 to 2**63 - 1.

    Args:
        seed: seed of the experiment or of the call.
        x0: identity of the first frame: the id of a clip or still, or `content_id`.
        sample: index of the video among those of this first frame.
        more: window and candidate indices, for a video longer than a clip.
    """
    numbers = [int(number) for number in (seed, sample, *more)]  # numpy integers have a different repr
    digest = hashlib.sha256(repr((numbers[0], str(x0), *numbers[1:])).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def content_id(image: np.ndarray) -> str:
    """Content hash of an image: SHA-256 of its pixels and shape, hexadecimal."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def seeds_of(x0: np.ndarray, seed: int) -> list[int]:
    """One seed per x0 uint8 (n, H, W), from its content and the number of identical x0 before it."""
    before: Counter[str] = Counter()
    seeds = []
    for image in x0:
        name = content_id(image)
        seeds.append(video_seed(seed, name, before[name]))
        before[name] += 1
    return seeds
