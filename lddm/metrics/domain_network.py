"""Self-supervised, domain-specific video network, trained on real training videos without labels.

Like DT-FVD, it provides a Fréchet distance in features of the domain. A network trained to recognise content is insensitive
to motion (a repeated still scores best). This network is therefore trained to distinguish real from distorted motion; its
inputs are frames together with their differences.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lddm.data.frames import FrameStore, fold_clips
from lddm.data.ranges import to_float
from lddm.files import sha256
from lddm.metrics.features import FeatureNetwork, in_batches
from lddm.settings.evaluation import DomainNetworkSettings
from lddm.training.identity import Identity, clips_content
from lddm.training.loop import train
from lddm.training.parallel import pick_device
from lddm.training.schedule import step_indices
from lddm.training.state import remove_state
from lddm.training.weights import load_into, load_weights, save_weights

logger = logging.getLogger(__name__)

# packages whose source code is part of the identity of a training
PACKAGES = ("metrics", "nn", "training", "data", "task")
SIDE = 32  # input size in pixels: resolves motion rather than texture
PRETEXTS = ("real", "frozen", "shuffled", "fast", "torn")


class DomainNetwork(nn.Module):
    """3-D convolutions on (frame, difference to the previous frame); outputs 8 * width features and pretext logits."""

    def __init__(self, width: int):
        super().__init__()
        channels = (2, width, 2 * width, 4 * width)
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(zip(channels[:-1], channels[1:], strict=True)):
            stride = (1, 2, 2) if i == 0 else 2
            layers += [nn.Conv3d(before, after, 3, stride=stride, padding=1), nn.GroupNorm(4, after), nn.SiLU()]
        self.body = nn.Sequential(*layers)
        self.code = nn.Linear(2 * channels[-1], channels[-1] * 2)
        self.head = nn.Linear(channels[-1] * 2, len(PRETEXTS))

    def embed(self, frames: Tensor) -> Tensor:
        """Frames float (B, T, S, S) in [-1, 1] -> (B, 8 * width)."""
        if frames.shape[-1] != SIDE:
            frames = F.interpolate(frames, size=(SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
        change = torch.diff(frames, dim=1, prepend=frames[:, :1])
        # Differences are an order of magnitude smaller than frames; this scale compensates for it.
        hidden = self.body(torch.stack([frames, 4 * change], dim=1))  # (B, C, T', H', W')
        pooled = torch.cat([hidden.mean(dim=(2, 3, 4)), hidden.std(dim=(2, 3, 4))], dim=1)
        return F.silu(self.code(pooled))

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (B, T, S, S) -> pretext logits (B, 5)."""
        return self.head(self.embed(frames))


def pretext_clip(frames: np.ndarray, kind: int, rng: np.random.Generator) -> np.ndarray:
    """Distort the motion of a clip for the pretext task.

    Args:
        frames: uint8 (T, S, S).
        kind: index into PRETEXTS: unchanged; one frame repeated with sensor-like noise; shuffled frames; double speed, forwards
            and then backwards; left and right half desynchronised.
    """
    count = len(frames)
    if kind == 0:
        return frames
    if kind == 1:
        still = frames[rng.integers(count)].astype(np.float32)
        noise = rng.normal(0, rng.uniform(0, 3), frames.shape)
        # truncation would darken the frame by half a level
        return np.clip(np.rint(still + noise), 0, 255).astype(np.uint8)
    if kind == 2:
        return frames[rng.permutation(count)]
    if kind == 3:
        there = np.arange(0, count, 2)
        return frames[np.concatenate([there, there[::-1]])[:count]]
    torn = frames.copy()
    half = frames.shape[2] // 2
    torn[:, :, half:] = np.roll(frames, rng.integers(count // 4, 1 + count // 2), axis=0)[:, :, half:]
    return torn


class PretextTask:
    """Training task of the pretext; implements `lddm.training.step.Task`."""

    def __init__(self, network: DomainNetwork, store: FrameStore, clips: pd.DataFrame, batch_size: int, seed: int):
        self.networks: dict[str, Any] = {"domain_network": network}
        self.store, self.clips, self.batch_size, self.seed = store, clips, batch_size, seed
        self.device = pick_device()

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        index = step_indices(len(self.clips), self.batch_size, self.seed, step)
        return self.read(index, np.random.default_rng([self.seed, step]))

    def read(self, index: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Clips of these rows, each with a random distortion: (B, T, S, S) in [-1, 1], and the distortions (B,)."""
        kinds = rng.permutation(np.arange(len(index)) % len(PRETEXTS))
        clips = self.store.clip_frames(self.clips.iloc[index])[:, 1:]
        turned = [clip[:, :, ::-1] if rng.random() < 0.5 else clip for clip in clips]
        broken = np.stack([pretext_clip(clip, kind, rng) for clip, kind in zip(turned, kinds, strict=True)])
        return to_float(torch.from_numpy(broken).to(self.device)), torch.from_numpy(kinds).to(self.device)

    def loss(self, name: str, batch: tuple[Tensor, Tensor], step: int, rng: torch.Generator):
        frames, kinds = batch
        logits = self.networks[name](frames)
        accuracy = (logits.argmax(dim=1) == kinds).float().mean()
        return F.cross_entropy(logits, kinds), {"accuracy": accuracy}


@torch.no_grad()
def pretext_accuracy(network: DomainNetwork, store: FrameStore, clips: pd.DataFrame, seed: int) -> dict[str, float]:
    """Loss and accuracy of the pretext task on clips; the distortions are determined by the seed."""
    task = PretextTask(network, store, clips, 0, seed)
    rng = np.random.default_rng([seed, 0])
    losses, hits = [], []
    for start in range(0, len(clips), 25):
        frames, kinds = task.read(np.arange(start, min(start + 25, len(clips))), rng)
        logits = network(frames)
        losses.append(F.cross_entropy(logits, kinds, reduction="none"))
        hits.append((logits.argmax(dim=1) == kinds).float())
    return {"loss": torch.cat(losses).mean().item(), "accuracy": torch.cat(hits).mean().item()}


def train_domain_network(
    section: DomainNetworkSettings,
    store: FrameStore,
    splits: pd.DataFrame,
    fold: int,
    seed: int,
    state: Path,
    out: Path,
    on_log: Callable[[int, dict[str, float]], None],
) -> None:
    """Train on the training clips of a fold and keep the weights that are best on its validation clips.

    The pretext accuracy on held-out test clips, a measure of motion sensitivity, is stored in the file.
    """
    torch.manual_seed(seed)
    network = DomainNetwork(section.width)
    clips = {part: fold_clips(store, splits, fold, part) for part in ("train", "val", "test")}
    task = PretextTask(network, store, clips["train"], section.training.batch_size, seed)

    def validate(networks: dict[str, Any]) -> dict[str, float]:
        return pretext_accuracy(networks["domain_network"], store, clips["val"], seed)

    data = {part: clips_content(store, clips[part]) for part in ("train", "val")}
    identity = Identity.of(section, seed, data, PACKAGES, fold=fold)
    train(task, section.training, seed, state, on_log, validate, keep_best="loss", identity=identity)
    held_out = pretext_accuracy(network, store, clips["test"], seed)
    logger.info("pretext accuracy on %d held-out clips: %.3f (chance 0.2)", len(clips["test"]), held_out["accuracy"])
    save_weights(
        out, network, "domain_network", width=section.width, held_out=held_out, train_clips=len(clips["train"])
    )
    remove_state(state)


def domain_videos(path: Path) -> tuple[FeatureNetwork, float]:
    """Load the trained network as a feature extractor, and its pretext accuracy on held-out clips."""
    state, about = load_weights(path, "domain_network")
    network = load_into(DomainNetwork(about["width"]), state, path).to(pick_device())

    def extract(clips: np.ndarray) -> np.ndarray:
        return in_batches(clips[:, 1:], 32, lambda frames: network.embed(to_float(frames)))

    return FeatureNetwork("domain_network", extract, sha256(path)), about["held_out"]["accuracy"]
