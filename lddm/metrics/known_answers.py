"""Reference values of LPIPS and DISTS, to check that weight files and code reproduce the published distances.

Both test images are formulas, so only the values are stored. They were computed by the package lpips 0.1.4 and by DISTS of
pyiqa with the same weights. Reference values of I3D are in `weights_convert`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lddm.metrics.paired import dists_network, lpips_network
from lddm.metrics.weights import WeightsAbsent
from lddm.metrics.weights_registry import REGISTRY

TOLERANCE = 1e-4
BACKBONES = {"lpips_vgg": "vgg16", "lpips_alex": "alexnet", "dists": "vgg16"}
ANSWERS = {"lpips_vgg": 0.425211, "lpips_alex": 0.125955, "dists": 0.264501}


def wave_image(number: int) -> Tensor:
    """Test image float (1, 3, 64, 64) in [-1, 1]."""
    rows, columns = np.mgrid[:64, :64]
    channels = [np.sin(rows / (3 + number + c)) * np.cos(columns / (4 + number) + c) for c in range(3)]
    return torch.tensor(np.stack(channels), dtype=torch.float32)[None]


def check_answer(name: str, weights_dir: str | Path) -> None:
    """Compare the distance of two test images with its reference value; no-op if the backbone is not in the folder.

    Args:
        name: key of ANSWERS.

    Raises:
        WeightsAbsent: the files cannot be used, or the distance differs.
    """
    files = [REGISTRY[entry].file for entry in (BACKBONES[name], f"{BACKBONES[name]}_convolutions")]
    if not any((Path(weights_dir) / file).is_file() for file in files):
        return
    first, second = wave_image(0), wave_image(1)
    if name == "dists":
        network, first, second = dists_network(weights_dir), (first + 1) / 2, (second + 1) / 2
    else:
        network = lpips_network(weights_dir, "vgg" if name == "lpips_vgg" else "alex")
    device = next(network.buffers()).device
    with torch.no_grad():
        found = float(network(first.to(device), second.to(device)))
    if abs(found - ANSWERS[name]) > TOLERANCE:
        raise WeightsAbsent(f"{name}: gives {found:.6f} for the test images, expected {ANSWERS[name]:.6f}")
