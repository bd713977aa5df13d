"""Registry of the classifiers and their inputs.

The input of `strain` is x0 with strain and displacement maps; that of `still` are single frames without their order; that of
`tiny3d` and the published networks are videos. Their comparison shows whether the class is encoded in the motion, and whether
a network can learn it from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from torch import Tensor, nn

from lddm.classification.published import TORCHVISION, C3d, FromTorchvision, StillNetwork
from lddm.motion.strain import strain_maps
from lddm.nn.perceptual import efficientnet_lite0

SIDE = 32  # largest input size of `strain` and `tiny3d` in pixels: resolves a lesion; the cost grows with its square
TINY_FRAMES = 8
STILLS = 4
STRAIN_SCALE = 2.0  # scales the slopes to the order of one


@dataclass(frozen=True)
class Classifier:
    """Registry entry of a classifier.

    Attributes:
        prepare: input transform, clips uint8 (n, T + 1, S, S) -> float32 (n, C, ...). It must commute with mirroring (last
            axis), so that training can flip inputs.
        build: builds an untrained network with a given number of outputs (see `lddm.classification.heads`):
            outputs -> (input -> (B, outputs)).
        pretrained: name of the pretrained network used for initialisation; None = trained from scratch.
        costly: `prepare` takes as long as training, so inputs are computed once and shared by jobs.
    """

    prepare: Callable[[np.ndarray], np.ndarray]
    build: Callable[[int], nn.Module]
    pretrained: Callable[[], nn.Module] | None = None
    costly: bool = False


def strain_input(clips: np.ndarray) -> np.ndarray:
    """x0 in [-1, 1] and the slopes of axial strain and displacement, at most 32 pixels wide: float32 (n, 3, S, S)."""
    x0 = clips[:, :1].astype(np.float32) / 127.5 - 1
    return _reduced(np.concatenate([x0, np.clip(strain_maps(clips) / STRAIN_SCALE, -4, 4)], axis=1))


def frames_input(clips: np.ndarray) -> np.ndarray:
    """Every other frame, at most 32 pixels wide, in [-1, 1]: float32 (n, 1, 8, 32, 32) for T = 16."""
    chosen = np.linspace(0, clips.shape[1] - 1, TINY_FRAMES).round().astype(int)
    return (_reduced(clips[:, chosen]).astype(np.float32) / 127.5 - 1)[:, None]


def _reduced(images: np.ndarray) -> np.ndarray:
    """Downsample images (n, k, S, S) by area averaging to at most `SIDE` x `SIDE` pixels."""
    side = min(SIDE, images.shape[-1])
    return np.stack([[cv2.resize(i, (side, side), interpolation=cv2.INTER_AREA) for i in row] for row in images])


def full_input(clips: np.ndarray) -> np.ndarray:
    """Frames 1..T in [-1, 1] at full size: float32 (n, 1, T, S, S); networks resize them on the device."""
    return (clips[:, 1:].astype(np.float32) / 127.5 - 1)[:, None]


def stills_input(clips: np.ndarray) -> np.ndarray:
    """Four evenly spaced frames, including x0: float32 (n, 1, 4, S, S) in [-1, 1]."""
    chosen = np.linspace(0, clips.shape[1] - 1, STILLS).round().astype(int)
    return (clips[:, chosen].astype(np.float32) / 127.5 - 1)[:, None]


class StrainNetwork(nn.Module):
    """Three blocks of 2-D convolutions with 24, 48 and 64 channels, on inputs of at most 32 x 32."""

    def __init__(self, outputs: int = 1, channels: tuple[int, ...] = (3, 24, 48, 64)):
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip(channels[:-1], channels[1:], strict=True):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(8, after), nn.SiLU(), nn.MaxPool2d(2)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(channels[-1], outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, outputs)."""
        # Average pooling: max pooling learns the lesion faster, but overfits to single patients if there are few videos.
        return self.head(self.body(x).mean(dim=(2, 3)))


class Tiny3d(nn.Module):
    """Three blocks of 3-D convolutions with 8, 16 and 32 channels."""

    def __init__(self, outputs: int = 1, channels: tuple[int, ...] = (1, 8, 16, 32)):
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip(channels[:-1], channels[1:], strict=True):
            layers += [nn.Conv3d(before, after, 3, padding=1), nn.GroupNorm(4, after), nn.SiLU(), nn.MaxPool3d(2)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(channels[-1], outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, T', S', S') -> (B, outputs)."""
        return self.head(self.body(x).mean(dim=(2, 3, 4)))


CLASSIFIERS: dict[str, Classifier] = {
    "strain": Classifier(strain_input, StrainNetwork, costly=True),
    "tiny3d": Classifier(frames_input, Tiny3d),
    "still": Classifier(stills_input, StillNetwork, efficientnet_lite0),
    "c3d": Classifier(full_input, C3d),
} | {name: Classifier(full_input, partial(FromTorchvision, name)) for name in TORCHVISION}
