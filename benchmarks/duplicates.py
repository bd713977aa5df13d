"""Time and memory of the duplicate search on simulated videos: python -m benchmarks.duplicates [VIDEOS]

Each video has 100 frames of a moving texture in a common field of view. Of every 100 videos, two are copies of a third: a
later excerpt, and an earlier, mirrored one.
"""

from __future__ import annotations

import resource
import sys
import time

import cv2
import numpy as np

from lddm.data.duplicates import find_duplicates
from lddm.data.fingerprints import SIDE

FRAMES = 100


def made_up(number: int, fan: np.ndarray) -> np.ndarray:
    """Simulated thumbnails uint8 (100, 32, 32)."""
    rng = np.random.default_rng(number)
    texture = 150 * cv2.GaussianBlur(rng.normal(size=(56, 56)).astype(np.float32), (0, 0), 1.2)
    width, height, phase = rng.uniform((1, 1, 0), (8, 8, 6))
    frames = np.empty((FRAMES, SIDE, SIDE), np.uint8)
    for t, frame in enumerate(frames):
        warp = np.array([[1, 0, 12 + width * np.sin(t / 9 + phase)], [0, 1, 12 + height * np.cos(t / 14)]], np.float32)
        moved = cv2.warpAffine(texture, warp, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        frame[:] = np.clip(100 + moved + rng.normal(0, 3, moved.shape), 0, 255) * fan
    return frames


def main(videos: int = 10_000) -> None:
    """Print time, memory and the number of copies found."""
    y, x = np.mgrid[:SIDE, :SIDE]
    fan = np.hypot(y + 8, x - SIDE / 2) < 36
    hashes = [made_up(number, fan) for number in range(videos)]
    expected = set()
    for first in range(0, videos - 2, 100):
        hashes[first + 1] = hashes[first][40:]
        hashes[first + 2] = np.ascontiguousarray(hashes[first][:60, :, ::-1])
        expected |= {(first, first + 1), (first, first + 2), (first + 1, first + 2)}
    start = time.process_time()
    found = set(find_duplicates(hashes))
    seconds, peak = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{videos} videos of {FRAMES} frames: {seconds:.0f} s of CPU time, {peak:.0f} MiB at most")
    print(f"{len(found & expected)} of {len(expected)} pairs found, {len(found - expected)} others")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
