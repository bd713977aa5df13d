"""Training of a generator of the latent z, shared by diffusion and the invertible network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from lddm.data.frames import FrameStore
from lddm.generators.base import LatentGenerator
from lddm.generators.embedder import EMBEDDER, fit_embedder
from lddm.latent.dataset import LatentDataset, LatentSet
from lddm.nn.condition import LabelSpec
from lddm.nn.embedder import AutoencoderEmbedder
from lddm.training.device import to_device
from lddm.training.identity import Identity
from lddm.training.loop import train
from lddm.training.parallel import pick_device
from lddm.training.schedule import IndexTable, step_generator
from lddm.training.state import remove_state

STUDENT = "student"  # subfolder of the state of the distillation, which follows the training of the generator
# packages whose code is part of the identity of a training
PACKAGES = ("generators", "latent", "motion", "nn", "training", "data", "task")
Model = TypeVar("Model", bound=LatentGenerator)
OnLog = Callable[[int, dict[str, float]], None]


class LatentTrainer(Generic[Model]):
    """Training task of a latent generator; implements `lddm.training.step.CapturableTask`.

    Subclasses set the class attributes and add `loss` and `validate`, and optionally `post_train`.

    Attributes:
        model_type: class of the generator.
        keep_best: the value returned by `validate` whose minimum chooses the weights.
        dataset, val_dataset: training and validation latents.
    """

    model_type: ClassVar[type[Any]]
    keep_best: ClassVar[str]

    def __init__(self, model: Model, dataset: LatentDataset, val_dataset: LatentDataset, seed: int):
        self.model, self.settings, self.seed = model, model.settings, seed
        self.dataset, self.val_dataset = dataset, val_dataset
        self.networks: dict[str, Any] = {model.name: model.trained()}
        self.device = dataset.x0.device
        self.indices = IndexTable(len(dataset), self.settings.training.batch_size, seed, self.device)
        self.batch_seed = seed + 1

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """x0, a sample of normalised z, and the label."""
        return self.read(self.indices[step], step_generator(self.batch_seed, step, self.device))

    def read(self, index: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """As `lddm.training.step.CapturableTask.read`."""
        return self.dataset.read(index, rng)

    @property
    def reads_ahead(self) -> bool:
        """Whether `lddm.training.feed.feed` prefetches batches: only if x0 do not fit on the device."""
        return not self.dataset.x0.resident

    def host_batch(self, step: int) -> tuple[int, np.ndarray, Any]:
        """First half of `batch`, run in a loader thread."""
        index = self.indices.of_host(step)
        return step, index, self.dataset.x0.gather(index)

    def upload(self, host_batch: tuple[int, np.ndarray, Any]) -> tuple[Tensor, Tensor, Tensor]:
        """Second half of `batch`, on the device."""
        step, index, stills = host_batch
        rng = step_generator(self.batch_seed, step, self.device)
        return self.dataset.with_latents(self.dataset.x0.upload(stills), to_device(index, self.device), rng)

    def loss(
        self, name: str, batch: tuple[Tensor, Tensor, Tensor], step: int, rng: torch.Generator
    ) -> tuple[Tensor | None, dict[str, Any]]:
        """As `lddm.training.step.Task.loss`; independent of `step` and without device-to-host reads (graph capture)."""
        raise NotImplementedError

    def validate(self, networks: dict[str, Any]) -> dict[str, float]:
        """Validation values of the averaged weights on the validation latents."""
        raise NotImplementedError

    def post_train(self, state_dir: Path, on_log: OnLog, identity: Identity) -> None:
        """Hook: runs after training, before the weights are written. No-op by default."""

    @classmethod
    def fit(
        cls,
        settings: Any,
        latents: LatentSet,
        store: FrameStore,
        seed: int,
        state_dir: Path,
        out: Path,
        on_log: OnLog,
        keep_state: bool = False,
    ) -> None:
        """Train on the training latents and write the weights with the best validation value.

        Args:
            settings: the generator's own settings section.
            latents: latents of the train and val clips.
            store: frames of these clips.
            seed: random seed of weights, batches and noise.
            state_dir: folder of the resumable state.
            out: weight file to write.
            on_log: called with (step, values).
            keep_state: keep the resumable state; the caller removes it once the final output is written.
        """
        torch.manual_seed(seed)  # initial weights
        np.random.seed(seed)  # (FrEIA draws its permutations from numpy's global state)
        model = cls.model_type(settings, latents.spec, store.size, LabelSpec.of_meta(store.meta))
        model.transform.load_state_dict(latents.transform.state_dict())
        device = pick_device()
        dataset, val_dataset = (LatentDataset(latents, store, part, device) for part in (True, False))
        trainer = cls(model.to(device), dataset, val_dataset, seed)
        data = {"latents": latents, "x0": [dataset.x0_hash, val_dataset.x0_hash], "meta": store.meta}
        identity = Identity.of(settings, seed, data, PACKAGES, generator=model.name)
        for part in model.modules():
            if isinstance(part, AutoencoderEmbedder):  # first: it is frozen while the rest is trained
                own = settings.image_embedder
                fit_embedder(part, own, settings.training, dataset, val_dataset, seed, state_dir, on_log, identity)
                break  # the student shares the embedder of its teacher
        model.prepare(*trainer.batch(0))
        validate = torch.no_grad()(trainer.validate)
        train(trainer, settings.training, seed, state_dir, on_log, validate, cls.keep_best, identity=identity)
        trainer.post_train(state_dir, on_log, identity)
        model.save(out, seed=seed, latents=len(dataset))
        if not keep_state:
            remove_state(state_dir, STUDENT, EMBEDDER)
