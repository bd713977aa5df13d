"""Knowledge distillation: regress the output of the sampler from its input noise in one step."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lddm.generators.diffusion.model import LatentDiffusion
from lddm.generators.sampling import SamplingOptions
from lddm.generators.trainer import STUDENT
from lddm.latent.dataset import LatentDataset
from lddm.latent.stills import Stills
from lddm.nn.condition import unknown_like
from lddm.settings.models import DistillationSettings
from lddm.training.device import to_device
from lddm.training.identity import Identity
from lddm.training.loop import train
from lddm.training.parallel import share_tensor
from lddm.training.schedule import IndexTable

logger = logging.getLogger(__name__)
Batch = tuple[Tensor, Tensor]  # indices of pairs, int64 (B,), and their x0, float (B, 1, S, S)
AT_A_TIME = 128  # pairs per sampling batch
CHECKED = 256  # pairs from validation stills, used to choose the weights


@dataclass(frozen=True)
class Pairs:
    """Noise and the sampled normalised z, float (n, N), with x0, label (n,) and guidance_scale, float (n,)."""

    noise: Tensor
    z: Tensor
    index: Tensor
    label: Tensor
    guidance_scale: Tensor


@torch.no_grad()
def make_pairs(model: LatentDiffusion, dataset: LatentDataset, count: int, seed: int) -> Pairs:
    """Run the sampler on `count` random combinations of x0, label and guidance scale.

    Labels are drawn independently of x0, since at inference a still may be given any label.

    Args:
        dataset: source of x0; its latents and labels are not used.
    """
    settings = model.settings.distillation
    assert settings is not None
    rng, device = torch.Generator().manual_seed(seed), dataset.x0.device
    index = torch.randint(len(dataset), (count,), generator=rng)
    if model.labels.target_range is None:
        label = torch.randint(max(1, model.labels.classes), (count,), generator=rng)
    else:
        low, high = model.labels.target_range
        label = low + (high - low) * torch.rand(count, generator=rng)
    label[torch.rand(count, generator=rng) < model.settings.label_dropout] = unknown_like(label)
    guidance_scale = 1 + (settings.max_guidance_scale - 1) * torch.rand(count, generator=rng)
    noise = torch.randn((count, model.spec.normalised_size), generator=rng)
    index, label, guidance_scale, noise = (values.to(device) for values in (index, label, guidance_scale, noise))
    options = SamplingOptions("unipc", settings.num_inference_steps, guidance_target=settings.guidance_target)
    z = torch.empty_like(noise)
    for start in range(0, count, AT_A_TIME):
        part = slice(start, start + AT_A_TIME)
        z[part] = model.sample_steps(
            noise[part], dataset.x0[index[part]], label[part], options, guidance_scale[part, None]
        )
        if start // AT_A_TIME % 8 == 7:
            logger.info("distillation: %d of %d examples", min(start + AT_A_TIME, count), count)
    return Pairs(noise, share_tensor(z), index, label, guidance_scale)


class DistillationTask:
    """Training task of the student; implements `lddm.training.step.CapturableTask`."""

    def __init__(self, model: LatentDiffusion, x0: Stills, pairs: Pairs, seed: int):
        self.indices = IndexTable(len(pairs.index), model.settings.training.batch_size, seed, x0.device)
        self.batch_seed = seed  # no random numbers needed: the noise is part of the pairs
        self.x0, self.pairs = x0, pairs
        self._stills = pairs.index.cpu().numpy()
        self.networks: dict[str, Any] = {"student": model.student}

    def batch(self, number: int) -> Batch:
        """Indices of the pairs of a step, and their x0."""
        return self.read(self.indices[number])

    def read(self, index: Tensor, rng: torch.Generator | None = None) -> Batch:
        """As `batch`, for indices on the device."""
        return index, self.x0[self.pairs.index[index]]

    @property
    def reads_ahead(self) -> bool:
        """Whether `lddm.training.feed.feed` prefetches batches."""
        return not self.x0.resident

    def host_batch(self, number: int) -> tuple[np.ndarray, Any]:
        """First half of `batch`, run in a loader thread."""
        index = self.indices.of_host(number)
        return index, self.x0.gather(self._stills[index])

    def upload(self, host_batch: tuple[np.ndarray, Any]) -> Batch:
        """Second half of `batch`, on the device."""
        return to_device(host_batch[0], self.x0.device), self.x0.upload(host_batch[1])

    def loss(self, name: str, batch: Batch, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        loss = squared_error(self.networks[name], self.pairs, *batch)
        return loss, {"mse": loss.detach()}


def squared_error(student: Any, pairs: Pairs, which: Tensor, still: Tensor) -> Tensor:
    """Mean squared error against the sampler's z; normalised z has a mean square of about one."""
    made = student(pairs.noise[which], pairs.guidance_scale[which], still, pairs.label[which])
    return (made - pairs.z[which]).square().mean()


def distil(
    model: LatentDiffusion,
    dataset: LatentDataset,
    val_dataset: LatentDataset,
    seed: int,
    state_dir: Path,
    on_log: Callable[[int, dict[str, float]], None],
    identity: Identity,
) -> None:
    """Train `model.student` in place. No-op for a model without a student.

    Args:
        dataset, val_dataset: sources of x0 for training and for the choice of the weights.
        state_dir: folder of the resumable state.
        on_log: called with (step, values); step numbers continue those of the denoiser.
        identity: identity of the denoiser's training. The examples of the student are not hashed: they are
            floating-point results whose last bits differ between GPUs.
    """
    settings: DistillationSettings | None = model.settings.distillation
    if settings is None:
        return
    student = model.student
    assert student is not None
    student.network.load_state_dict(model.denoiser.state_dict())
    student.requires_grad_(True)
    pairs = make_pairs(model, dataset, settings.num_pairs, seed)
    held_out = make_pairs(model, val_dataset, CHECKED, seed + 1)

    @torch.no_grad()
    def check(networks: dict[str, Any]) -> dict[str, float]:
        everything = torch.arange(CHECKED, device=val_dataset.x0.device)
        return {"mse": squared_error(networks["student"], held_out, everything, val_dataset.x0[held_out.index]).item()}

    training = model.settings.training
    training = training.model_copy(update={"steps": settings.steps, "val_every": max(1, settings.steps // 4)})
    before = model.settings.training.steps

    def log(step: int, values: dict[str, float]) -> None:
        on_log(before + step, {f"distillation/{name}": value for name, value in values.items()})

    task = DistillationTask(model, dataset.x0, pairs, seed)
    identity = identity.extended(stage=STUDENT)
    train(task, training, seed, state_dir / STUDENT, log, check, "mse", identity=identity)
