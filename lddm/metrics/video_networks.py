"""Large pretrained video networks: I3D (FVD), dynamic textures (DT-FVD), VideoMAE (CD-FVD) and V-JEPA (JEDi).

Their input are frames 1..T. I3D takes 2 to 3 s per video on one core, so `quality.max_videos_pretrained` limits the number
of videos.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from lddm.files import sha256
from lddm.metrics import i3d
from lddm.metrics.features import SMALLEST, Extractor, FeatureNetwork, in_batches
from lddm.metrics.weights import WeightsAbsent, find, find_one, label
from lddm.training.parallel import pick_device

logger = logging.getLogger(__name__)

I3D_SHORTEST = 9  # frames; the network halves the time axis three times and pools over two steps
KINETICS = ("i3d_kinetics400", "i3d_kinetics400_tfhub")  # files with the same network
WIDTHS = {"i3d_dtdb": 1024, "videomae_ssv2": 1408, "vjepa_ssv2": 1024}  # features of the published networks
BATCH = 4


def kinetics_i3d(weights_dir: str | Path, clip_length: int) -> FeatureNetwork:
    """I3D trained on Kinetics-400, whose 400 logits are the features of FVD and KVD, from any of its weight files.

    The TorchScript file of StyleGAN-V takes values 0..255 and resizes to 224 pixels itself; ours gets the equivalent input
    (`i3d.grey_video`).

    Raises:
        WeightsAbsent: the weights are missing, or the clips are too short for the network.
    """
    _long_enough(KINETICS[0], clip_length)
    name, path = find_one(KINETICS, weights_dir)
    if path.suffix == ".safetensors":
        network = i3d.I3d().eval().requires_grad_(False)
        network.load_state_dict(load_file(path))
        network = network.to(pick_device())
        code = hashlib.sha256(inspect.getsource(i3d).encode()).hexdigest()
        return FeatureNetwork(name, _of_videos(lambda clips: network(i3d.grey_video(clips))), f"{sha256(path)} {code}")
    script = _script(name, path)
    return FeatureNetwork(
        name,
        _of_videos(lambda clips: script(_as_rgb(clips), rescale=True, resize=True, return_features=True)),
        sha256(path),
    )


def exported(weights_dir: str | Path, name: str, clip_length: int) -> FeatureNetwork:
    """A network exported as TorchScript by the user: float (B, 3, T, H, W) in 0..255 -> (B, d).

    Args:
        name: key of WIDTHS, which holds d.

    Raises:
        WeightsAbsent: the file is missing or not such a network, or the clips are too short.
    """
    if name == "i3d_dtdb":
        _long_enough(name, clip_length)
    path = find(name, weights_dir)
    script = _script(name, path)
    extract = _of_videos(lambda clips: script(_as_rgb(clips)))
    try:  # checked once before it is applied to videos
        found = tuple(extract(np.zeros((1, clip_length + 1, SMALLEST, SMALLEST), np.uint8)).shape)
    except (RuntimeError, AttributeError) as error:
        reason = str(error).strip().splitlines()[-1][:160]
        raise WeightsAbsent(f"{name}: {path.name} cannot be called as this network ({reason})") from error
    if found != (1, WIDTHS[name]):
        raise WeightsAbsent(f"{name}: {path.name} gives {found} for one clip, expected (1, {WIDTHS[name]})")
    return FeatureNetwork(label(name, path), extract, sha256(path))


def _long_enough(name: str, clip_length: int) -> None:
    if clip_length < I3D_SHORTEST:
        raise WeightsAbsent(f"{name}: needs clips of at least {I3D_SHORTEST} frames after x0, these have {clip_length}")


def _script(name: str, path: Path) -> torch.jit.ScriptModule:
    try:
        return torch.jit.load(str(path), map_location=pick_device()).eval()
    except RuntimeError as error:
        raise WeightsAbsent(f"{name}: {path.name} is not TorchScript ({str(error).splitlines()[0][:100]})") from error


def _as_rgb(clips: Tensor) -> Tensor:
    """Convert uint8 (B, T, S, S) to float (B, 3, T, S, S), values 0..255."""
    return clips[:, None].float().expand(-1, 3, -1, -1, -1)


def _of_videos(network: Callable[[Tensor], Tensor]) -> Extractor:
    """Wrap a network on frames 1..T, uint8 (B, T, S, S), as an extractor for clips (n, T + 1, S, S)."""

    def extract(clips: np.ndarray) -> np.ndarray:
        if len(clips) > BATCH:
            logger.info("features of %d videos; seconds each without a GPU", len(clips))
        return in_batches(clips[:, 1:], BATCH, network)

    return extract
