"""Readers of CAMUS pairs: small networks that classify reduced and preserved contraction from different inputs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.camus_pairs import flow_between, small
from lddm.classification.networks import StrainNetwork

SIDE = 32  # input size of a reader in pixels
STEPS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 200, 32, 2e-3, 1e-2
# augmentation: translation (share of the side), rotation (radians), scale (share)
SHIFT, TURN, SCALE = (0.1, math.radians(9), 0.08)
GAIN, OFFSET = 0.15, 0.1  # per frame, since the gain of the scanner may change between frames
JACOBIAN = 0.25  # scales log-determinants to the order of one

Inputs = tuple[np.ndarray, np.ndarray]  # float32 (n, 2 views, C, S, S), labels int64 (n,)


def ed_es(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Input with both frames: uint8 (n, 2 views, H, W) each -> float32 (n, 2 views, 2, S, S) in [-1, 1]."""
    return np.stack([_reduced(first), _reduced(second)], axis=2)


def ed_jacobian(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Input with ED and the log Jacobian determinant of the flow from ED to ES, i.e. the local change of area at ED.

    uint8 (n, 2 views, H, W) each -> float32 (n, 2 views, 2, S, S).
    """
    flow = flow_between(first.reshape(-1, *first.shape[2:]), second.reshape(-1, *second.shape[2:]))
    (zz, zx), (xz, xx) = (np.gradient(flow[:, component], axis=(1, 2)) for component in (0, 1))
    change = np.log(np.clip((1 + zz) * (1 + xx) - zx * xz, 0.2, 5)) / JACOBIAN
    change = small(change.reshape(first.shape), SIDE)
    return np.stack([_reduced(first), change], axis=2).astype(np.float32)


def ed_only(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Input with ED only, the control for everything but motion; as `ed_es` with one channel."""
    return _reduced(first)[:, :, None]


def es_only(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Input with ES only, whose shape reveals some of the motion."""
    return _reduced(second)[:, :, None]


READERS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "ED + Jacobian": ed_jacobian,
    "ED + ES": ed_es,
    "ED": ed_only,
    "ES": es_only,
}
FRAMES = {"ED + Jacobian": 1, "ED + ES": 2, "ED": 1, "ES": 1}  # channels that are grey levels


def _reduced(images: np.ndarray) -> np.ndarray:
    return small(images, SIDE).astype(np.float32) / 127.5 - 1


class TwoViews(nn.Module):
    """One network for both views, whose logits are averaged."""

    def __init__(self, channels: int):
        super().__init__()
        self.network = StrainNetwork(channels=(channels, 24, 48, 64))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 2 views, C, S, S) -> (B,)."""
        return self.network(x.flatten(0, 1)).reshape(x.shape[:2]).mean(dim=1)


def train_reader(name: str, real: Inputs, added: Inputs | None, seed: int) -> TwoViews:
    """Train for a fixed number of steps, since there are too few labels for a validation set.

    Args:
        real: labelled pairs; batches are balanced over classes.
        added: synthetic pairs, half of each batch.
        seed: seed of initial weights, batches and augmentation.
    """
    torch.manual_seed(seed)
    network = TwoViews(real[0].shape[2])
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS, pct_start=0.1)
    rng = np.random.default_rng([seed, 7])
    parts = [part for part in (real, added) if part is not None]
    network.train()
    for _ in range(STEPS):
        chosen = [(part, _balanced(part[1], BATCH // len(parts), rng)) for part in parts]
        x = torch.from_numpy(np.concatenate([part[0][index] for part, index in chosen]))
        y = torch.from_numpy(np.concatenate([part[1][index] for part, index in chosen])).float()
        loss = F.binary_cross_entropy_with_logits(network(augmented(x, FRAMES[name], rng)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def _balanced(labels: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of a class-balanced batch."""
    halves = [rng.choice(np.flatnonzero(labels == value), size // 2) for value in (0, 1)]
    return np.concatenate(halves)


def augmented(x: Tensor, frames: int, rng: np.random.Generator) -> Tensor:
    """Augmentation: one random shift, rotation and scale per pair, and a random gain and offset per frame.

    Args:
        x: float (B, 2 views, C, S, S).
        frames: number of leading channels that are grey levels.
    """
    count = len(x)
    turn, scale = rng.uniform(-TURN, TURN, count), 1 + rng.uniform(-SCALE, SCALE, count)
    shift = 2 * rng.uniform(-SHIFT, SHIFT, (count, 2))
    cosine, sine = scale * np.cos(turn), scale * np.sin(turn)
    matrix = np.stack([np.stack([cosine, -sine, shift[:, 0]], 1), np.stack([sine, cosine, shift[:, 1]], 1)], 1)
    flat = x.flatten(1, 2)  # (B, 2 C, S, S)
    grid = F.affine_grid(torch.from_numpy(matrix).float(), list(flat.shape), align_corners=False)
    out = F.grid_sample(flat, grid, padding_mode="border", align_corners=False).reshape(x.shape)
    gain = torch.from_numpy(1 + rng.uniform(-GAIN, GAIN, (count, 1, frames, 1, 1))).float()
    offset = torch.from_numpy(rng.uniform(-OFFSET, OFFSET, (count, 1, frames, 1, 1))).float()
    return torch.cat([(out[:, :, :frames] + 1) * gain - 1 + offset, out[:, :, frames:]], dim=2)


@torch.no_grad()
def read_by(network: TwoViews, inputs: np.ndarray) -> np.ndarray:
    """Logit of reduced contraction for each pair: float64 (n,)."""
    return (
        torch.cat([network(torch.from_numpy(part)) for part in np.array_split(inputs, max(1, len(inputs) // 64))])
        .double()
        .numpy()
    )
