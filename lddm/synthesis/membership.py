"""Membership inference against a diffusion model, based on its denoising loss.

A lower loss indicates a training patient (Yeom et al. 2018; for diffusion models Matsumoto et al. 2023 and Carlini et al. 2023).
Noise levels and noise are fixed. The controls are a small denoiser overfitted to half of the held-out patients, and the same
denoiser before training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lddm.autoencoder.clips import ClipDataset
from lddm.autoencoder.measured import MeasuredMotion
from lddm.data.frames import FrameStore, fold_clips
from lddm.generators.diffusion.process import add_noise, make_scheduler
from lddm.nn.blocks import sinusoidal
from lddm.settings.models import DiffusionSettings
from lddm.synthesis.animate import Animator
from lddm.task import Task

# ASSUME: low and medium noise levels, because noisy latents are indistinguishable at high ones.
LEVELS = (0.05, 0.15, 0.3, 0.5)  # fractions of num_train_timesteps
NOISES = 2  # noise samples per level, the same for all latents
PATIENTS = 80  # largest number of members and of non-members, which take 4 s on one core
HIDDEN, STEPS, LEARNING_RATE = 256, 200, 2e-3  # of the overfitted control
Predict = Callable[
    [Tensor, Tensor, slice], Tensor
]  # noisy z (B, N), timestep (B,), rows of the latents -> prediction (B, N)


@dataclass(frozen=True)
class Attack:
    """Losses of latents of training patients (members) and of equally many held-out patients (non-members).

    Attributes:
        loss: float (n,); member: bool (n,); patients: str (n,).
    """

    loss: np.ndarray
    member: np.ndarray
    patients: np.ndarray


def membership_attack(
    bundle: Path, store: FrameStore, splits: pd.DataFrame, fold: int, motion: Path | None, seed: int
) -> dict[str, Attack]:
    """Attack a latent diffusion model and the two controls.

    The model is conditioned on the labels as in training. If some training labels are hidden, or if the model is conditioned on
    a measured attribute, no labels are used, because the presence of a label would reveal membership.

    Args:
        bundle: model package of a latent diffusion model (lddm).
        store: frames of the model's size.
        motion: measured motion of the clips, for a decoder that warps x0.

    Returns:
        Attacks by name: "" (the model), "overfitted denoiser" and "untrained denoiser".
    """
    animator = Animator.load(bundle)
    model, device = animator.generator, animator.device
    rng = np.random.default_rng([seed, 6])
    parts = [fold_clips(store, splits, fold, part) for part in ("train", "test")]
    known = all(part["labelled"].all() for part in parts) and "condition" not in animator.about
    count = min(PATIENTS, *(part["patient_id"].nunique() for part in parts))
    parts = [_of_patients(part, count, rng) for part in parts]
    clips = pd.concat(parts, ignore_index=True)
    member = np.repeat([True, False], [len(part) for part in parts])
    x0, z = _latents(animator, store, clips, MeasuredMotion.load(motion) if motion else None)
    z = model.transform(z)
    task = Task.of_meta(animator.about)
    given = clips["label"].to_numpy() if known else np.full(len(clips), np.nan if task.is_regression else -1)
    label = torch.as_tensor(given.astype(np.float32 if task.is_regression else np.int64), device=device)
    patients = clips["patient_id"].to_numpy(dtype=str)

    def denoiser(noisy: Tensor, timestep: Tensor, rows: slice) -> Tensor:
        return model.denoiser(noisy, timestep, x0[rows], label[rows])

    found = {"": Attack(denoising_losses(denoiser, z, model.settings, seed), member, patients)}
    return found | controls(z[torch.as_tensor(~member, device=device)], patients[~member], seed)


def controls(z: Tensor, patients: np.ndarray, seed: int) -> dict[str, Attack]:
    """Attack a small denoiser, untrained and after overfitting to half of the patients.

    Args:
        z: normalised latents float (n, N).
        patients: patient of each latent, (n,).
    """
    names = np.random.default_rng([seed, 7]).permutation(np.unique(patients))
    member = np.isin(patients, names[: len(names) // 2])
    settings = DiffusionSettings(min_snr_gamma=None)
    torch.manual_seed(seed)
    probe = Probe(z.shape[1], settings.num_train_timesteps).to(z.device)
    fresh = denoising_losses(probe, z, settings, seed)
    probe.overfit(z[torch.as_tensor(member, device=z.device)], settings, seed)
    fitted = denoising_losses(probe, z, settings, seed)
    return {
        "overfitted denoiser": Attack(fitted, member, patients),
        "untrained denoiser": Attack(fresh, member, patients),
    }


class Probe(nn.Module):
    """A small unconditional denoiser: an MLP with two hidden layers."""

    def __init__(self, size: int, timesteps: int):
        super().__init__()
        self.timesteps = timesteps
        self.layers = nn.Sequential(
            nn.Linear(size + 32, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, size)
        )

    def forward(self, noisy: Tensor, timestep: Tensor, rows: slice = slice(None)) -> Tensor:
        """Noisy z (B, N), timestep (B,) -> prediction (B, N)."""
        return self.layers(torch.cat([noisy, sinusoidal(1000 * timestep / self.timesteps, 32)], dim=1))

    def overfit(self, z: Tensor, settings: DiffusionSettings, seed: int) -> None:
        """Train on latents float (n, N) for `STEPS` steps with the denoising loss."""
        scheduler, rng = make_scheduler(settings, "ddim"), torch.Generator().manual_seed(seed)
        optimiser = torch.optim.Adam(self.parameters(), lr=LEARNING_RATE)
        for _ in range(STEPS):
            timestep = torch.randint(self.timesteps // 2, (len(z),), generator=rng).to(z.device)
            noisy, target = add_noise(scheduler, z, torch.randn(z.shape, generator=rng).to(z), timestep)
            loss = (self(noisy, timestep) - target).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


@torch.no_grad()
def denoising_losses(predict: Predict, z: Tensor, settings: Any, seed: int, batch_size: int = 64) -> np.ndarray:
    """Squared error of each latent, averaged over fixed noise levels and noise samples, float64 (n,).

    Args:
        predict: the denoiser.
        z: normalised latents float (n, N).
        settings: settings with the noise schedule (`DenoiserSettings`).
    """
    scheduler = make_scheduler(settings, "ddim")
    rng = torch.Generator().manual_seed(seed)
    total = np.zeros(len(z))
    for level in LEVELS:
        for _ in range(NOISES):
            noise = torch.randn(z.shape[1], generator=rng).to(z)
            for start in range(0, len(z), batch_size):
                rows = slice(start, start + batch_size)
                timestep = torch.full((len(z[rows]),), int(level * settings.num_train_timesteps), device=z.device)
                noisy, target = add_noise(scheduler, z[rows], noise.expand(z[rows].shape), timestep)
                error = (predict(noisy, timestep, rows) - target).square().mean(dim=1)
                total[rows] += error.double().cpu().numpy()
    return total / (len(LEVELS) * NOISES)


def _of_patients(clips: pd.DataFrame, count: int, rng: np.random.Generator) -> pd.DataFrame:
    """The clips of `count` random patients."""
    names = rng.permutation(np.unique(clips["patient_id"].astype(str)))[:count]
    return clips[clips["patient_id"].astype(str).isin(names)]


@torch.no_grad()
def _latents(
    animator: Animator, store: FrameStore, clips: pd.DataFrame, measured: MeasuredMotion | None, batch_size: int = 64
) -> tuple[Tensor, Tensor]:
    """x0 float (n, 1, S, S) and the posterior mean of z float (n, D)."""
    model, parts = animator.autoencoder, []
    dataset = ClipDataset(store, clips, model.checked(measured, store), animator.device)
    for start in range(0, len(clips), batch_size):
        video, motion, _ = dataset.read(np.arange(start, min(start + batch_size, len(clips))))
        parts.append((video[:, :, 0], model.encode(video, motion).mean))
    return torch.cat([x0 for x0, _ in parts]), torch.cat([z for _, z in parts])
