"""Training steps for the benchmarks: ours in each way of running it, and the plain loop of diffusers.

Data are random and networks untrained; shapes are those of the default settings.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DModel
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.made_up import made_up_clips
from lddm.autoencoder.model import Autoencoder, latent_spec
from lddm.generators.diffusion.distillation import DistillationTask, Pairs
from lddm.generators.diffusion.model import LatentDiffusion
from lddm.generators.diffusion.train import DiffusionTrainer
from lddm.latent.dataset import LatentDataset
from lddm.latent.stills import Stills
from lddm.latent.transform import LatentTransform
from lddm.nn.condition import LabelSpec
from lddm.settings.models import AutoencoderSettings, DiffusionSettings, Training
from lddm.training.averages import average_of
from lddm.training.progress import Progress
from lddm.training.recorded import GraphedStep
from lddm.training.step import Step
from lddm.training.update import DeviceUpdate, HostUpdate, optimizer_of

FRAMES = 16
How = Literal["read each step", "read at the log", "graphs"]
LATENTS = 512


class MadeUpLatents(LatentDataset):
    """Data set of random x0 and latents on a device."""

    def __init__(self, spec: Any, size: int, device: torch.device, count: int = LATENTS):
        rng = torch.Generator().manual_seed(0)
        self.mean = torch.randn((count, spec.size), generator=rng).to(device)
        self.std = torch.full_like(self.mean, 0.01)
        frames = torch.randint(256, (count, size, size), generator=rng, dtype=torch.uint8).numpy()
        self.x0 = Stills(frames, np.arange(count), torch.zeros(count, dtype=torch.bool), device)
        self.label = torch.randint(2, (count,), generator=rng).to(device)
        self.transform = LatentTransform.fit(spec, self.mean.cpu(), self.std.cpu()).to(device)


def latent_diffusion(size: int, device: torch.device, settings: DiffusionSettings | None = None) -> LatentDiffusion:
    """Untrained diffusion model for the default latent."""
    torch.manual_seed(0)
    spec = latent_spec(AutoencoderSettings(), FRAMES)
    return LatentDiffusion(settings or DiffusionSettings(), spec, size, LabelSpec(2)).to(device)


def loop_steps(task: Any, training: Training, device: torch.device, how: How) -> Callable[[], None]:
    """Function that runs the next training step of a task, as in `lddm.training.loop`."""
    networks = task.networks
    for network in networks.values():
        network.requires_grad_(True).to(device).train()
    optimizers = {name: optimizer_of(network, training) for name, network in networks.items()}
    averages = {name: average_of(network, training.ema_decay) for name, network in networks.items()}
    peaks = {name: training.learning_rate for name in networks}
    update: HostUpdate = (HostUpdate if how == "read each step" else DeviceUpdate)(
        networks, optimizers, averages, training, Progress(), peaks
    )
    step = (GraphedStep if how == "graphs" else Step)(task, training, 0, device, update, task.batch)
    numbers = itertools.count()

    def run() -> None:
        number = next(numbers)
        step(number)
        if number % training.log_every == training.log_every - 1:
            update.read()
            update.flush()

    return run


def stage2_task(size: int, batch: int, device: torch.device, student: bool = False) -> tuple[Any, Training]:
    """Training task of the denoiser or of its student."""
    training = DiffusionSettings().training.model_copy(update={"batch_size": batch})
    model = latent_diffusion(size, device, DiffusionSettings(training=training))
    dataset = MadeUpLatents(model.spec, size, device)
    if not student:
        return DiffusionTrainer(model, dataset, dataset, 0), training
    numbers = model.spec.normalised_size
    noise = torch.randn(LATENTS, numbers, device=device)
    index = torch.arange(LATENTS, device=device)
    pairs = Pairs(noise, noise * 0.9, index, dataset.label, torch.ones(LATENTS, device=device))
    return DistillationTask(model, dataset.x0, pairs, 0), training


def diffusers_steps(
    network: nn.Module, examples: tuple[Tensor, ...], batch: int, device: torch.device
) -> Callable[[], None]:
    """Training loop of the diffusers example train_unconditional.py, with its scheduler, EMA and learning rate.

    Args:
        network: (noisy, timestep, *further inputs) -> predicted noise.
        examples: data (n, ...), followed by further inputs of the network; on the host, as from a DataLoader.
    """
    network.to(device).train()
    scheduler = DDIMScheduler(beta_schedule="squaredcos_cap_v2", clip_sample=False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    rates = get_cosine_schedule_with_warmup(optimizer, 50, 100_000)
    averages = EMAModel(network.parameters(), decay=0.995, use_ema_warmup=True)
    loader = DataLoader(
        TensorDataset(*(part.cpu() for part in examples)),
        batch,
        shuffle=True,
        drop_last=True,
        pin_memory=device.type == "cuda",
    )
    batches = itertools.chain.from_iterable(itertools.repeat(loader))

    def run() -> None:
        clean, *rest = (part.to(device, non_blocking=True) for part in next(batches))
        noise = torch.randn_like(clean)
        timestep = torch.randint(1000, (len(clean),), device=device).long()
        predicted = network(scheduler.add_noise(clean, noise, timestep), timestep, *rest)
        loss = F.mse_loss(predicted, noise)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        rates.step()
        optimizer.zero_grad()
        averages.step(network.parameters())
        loss.detach().item()  # for the progress bar of that loop

    return run


class UNet(nn.Module):
    """2-D U-Net of diffusers on maps of our size: the standard network for such a latent."""

    def __init__(self, channels: int, size: int, width: int):
        super().__init__()
        self.network = UNet2DModel(
            sample_size=size, in_channels=channels, out_channels=channels, layers_per_block=1, norm_num_groups=8,
            block_out_channels=(width, 2 * width), down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        )  # fmt: skip

    def forward(self, noisy: Tensor, timestep: Tensor) -> Tensor:
        """As `UNet2DModel`, returning the tensor."""
        return self.network(noisy, timestep, return_dict=False)[0]


def stage1_steps(
    decoder: str, size: int, batch: int, width: int, device: torch.device, compiled: bool = False, **more: Any
) -> Callable[[], None]:
    """Training step of stage 1 in bf16: batch with random mirroring and time reversal, L1 and KL, backward pass, AdamW.

    Args:
        more: `channels_last` and `gradient_checkpointing`.
    """
    torch.manual_seed(0)
    latent = {"warp": "low_rank", "spade": "vector"}[decoder]
    settings = AutoencoderSettings(
        decoder=decoder, latent=latent, width=width, gradient_checkpointing=more.get("gradient_checkpointing", False)
    )
    model = Autoencoder(settings, size, FRAMES).to(device).train()
    if more.get("channels_last"):
        # `Module.to` accepts a single memory format for tensors with 4 and 5 dimensions
        for parameter in model.parameters():
            if form := {4: torch.channels_last, 5: torch.channels_last_3d}.get(parameter.dim()):
                parameter.data = parameter.data.contiguous(memory_format=form)
    if compiled:
        model.compile(dynamic=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    data = made_up_clips(settings, size, FRAMES, batch + 16, device)
    rng, chosen = torch.Generator(device), np.random.default_rng(0)

    def run() -> None:
        index = chosen.permutation(len(data))[:batch]
        flipped, backward = chosen.random((2, batch)) < 0.5
        video, code, fov_mask = data.read(index, flipped, backward)
        with torch.autocast(device.type, torch.bfloat16):
            decoded, posterior = model(video, code, rng, fov_mask)
            loss = (decoded.frames - video[:, :, 1:]).abs().mean() + 1e-5 * posterior.kl()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return run


logging.getLogger("diffusers").setLevel(logging.ERROR)
