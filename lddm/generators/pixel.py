"""Pixel-space video diffusion: the baseline without a latent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from lddm.data.frames import FrameStore
from lddm.data.ranges import to_float
from lddm.generators.base import Decode, Generator
from lddm.generators.diffusion.process import add_noise, denoise, loss_weights, make_scheduler
from lddm.generators.sampling import Rng, SamplingOptions, normal
from lddm.generators.trainer import PACKAGES
from lddm.latent.dataset import LatentSet
from lddm.nn.condition import ClassEmbedding, LabelSpec
from lddm.settings.models import PixelSettings
from lddm.training.device import DeviceFrames, pinned, to_device
from lddm.training.identity import Identity, clips_content
from lddm.training.loop import train
from lddm.training.parallel import pick_device
from lddm.training.schedule import step_indices
from lddm.training.state import remove_state
from lddm.training.validation import spread_clips
from lddm.training.weights import read_settings

LABEL = 64  # size of the label embedding


class PixelDiffusion(Generator):
    """p(frames | x0, label) by diffusion of the frame differences to x0; x0 is concatenated as a second channel.

    Args:
        settings: section `pixel` of the settings.
        size: height and width S of a frame; a multiple of 8.
        frames: T.
        labels: type of the labels.
    """

    name = "pixel"
    scale: Tensor  # ()

    def __init__(
        self,
        settings: PixelSettings,
        size: int,
        frames: int,
        labels: LabelSpec,
    ):
        super().__init__()
        self.settings, self.size, self.frames, self.labels = settings, size, frames, labels
        from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel  # local import: it takes seconds

        width = settings.width
        plain, crossed = "DownBlock3D", "CrossAttnDownBlock3D"  # attention at the coarse levels only
        self.network = UNet3DConditionModel(
            sample_size=size,
            in_channels=2,
            out_channels=1,
            down_block_types=(plain, plain, crossed, crossed),
            up_block_types=tuple(name.replace("Down", "Up") for name in (crossed, crossed, plain, plain)),
            block_out_channels=(width, 2 * width, 4 * width, 4 * width),
            layers_per_block=settings.depth,
            norm_num_groups=8,
            cross_attention_dim=LABEL,
            attention_head_dim=16,
        )
        self.label = labels.embedding(LABEL) or ClassEmbedding(1, LABEL)
        self.register_buffer("scale", torch.ones(()))  # standard deviation of the differences

    def predict(
        self, noisy: Tensor, timestep: Tensor, x0: Tensor, label: Tensor, image_mask: Tensor, label_mask: Tensor
    ) -> Tensor:
        """Noisy differences (B, 1, T, S, S) -> prediction of the same shape. Masks: bool (B,), False drops the condition."""
        embedded = self.label(label, label_mask & self.settings.use_label)
        image = torch.where(image_mask[:, None, None, None], x0, torch.zeros_like(x0))
        seen = torch.cat([noisy, image[:, :, None].expand_as(noisy)], dim=1)  # (B, 2, T, S, S)
        return self.network(seen, timestep, embedded[:, None]).sample

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the part that training uses."""
        self.network.compile(*args, **kwargs)

    @torch.no_grad()
    def video(self, x0: Tensor, label: Tensor, rng: Rng, options: SamplingOptions, decode: Decode) -> Tensor:
        """As `Generator.video`, without stage 1. Sampler "distilled" falls back to "unipc"."""

        def predict(noisy: Tensor, timestep: Tensor, conditioned: bool) -> Tensor:
            keep = torch.full((len(x0),), conditioned, device=x0.device)
            image_mask = keep if options.guidance_target == "image+label" else torch.ones_like(keep)
            return self.predict(noisy, timestep, x0, label, image_mask, keep)

        own = self.settings
        sampler = own.sampler or ("unipc" if options.sampler == "distilled" else options.sampler)  # there is no student
        options = replace(
            options, sampler=sampler, num_inference_steps=own.num_inference_steps or options.num_inference_steps
        )
        noise = normal(rng, (len(x0), 1, self.frames, self.size, self.size)).to(x0)
        moved = denoise(self.settings, options, noise, predict, rng=rng) * self.scale
        return (x0[:, :, None] + moved).clamp(-1, 1)

    def arguments(self) -> dict[str, Any]:
        """As `SavedModule.arguments`."""
        settings = self.settings.model_dump(mode="json")
        return {"settings": settings, "size": self.size, "frames": self.frames} | self.labels.to_dict()

    @classmethod
    def from_arguments(cls, about: Mapping[str, Any], path: str | Path) -> Self:
        """As `SavedModule.from_arguments`."""
        settings = read_settings(PixelSettings, about, path)
        return cls(settings, about["size"], about["frames"], LabelSpec.of_dict(about))


class PixelDataset:
    """Frames of the clips of a latent set: the same examples as the latent generators are trained on."""

    def __init__(self, latents: LatentSet, store: FrameStore, train: bool, device: torch.device):
        where = np.flatnonzero(latents.train.numpy() == train)
        rows = store.clips.set_index("clip_id", drop=False)
        self.clips = rows.loc[[latents.clip[i] for i in where]]
        self.turned = torch.stack([latents.flipped[where], latents.backward[where]]).to(device)  # bool (2, n)
        self.label = latents.label[where].to(device)
        starts = self.clips["first_frame"].to_numpy(dtype=np.int64)
        self.frames = DeviceFrames(store.frames, starts[:, None] + np.arange(store.clip_length + 1), device)
        self.device = device

    def __len__(self) -> int:
        return len(self.clips)

    def read(self, index: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """x0 float (B, 1, S, S), differences to it float (B, 1, T, S, S), label (B,)."""
        return self.upload(self.gather(index))

    def gather(self, index: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Host half of `read`: the indices, and the frames that are not on the device."""
        return pinned(index, self.device), None if self.frames.resident else self.frames.gather(index)

    def upload(self, batch: tuple[Tensor, Tensor | None]) -> tuple[Tensor, Tensor, Tensor]:
        """Device half of `read`."""
        chosen = to_device(batch[0], self.device)
        frames = self.frames.read(chosen) if batch[1] is None else to_device(batch[1], self.device)
        flipped, backward = self.turned[:, chosen][..., None, None, None]  # (B, 1, 1, 1) each
        video = to_float(torch.where(backward, frames.flip(1), frames))  # (B, T + 1, S, S)
        video = torch.where(flipped, video.flip(-1), video)[:, None]
        return video[:, :, 0], video[:, :, 1:] - video[:, :, :1], self.label[chosen]


class PixelTask:
    """Training task of pixel diffusion; implements `lddm.training.step.Task`."""

    def __init__(self, model: PixelDiffusion, dataset: PixelDataset, seed: int):
        self.model, self.dataset, self.seed = model, dataset, seed
        self.networks: dict[str, Any] = {"pixel": model}
        self.scheduler = make_scheduler(model.settings, "ddim")

    def batch(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """See `PixelDataset.read`."""
        return self.upload(self.host_batch(number))

    @property
    def reads_ahead(self) -> bool:
        """Whether `lddm.training.feed.feed` prefetches batches."""
        return self.dataset.device.type == "cuda" and not self.dataset.frames.resident

    def host_batch(self, number: int) -> tuple[Tensor, Tensor | None]:
        """First half of `batch`, run in a loader thread."""
        size = self.model.settings.training.batch_size
        return self.dataset.gather(step_indices(len(self.dataset), size, self.seed, number))

    def upload(self, host_batch: tuple[Tensor, Tensor | None]) -> tuple[Tensor, Tensor, Tensor]:
        """Second half of `batch`, on the device."""
        return self.dataset.upload(host_batch)

    def loss(self, name: str, batch: tuple[Tensor, Tensor, Tensor], step: int, rng: torch.Generator):
        error, weights = _errors(self.model, self.scheduler, batch, rng)
        return (weights * error).mean(), {"mse": error.mean()}


def _errors(model: PixelDiffusion, scheduler, batch: tuple[Tensor, Tensor, Tensor], rng: torch.Generator):
    """Squared error (B,) at random noise levels, and the loss weights (B,)."""
    x0, moved, label = batch
    settings, count = model.settings, len(x0)
    drawn: dict[str, Any] = {"generator": rng, "device": rng.device}
    timestep = torch.randint(settings.num_train_timesteps, (count,), **drawn).to(x0.device)
    noise = torch.randn(moved.shape, **drawn).to(x0)
    image_mask = (torch.rand(count, **drawn) >= settings.image_dropout).to(x0.device)
    label_mask = (torch.rand(count, **drawn) >= settings.label_dropout).to(x0.device)
    noisy, target = add_noise(scheduler, moved / model.scale, noise, timestep)
    prediction = model.predict(noisy, timestep, x0, label, image_mask, label_mask)
    error = (prediction - target).square().mean(dim=(1, 2, 3, 4))
    return error, loss_weights(scheduler, timestep, settings.min_snr_gamma)


def fit_pixel(
    settings: PixelSettings,
    latents: LatentSet,
    store: FrameStore,
    seed: int,
    state_dir: Path,
    out: Path,
    on_log: Callable[[int, dict[str, float]], None],
    keep_state: bool = False,
) -> None:
    """Train on the training clips and write the weights with the lowest loss on the validation clips.

    Args:
        keep_state: as in `LatentTrainer.fit`.
    """
    torch.manual_seed(seed)
    device = pick_device()
    labels = LabelSpec.of_meta(store.meta)
    model = PixelDiffusion(settings, store.size, store.clip_length, labels)
    dataset, val_dataset = (PixelDataset(latents, store, part, device) for part in (True, False))
    some = dataset.read(np.arange(0, len(dataset), max(1, len(dataset) // 64)))[1]
    model.scale.copy_(some.square().mean().sqrt().clamp_min(1e-3))
    task = PixelTask(model.to(device), dataset, seed)
    chosen = spread_clips(val_dataset.clips, 32)

    @torch.no_grad()
    def validate(networks: dict[str, Any]) -> dict[str, float]:
        rng = torch.Generator().manual_seed(seed)
        parts = [
            _errors(
                networks["pixel"], task.scheduler, val_dataset.read(chosen[i : i + settings.training.batch_size]), rng
            )
            for i in range(0, len(chosen), settings.training.batch_size)
        ]
        return {"loss": torch.cat([error * weights for error, weights in parts]).mean().item()}

    data = {"latents": latents, "clips": [clips_content(store, part.clips) for part in (dataset, val_dataset)]}
    identity = Identity.of(settings, seed, data, PACKAGES, generator="pixel")
    train(task, settings.training, seed, state_dir, on_log, validate, keep_best="loss", identity=identity)
    model.save(out, seed=seed, clips=len(dataset))
    if not keep_state:
        remove_state(state_dir)
