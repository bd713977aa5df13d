"""Training of stage 1: clips, losses, and selection of weights."""

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

from lddm.autoencoder import losses
from lddm.autoencoder.clips import Batch, ClipDataset, HostBatch
from lddm.autoencoder.discriminators import SpatialDiscriminator, TemporalDiscriminator
from lddm.autoencoder.measured import MeasuredMotion
from lddm.autoencoder.model import Autoencoder
from lddm.autoencoder.published import PublishedSpatialDiscriminator, PublishedTemporalDiscriminator
from lddm.autoencoder.validate import CHOICE, validation_error
from lddm.data.frames import FrameStore, fold_clips
from lddm.motion.warp import compose_motion
from lddm.nn.perceptual import PerceptualLoss
from lddm.settings.models import AutoencoderSettings
from lddm.training.identity import Identity, clips_content
from lddm.training.loop import train
from lddm.training.parallel import pick_device
from lddm.training.schedule import step_indices
from lddm.training.state import remove_state
from lddm.training.validation import spread_clips

logger = logging.getLogger(__name__)

# Packages whose code is part of a training's identity.
PACKAGES = ("autoencoder", "latent", "motion", "nn", "training", "data", "task")
VALIDATED = 64  # validation clips that select the weights, or one per validation patient if there are more patients


class AutoencoderTask:
    """Training task of stage 1; implements `lddm.training.step.Task`."""

    def __init__(
        self,
        model: Autoencoder,
        settings: AutoencoderSettings,
        dataset: ClipDataset,
        seed: int,
        perceptual: nn.Module | None = None,
    ):
        self.settings, self.dataset, self.seed = settings, dataset, seed
        self.model = model
        self.networks: dict[str, nn.Module] = {"autoencoder": model}
        if settings.adversarial_weight > 0:
            width, published = settings.discriminator_width, settings.networks == "published"
            self.networks["spatial"] = (PublishedSpatialDiscriminator if published else SpatialDiscriminator)(width)
            self.networks["temporal"] = (
                PublishedTemporalDiscriminator(width, model.size) if published else TemporalDiscriminator(width)
            )
        self.perceptual = None
        if settings.perceptual_weight > 0:
            self.perceptual = (perceptual or PerceptualLoss()).to(dataset.device)
        self._decoded: Tensor | None = None

    def batch(self, step: int) -> Batch:
        return self.dataset.read(*self._choice(step))

    @property
    def reads_ahead(self) -> bool:
        """Whether `lddm.training.feed.feed` prefetches batches."""
        return self.dataset.reads_ahead

    def host_batch(self, step: int) -> HostBatch:
        """First half of `batch`, run in a loader thread."""
        return self.dataset.gather(*self._choice(step))

    def upload(self, batch: HostBatch) -> Batch:
        """Second half of `batch`, on the device."""
        return self.dataset.upload(batch)

    def _choice(self, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Indices of the clips, and which of them are mirrored and time-reversed."""
        index = step_indices(len(self.dataset), self.settings.training.batch_size, self.seed, step)
        flipped, backward = np.random.default_rng([self.seed, step, 1]).random((2, len(index))) < 0.5
        return index, flipped, backward if self.settings.time_reversal else None

    def loss(self, name: str, batch: Batch, step: int, rng: torch.Generator) -> tuple[Tensor | None, dict]:
        if name == "autoencoder":
            return self._autoencoder_loss(batch, step, rng)
        if step < self.settings.adversarial_start:
            return None, {}
        real, fake = batch.video[:, :, 1:], self._decoded
        assert fake is not None  # the autoencoder was updated before
        if name == "spatial":
            real, fake = self._judged_frames(real, fake, rng)
            return losses.hinge_discriminator(self.networks["spatial"](real), self.networks["spatial"](fake)), {}
        real, fake = self._window(real, fake, rng)
        real = real.clone().requires_grad_()
        with torch.autocast(real.device.type, enabled=False):  # R1 differentiates a gradient, which bfloat16 rounds
            real_logits, _ = self.networks["temporal"](real)
        fake_logits, _ = self.networks["temporal"](fake)
        penalty = losses.r1_penalty(real_logits, real, self.settings.r1_form)
        loss = losses.hinge_discriminator(real_logits, fake_logits) + self.settings.r1_weight * penalty
        return loss, {"r1": penalty}

    def _autoencoder_loss(self, batch: Batch, step: int, rng: torch.Generator) -> tuple[Tensor, dict]:
        video, motion, fov_mask = batch
        weights = self.settings
        x0, real = video[:, :, 0], video[:, :, 1:]
        decoded, posterior = self.model(video, motion, rng, fov_mask)
        parts = {
            "l1": F.l1_loss(decoded.frames, real),
            "temporal": losses.temporal_l1(decoded.frames, real, x0),
            "kl": posterior.kl() * (self.model.spec.size if weights.kl_reduction == "sum" else 1),
        }
        loss = weights.reconstruction_weight * parts["l1"] + weights.temporal_weight * parts["temporal"]
        loss = loss + weights.kl_weight * parts["kl"]
        if self.model.spec.kind != "low_rank" and decoded.motion is not None and weights.flow_supervision_weight > 0:
            assert motion is not None  # always measured if the decoder has a motion field
            measured = compose_motion(motion.maps, motion.coefficients, self.model.size)
            parts["teacher"] = F.l1_loss(decoded.motion, measured)
            share = max(0.0, 1 - step / (0.6 * weights.training.steps))
            loss = loss + weights.flow_supervision_weight * share * parts["teacher"]
        if self.perceptual is not None:
            parts["perceptual"] = self.perceptual(*self._some_frames(real, decoded.frames, rng))
            loss = loss + weights.perceptual_weight * parts["perceptual"]
        if weights.adversarial_weight > 0 and step >= weights.adversarial_start:
            _, fake_frames = self._judged_frames(real, decoded.frames, rng)
            real_window, fake_window = self._window(real, decoded.frames, rng)
            fake_logits, fake_features = self.networks["temporal"](fake_window)
            with torch.no_grad():
                _, real_features = self.networks["temporal"](real_window)
            parts["adversarial_space"] = losses.hinge_generator(self.networks["spatial"](fake_frames))
            parts["adversarial_time"] = losses.hinge_generator(fake_logits)
            parts["feature_matching"] = losses.feature_matching(real_features, fake_features)
            adversarial = (
                parts["adversarial_space"]
                + parts["adversarial_time"]
                + weights.feature_matching_weight * parts["feature_matching"]
            )
            loss = loss + weights.adversarial_weight * adversarial
        self._decoded = decoded.frames.detach()
        return loss, parts

    def _some_frames(self, real: Tensor, fake: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """The same random frames of real and decoded clips as images (B * frames, 1, S, S), to save memory."""
        chosen = torch.randperm(real.shape[2], generator=rng, device=rng.device)[: self.settings.perceptual_frames]
        real, fake = (v[:, :, chosen].transpose(1, 2).flatten(0, 1) for v in (real, fake))
        return real, fake

    def _judged_frames(self, real: Tensor, fake: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Input of the spatial discriminator: the same frames of both, (N, 1, S, S)."""
        count = self.settings.discriminator_frames
        if count is None:
            return self._some_frames(real, fake, rng)
        chosen = torch.randint(len(real) * real.shape[2], (count,), generator=rng, device=rng.device).to(real.device)
        real, fake = (v.transpose(1, 2).flatten(0, 1)[chosen] for v in (real, fake))
        return real, fake

    def _window(self, real: Tensor, fake: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Input of the temporal discriminator: the same consecutive frames of both, (B, 1, t, S, S)."""
        frames = real.shape[2]
        length = min(frames, self.settings.discriminator_window or frames)
        start = torch.randint(frames - length + 1, (), generator=rng, device=rng.device)
        if length == frames:
            return real, fake
        chosen = start.to(real.device) + torch.arange(length, device=real.device)  # used on the device only
        return real.index_select(2, chosen), fake.index_select(2, chosen)


def train_autoencoder(
    settings: AutoencoderSettings,
    store: FrameStore,
    splits: pd.DataFrame,
    fold: int,
    seed: int,
    state_dir: Path,
    out: Path,
    on_log: Callable[[int, dict[str, float]], None],
    measured: MeasuredMotion | None = None,
    perceptual: nn.Module | None = None,
) -> dict[str, float]:
    """Train stage 1 on the train clips of a fold and write the weights that are best on its val clips.

    ASSUME: the paper does not state how weights are selected (the cINN release: by FVD of reconstructions, which is mostly
    noise for few clips). Without adversarial losses we select the smallest L1 on clips of all validation patients; with
    adversarial losses the smallest sum of perceptual distance and motion error (`lddm.autoencoder.validate`), because L1
    favours the blurred frames before the adversarial losses start.

    Args:
        measured: measured motion of the clips, for decoder warp.
        perceptual: two batches of frames (N, 1, S, S) in [-1, 1] -> loss; None = EfficientNet-Lite0 features. It also
            selects the weights in adversarial training.

    Returns:
        Validation values of the selected weights.
    """
    device = pick_device()
    torch.manual_seed(seed)  # initial weights
    model = Autoencoder(settings, store.size, store.clip_length)
    train_clips, val_clips = (fold_clips(store, splits, fold, part) for part in ("train", "val"))
    logger.info(
        "stage 1: %d train and %d val clips; z has %d dimensions", len(train_clips), len(val_clips), model.spec.size
    )
    measured = model.checked(measured, store, current=True)
    dataset, val_dataset = (ClipDataset(store, clips, measured, device) for clips in (train_clips, val_clips))
    task = AutoencoderTask(model, settings, dataset, seed, perceptual)
    batch_size = settings.training.batch_size
    chosen = spread_clips(val_clips, VALIDATED)
    adversarial = settings.uses_adversarial_losses
    judge = task.perceptual
    if adversarial and judge is None:
        judge = (perceptual or PerceptualLoss()).to(device)

    def validate(networks: dict[str, Any]) -> dict[str, float]:
        return validation_error(networks["autoencoder"], val_dataset, chosen, batch_size, judge)

    data = {
        "train": clips_content(store, train_clips),
        "val": clips_content(store, val_clips),
        "motion": [dataset.motion, dataset.backward_motion if settings.time_reversal else None, val_dataset.motion],
        "perceptual": judge,
    }
    packages = [*PACKAGES]
    if (module := type(judge).__module__).startswith("lddm."):
        packages.append(module.split(".")[1])
    identity = Identity.of(settings, seed, data, packages, fold=fold)
    rate = settings.discriminator_learning_rate
    rates = {name: rate for name in ("spatial", "temporal")} if rate else None
    keep_best = CHOICE if adversarial else "l1"
    train(
        task, settings.training, seed, state_dir, on_log, validate, keep_best, identity=identity, learning_rates=rates
    )
    kept = validation_error(model, val_dataset, np.arange(len(val_clips)), batch_size, judge)
    model.save(out, fold=fold, seed=seed, train_clips=len(train_clips), validation=kept)
    remove_state(state_dir)
    return kept
