"""Conditional invertible network: p(z | x0) by a normalising flow (Dorkenwald et al., CVPR 2021).

Built on FrEIA instead of the released code, which cannot be trained as it is. Each block is ActNorm, a learned soft
permutation and an affine coupling with clamped log-scale (the release leaves it unbounded), and every log-determinant
is counted (the release leaves out the one of its activation).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lddm.data.frames import FrameStore
from lddm.nn.condition import ImageCondition, SamplingOptions
from lddm.nn.latent import LatentSpec
from lddm.nn.whitening import Whitening
from lddm.settings.models import CinnSettings
from lddm.training.latents import LatentReader, LatentSet
from lddm.training.loop import pick_device, step_indices, step_rng, train
from lddm.training.weights import load_into, load_weights, save_weights

logger = logging.getLogger(__name__)

CONDITION = 64  # size of the x0 embedding, as in the BAIR configuration of the release


class ConditionalFlow(nn.Module):
    """p(z | x0, label) by an invertible network; the same interface as `LatentDiffusion`."""

    name = "cinn"

    def __init__(self, settings: CinnSettings, spec: LatentSpec, size: int, classes: int):
        super().__init__()
        self.settings, self.spec, self.size, self.classes = settings, spec, size, classes
        self.condition = ImageCondition(
            size, 4 if size % 4 == 0 else size, 16, CONDITION, classes if settings.use_label else 0
        )
        self.flow = _build_flow(spec.size, settings.blocks, settings.width)
        self.whitening = Whitening(spec)

    def log_prob(self, z: Tensor, x0: Tensor, label: Tensor) -> Tensor:
        """log p(z | x0, label) of standardised z, in nats: (B,)."""
        _, condition = self.condition(x0, label)
        residual, log_det = self.flow(z, c=[condition])
        return -0.5 * (residual.square() + math.log(2 * math.pi)).sum(dim=1) + log_det

    @torch.no_grad()
    def sample(self, x0: Tensor, label: Tensor, rng: torch.Generator, options: SamplingOptions) -> Tensor:
        """Draw z (B, D) for each x0; the options of diffusion do not apply."""
        _, condition = self.condition(x0, label)
        residual = torch.randn((len(x0), self.spec.size), generator=rng).to(x0)
        z, _ = self.flow(residual, c=[condition], rev=True)
        return self.whitening.invert(z)

    def save(self, path: str | Path, **provenance) -> None:
        """Write weights that describe themselves."""
        about = {
            "settings": self.settings.model_dump(mode="json"),
            "spec": self.spec.to_dict(),
            "size": self.size,
            "classes": self.classes,
        }
        save_weights(path, self, "generator:cinn", **about, provenance=provenance)

    @classmethod
    def load(cls, path: str | Path) -> ConditionalFlow:
        """Read weights; needs nothing but the file."""
        state, about = load_weights(path, "generator:cinn")
        settings = CinnSettings.model_validate(about["settings"])
        model = cls(settings, LatentSpec(**about["spec"]), about["size"], about["classes"])
        return load_into(model, state, path)


def _build_flow(dim: int, blocks: int, width: int) -> nn.Module:
    import FrEIA.framework as framework  # here: only the jobs of this baseline pay for the import
    import FrEIA.modules as modules

    def subnet(inputs: int, outputs: int) -> nn.Module:
        net = nn.Sequential(
            nn.Linear(inputs, width), nn.LeakyReLU(), nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, outputs)
        )
        nn.init.zeros_(net[-1].weight)  # begin as a permutation: the flow is then volume-preserving
        nn.init.zeros_(net[-1].bias)
        return net

    flow = framework.SequenceINN(dim)
    for _ in range(blocks):
        flow.append(
            modules.AllInOneBlock,
            cond=0,
            cond_shape=(CONDITION,),
            subnet_constructor=subnet,
            permute_soft=dim <= 512,  # a random rotation; the exact one is too slow to draw for many dimensions
            affine_clamping=1.9,
        )
    return flow


class FlowTask:
    """The flow as the training loop sees it; see `lddm.training.loop.Task`."""

    def __init__(self, model: ConditionalFlow, reader: LatentReader, seed: int):
        self.settings, self.reader, self.seed = model.settings, reader, seed
        self.players: dict[str, nn.Module] = {"cinn": model}

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        index = step_indices(len(self.reader), self.settings.training.batch_size, self.seed, step)
        return self.reader.read(index, step_rng(self.seed + 1, step))

    def loss(self, player: str, batch: tuple[Tensor, Tensor, Tensor], step: int, rng: torch.Generator):
        x0, z, label = batch
        nll = -self.players[player].log_prob(z, x0, label).mean() / z.shape[1]
        return nll, {"nll_per_dim": nll}


def train_cinn(
    settings: CinnSettings,
    latents: LatentSet,
    store: FrameStore,
    seed: int,
    state_dir: Path,
    out: Path,
    on_log: Callable[[int, dict[str, float]], None],
) -> None:
    """Train the flow on the train latents and write the weights that are best on the val latents."""
    device = pick_device()
    torch.manual_seed(seed)
    np.random.seed(seed)  # FrEIA draws its permutations from numpy and scipy
    model = ConditionalFlow(settings, latents.spec, store.size, len(store.meta["classes"]))
    model.whitening.load_state_dict(latents.whitening.state_dict())
    reader, val_reader = (LatentReader(latents, store, part, device) for part in (True, False))

    @torch.no_grad()
    def validate(players: dict[str, nn.Module]) -> dict[str, float]:
        rng = torch.Generator().manual_seed(seed)
        x0, z, label = val_reader.read(np.arange(len(val_reader)), rng)
        return {"nll_per_dim": -players["cinn"].log_prob(z, x0, label).mean().item() / z.shape[1]}

    identity = f"{latents.mean.double().sum().item()!r} {latents.clip[:1]} {len(latents.clip)}"
    task = FlowTask(model, reader, seed)
    train(task, settings.training, seed, state_dir, on_log, validate, keep_best="nll_per_dim", data_identity=identity)
    model.save(out, seed=seed, latents=len(reader))
