"""Video diffusion in pixels: the reference without a latent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from lddm.data.frames import FrameStore
from lddm.data.ranges import to_float
from lddm.diffusion.process import add_noise, denoise, loss_weights, make_scheduler
from lddm.nn.condition import SamplingOptions
from lddm.nn.noise import Rng, normal
from lddm.settings.models import PixelSettings
from lddm.training.generator import Decode
from lddm.training.identity import Identity, clips_content
from lddm.training.latents import LatentSet
from lddm.training.loop import train
from lddm.training.parallel import pick_device
from lddm.training.schedule import step_indices
from lddm.training.state import remove_state
from lddm.training.validation import spread_clips
from lddm.training.weights import load_into, load_weights, read_settings, save_weights

PACKAGES = ("diffusion", "nn", "training", "data")  # whose source code is part of the identity of a training
LABEL = 64  # size of the label's embedding


class PixelDiffusion(nn.Module):
    """p(frames | x0, label) by diffusion of the differences to x0; x0 is a second channel of each frame.

    Args:
        settings: the section `pixel`.
        size: height and width S of a frame; a multiple of 8.
        frames: T.
        classes: number of class labels.
    """

    name = "pixel"
    scale: Tensor  # ()

    def __init__(self, settings: PixelSettings, size: int, frames: int, classes: int):
        super().__init__()
        self.settings, self.size, self.frames, self.classes = settings, size, frames, classes
        from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel  # here: it takes seconds to import

        width = settings.width
        plain, crossed = "DownBlock3D", "CrossAttnDownBlock3D"  # attention only where the grid is small
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
        self.label = nn.Embedding(classes + 1, LABEL)  # the last row: unknown
        self.register_buffer("scale", torch.ones(()))  # standard deviation of the differences

    def predict(
        self, noisy: Tensor, timestep: Tensor, x0: Tensor, label: Tensor, keep_image: Tensor, keep_label: Tensor
    ) -> Tensor:
        """Noisy differences (B, 1, T, S, S) -> prediction of the same shape; keep_*: bool (B,), False drops."""
        unknown = self.label.num_embeddings - 1
        use = keep_label & (label >= 0) & self.settings.use_label
        index = torch.where(use, label, unknown)
        image = torch.where(keep_image[:, None, None, None], x0, torch.zeros_like(x0))
        seen = torch.cat([noisy, image[:, :, None].expand_as(noisy)], dim=1)  # (B, 2, T, S, S)
        return self.network(seen, timestep, self.label(index)[:, None]).sample

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the part that training calls."""
        self.network.compile(*args, **kwargs)

    @torch.no_grad()
    def video(self, x0: Tensor, label: Tensor, rng: Rng, options: SamplingOptions, decode: Decode) -> Tensor:
        """As `lddm.training.generator.Generator.video`; stage 1 is not used. Sampler distilled: unipc."""

        def predict(noisy: Tensor, timestep: Tensor, conditioned: bool) -> Tensor:
            keep = torch.full((len(x0),), conditioned, device=x0.device)
            keep_image = keep if options.guide_by == "image+label" else torch.ones_like(keep)
            return self.predict(noisy, timestep, x0, label, keep_image, keep)

        if options.sampler == "distilled":  # it has no student
            options = replace(options, sampler="unipc")
        noise = normal(rng, (len(x0), 1, self.frames, self.size, self.size)).to(x0)
        moved = denoise(self.settings, options, noise, predict) * self.scale
        return (x0[:, :, None] + moved).clamp(-1, 1)

    def save(self, path: str | Path, **provenance: Any) -> None:
        """Write weights that describe themselves."""
        about = {"settings": self.settings.model_dump(mode="json"), "size": self.size}
        about |= {"frames": self.frames, "classes": self.classes}
        save_weights(path, self, "generator:pixel", **about, provenance=provenance)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read weights; needs nothing but the file."""
        state, about = load_weights(path, "generator:pixel")
        settings = read_settings(PixelSettings, about, path)
        return load_into(cls(settings, about["size"], about["frames"], about["classes"]), state, path)


class PixelReader:
    """Clips of a latent set, read from the store: the same examples that the generators of z see."""

    def __init__(self, latents: LatentSet, store: FrameStore, train: bool, device: torch.device):
        where = np.flatnonzero(latents.train.numpy() == train)
        rows = store.clips.set_index("clip_id", drop=False)
        self.clips = rows.loc[[latents.clip[i] for i in where]]
        self.flipped, self.backward = latents.flipped[where], latents.backward[where].numpy()
        self.label = latents.label[where].to(device)
        self.store, self.device = store, device

    def __len__(self) -> int:
        return len(self.clips)

    def read(self, index: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """x0 float (B, 1, S, S), differences to it float (B, 1, T, S, S), label int64 (B,)."""
        frames = self.store.clip_frames(self.clips.iloc[index])
        frames = np.where(self.backward[index][:, None, None, None], frames[:, ::-1], frames)
        video = to_float(torch.from_numpy(frames).to(self.device))[:, None]  # (B, 1, T + 1, S, S)
        flipped = self.flipped[index].to(self.device)[:, None, None, None, None]
        video = torch.where(flipped, video.flip(-1), video)
        return video[:, :, 0], video[:, :, 1:] - video[:, :, :1], self.label[torch.from_numpy(index).to(self.device)]


class PixelTask:
    """Pixel diffusion as the training loop sees it; see `lddm.training.loop.Task`."""

    def __init__(self, model: PixelDiffusion, reader: PixelReader, seed: int):
        self.model, self.reader, self.seed = model, reader, seed
        self.players: dict[str, Any] = {"pixel": model}
        self.scheduler = make_scheduler(model.settings, "ddim")

    def batch(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """See `PixelReader.read`."""
        return self.reader.read(
            step_indices(len(self.reader), self.model.settings.training.batch_size, self.seed, number)
        )

    def loss(self, player: str, batch: tuple[Tensor, Tensor, Tensor], step: int, rng: torch.Generator):
        error, weights = _errors(self.model, self.scheduler, batch, rng)
        return (weights * error).mean(), {"mse": error.mean()}


def _errors(model: PixelDiffusion, scheduler, batch: tuple[Tensor, Tensor, Tensor], rng: torch.Generator):
    """Squared error (B,) at random noise levels, and the weights of the loss (B,)."""
    x0, moved, label = batch
    settings, count = model.settings, len(x0)
    timestep = torch.randint(settings.noise_steps, (count,), generator=rng).to(x0.device)
    noise = torch.randn(moved.shape, generator=rng).to(x0)
    keep_image = (torch.rand(count, generator=rng) >= settings.image_dropout).to(x0.device)
    keep_label = (torch.rand(count, generator=rng) >= settings.label_dropout).to(x0.device)
    noisy, target = add_noise(scheduler, moved / model.scale, noise, timestep)
    prediction = model.predict(noisy, timestep, x0, label, keep_image, keep_label)
    error = (prediction - target).square().mean(dim=(1, 2, 3, 4))
    return error, loss_weights(scheduler, timestep, settings.min_snr_gamma)


def train_pixel(
    settings: PixelSettings,
    latents: LatentSet,
    store: FrameStore,
    seed: int,
    state_dir: Path,
    out: Path,
    on_log: Callable[[int, dict[str, float]], None],
    keep_state: bool = False,
) -> None:
    """Train on the clips of the train latents and write the weights that are best on the clips of the val latents.

    Args:
        keep_state: leave the resumable state to the caller, who has yet to write the final output.
    """
    torch.manual_seed(seed)
    device = pick_device()
    model = PixelDiffusion(settings, store.size, store.clip_length, len(store.meta["classes"]))
    reader, val_reader = (PixelReader(latents, store, part, device) for part in (True, False))
    some = reader.read(np.arange(0, len(reader), max(1, len(reader) // 64)))[1]
    model.scale.copy_(some.square().mean().sqrt().clamp_min(1e-3))
    task = PixelTask(model.to(device), reader, seed)
    chosen = spread_clips(val_reader.clips, 32)

    @torch.no_grad()
    def validate(players: dict[str, Any]) -> dict[str, float]:
        rng = torch.Generator().manual_seed(seed)
        parts = [
            _errors(
                players["pixel"], task.scheduler, val_reader.read(chosen[i : i + settings.training.batch_size]), rng
            )
            for i in range(0, len(chosen), settings.training.batch_size)
        ]
        return {"loss": torch.cat([error * weights for error, weights in parts]).mean().item()}

    data = {"latents": latents, "clips": [clips_content(store, part.clips) for part in (reader, val_reader)]}
    identity = Identity.of(settings, seed, data, PACKAGES)
    train(task, settings.training, seed, state_dir, on_log, validate, keep_best="loss", identity=identity)
    model.save(out, seed=seed, clips=len(reader))
    if not keep_state:
        remove_state(state_dir)
