"""What the generators share: how they make a video, how trained ones are saved, loaded and fitted to latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from lddm.data.frames import FrameStore
from lddm.nn.condition import SamplingOptions
from lddm.nn.folding import limit_strain
from lddm.nn.latent import LatentSpec
from lddm.nn.noise import Rng
from lddm.nn.whitening import Whitening
from lddm.settings.base import Section
from lddm.training.identity import Identity
from lddm.training.latents import LatentReader, LatentSet
from lddm.training.loop import train
from lddm.training.parallel import pick_device
from lddm.training.schedule import step_indices, step_rng
from lddm.training.state import remove_state
from lddm.training.weights import load_into, load_weights, read_settings, save_weights

STUDENT = "student"  # subfolder of the state of a training that follows that of the generator (distillation)
Decode = Callable[[Tensor, Tensor], Tensor]  # (x0, z) -> frames


class Generator(Protocol):
    """Whatever animates a still."""

    name: ClassVar[str]

    def video(self, x0: Tensor, label: Tensor, rng: Rng, options: SamplingOptions, decode: Decode) -> Tensor:
        """Frames 1..T for each x0.

        Args:
            x0: float (B, 1, S, S) in [-1, 1].
            label: int64 (B,), -1 unknown.
            rng: a generator per video, or one for the whole batch (`lddm.nn.noise`).
            decode: stage 1, (x0, z) -> frames.

        Returns:
            float (B, 1, T, S, S) in [-1, 1].
        """

    def save(self, path: str | Path, **provenance: Any) -> None:
        """Write weights that describe themselves."""


class LatentGenerator(nn.Module):
    """A trained p(z | x0, label); subclasses add the network, `draw`, and `name`.

    Args:
        settings: the generator's own section.
        spec: structure of z.
        size: height and width S of x0.
        classes: number of class labels.
    """

    name: ClassVar[str]
    settings_type: ClassVar[type[Section]]

    def __init__(self, settings: Any, spec: LatentSpec, size: int, classes: int):
        super().__init__()
        self.settings, self.spec, self.size, self.classes = settings, spec, size, classes
        self.whitening = Whitening(spec)

    def prepare(self, x0: Tensor, z: Tensor, label: Tensor) -> None:
        """Hook: receive the first batch before training. No-op by default."""

    def trained(self) -> nn.Module:
        """The network that the training loop updates, averages and keeps in its state; the whole generator by default."""
        return self

    def draw(self, x0: Tensor, label: Tensor, rng: Rng, options: SamplingOptions) -> Tensor:
        """z for each x0 as the network has it: float (B, D), in the units of stage 1; arguments as in `video`."""
        raise NotImplementedError

    @torch.no_grad()
    def sample(self, x0: Tensor, label: Tensor, rng: Rng, options: SamplingOptions) -> Tensor:
        """Draw z for each x0, with fields that do not fold; as `draw`."""
        return limit_strain(self.draw(x0, label, rng, options), self.spec, self.size)

    def video(self, x0: Tensor, label: Tensor, rng: Rng, options: SamplingOptions, decode: Decode) -> Tensor:
        """As `Generator.video`."""
        return decode(x0, self.sample(x0, label, rng, options))

    def save(self, path: str | Path, **provenance: Any) -> None:
        """Write weights that describe themselves."""
        about = {
            "settings": self.settings.model_dump(mode="json"),
            "spec": self.spec.to_dict(),
            "size": self.size,
            "classes": self.classes,
        }
        save_weights(path, self, f"generator:{self.name}", **about, provenance=provenance)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read weights; needs nothing but the file."""
        state, about = load_weights(path, f"generator:{cls.name}")
        settings = read_settings(cls.settings_type, about, path)
        return load_into(cls(settings, LatentSpec(**about["spec"]), about["size"], about["classes"]), state, path)


class LatentTask:
    """A generator of z as the training loop sees it; subclasses add `loss` (see `lddm.training.loop.Task`)."""

    def __init__(self, model: LatentGenerator, reader: LatentReader, seed: int):
        self.settings, self.reader, self.seed = model.settings, reader, seed
        self.players: dict[str, Any] = {model.name: model.trained()}

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """x0, a draw of white z, label."""
        index = step_indices(len(self.reader), self.settings.training.batch_size, self.seed, step)
        return self.reader.read(index, step_rng(self.seed + 1, step))


def fit_generator(
    kind: type[Any],
    task: type[Any],
    validate: Callable[[Any, Any, LatentReader, int], dict[str, float]],
    keep_best: str,
    packages: Sequence[str],
    settings: Any,
    latents: LatentSet,
    store: FrameStore,
    seed: int,
    state_dir: Path,
    out: Path,
    on_log: Callable[[int, dict[str, float]], None],
    finish: Callable[..., None] | None = None,
    keep_state: bool = False,
) -> None:
    """Train a generator on the train latents and write the weights that are best on the val latents.

    Args:
        validate: (network, settings, reader of val latents, seed) -> values, of which the smallest `keep_best` chooses
            the weights.
        packages: packages of lddm whose source code is part of the identity of the training.
        finish: (model, reader, reader of val latents, seed, state_dir, on_log, identity), called with the trained model
            before it is written.
        keep_state: leave the resumable state to the caller, who has yet to write the final output.
    """
    torch.manual_seed(seed)  # initial weights
    np.random.seed(seed)  # (FrEIA draws its permutations from numpy's global state)
    model = kind(settings, latents.spec, store.size, len(store.meta["classes"]))
    model.whitening.load_state_dict(latents.whitening.state_dict())
    device = pick_device()
    reader, val_reader = (LatentReader(latents, store, part, device) for part in (True, False))
    work = task(model.to(device), reader, seed)
    model.prepare(*work.batch(0))

    @torch.no_grad()
    def check(players: dict[str, Any]) -> dict[str, float]:
        return validate(players[kind.name], settings, val_reader, seed)

    data = {"latents": latents, "x0": [reader.x0_hash, val_reader.x0_hash], "meta": store.meta}
    identity = Identity.of(settings, seed, data, packages)
    train(work, settings.training, seed, state_dir, on_log, check, keep_best, identity=identity)
    if finish:
        finish(model, reader, val_reader, seed, state_dir, on_log, identity)
    model.save(out, seed=seed, latents=len(reader))
    if not keep_state:
        remove_state(state_dir, STUDENT)
