"""The classifiers, and what each of them looks at.

`strain` sees x0 and two maps of how the tissue gives way; `still` sees single frames and cannot know their order;
`tiny3d` and the published networks see videos. The differences between them say whether the class lies in the motion and
whether a network can find it there.
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

SIDE = 32  # pixels that `strain` and `tiny3d` see at the most: enough for a lesion, and the cost grows with its square
TINY_FRAMES = 8
STILLS = 4
STRAIN_SCALE = 2.0  # brings the slopes to the order of one


@dataclass(frozen=True)
class Classifier:
    """One entry of the registry.

    Attributes:
        prepare: clips uint8 (n, T + 1, S, S) -> float32 (n, C, ...), the network's input; a mirrored clip gives a
            mirrored input (last axis), so that training may flip inputs.
        build: a fresh network that gives some numbers (one for two classes and for a target, one per class or step for more
            classes; see `lddm.classification.heads`): outputs -> (input -> (B, outputs)).
        pretrained: the network whose weights `build` begins with, None for one that is trained from scratch.
        costly: `prepare` takes as long as training: inputs are computed once for all jobs that need them.
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
    """Images (n, k, S, S), each the mean over areas of at most `SIDE` x `SIDE` pixels."""
    side = min(SIDE, images.shape[-1])
    return np.stack([[cv2.resize(i, (side, side), interpolation=cv2.INTER_AREA) for i in row] for row in images])


def full_input(clips: np.ndarray) -> np.ndarray:
    """Frames 1..T in [-1, 1] at their own size: float32 (n, 1, T, S, S); networks resize them on the device."""
    return (clips[:, 1:].astype(np.float32) / 127.5 - 1)[:, None]


def stills_input(clips: np.ndarray) -> np.ndarray:
    """Four frames, evenly spread, x0 first: float32 (n, 1, 4, S, S) in [-1, 1]."""
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
        # The mean over the frame; a maximum finds the lesion sooner, but with few videos it learns single patients.
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
