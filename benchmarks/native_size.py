"""Speed of rendering at native size, relative to the bicubic warps that it requires at minimum."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.timing import alternate, row
from lddm.autoencoder.decoder import Layers
from lddm.data.ranges import to_float
from lddm.data.square import SquareFit
from lddm.motion.warp import warp
from lddm.synthesis.native import NativeStill

HEIGHT, WIDTH, SIZE, FRAMES = 768, 1024, 64, 16


def native_size() -> dict[str, Any]:
    """Clips per second at 1024 x 768, including detection of the moving part; relative to one bicubic warp per frame."""
    rng = np.random.default_rng(0)
    image = rng.integers(30, 255, (HEIGHT, WIDTH), dtype=np.uint8)
    fit = SquareFit.of(image.shape, SIZE, "pad")
    flat = torch.zeros(1, 1, FRAMES, SIZE, SIZE)
    layers = Layers(torch.randn(1, FRAMES, 2, SIZE, SIZE), flat, flat)
    still = to_float(torch.from_numpy(image))[None, None]
    motion = torch.randn(1, 2, HEIGHT, WIDTH)

    def ours() -> None:
        for _ in NativeStill(image, fit, still.device).frames(layers):
            pass

    def bare() -> None:
        for _ in range(FRAMES):
            warp(still, motion)

    seconds = alternate(ours, bare)
    return row(
        "native_size_vs_warps", 1 / seconds[0], 1 / seconds[1], "clips/s", f"{FRAMES} frames of {WIDTH} x {HEIGHT}"
    )
