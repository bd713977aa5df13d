"""Base classes of the generators: animating a still, and sampling the latent z."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from lddm.generators.sampling import Rng, SamplingOptions
from lddm.latent.spec import LatentSpec
from lddm.latent.strain_limit import limit_strain
from lddm.latent.transform import LatentTransform
from lddm.nn.condition import LabelSpec
from lddm.nn.embedder import Embedder, build_embedder
from lddm.settings.base import Section
from lddm.training.weights import SavedModule, read_settings

Decode = Callable[[Tensor, Tensor], Tensor]  # (x0, z) -> frames


class Generator(SavedModule):
    """Base class of all generators, which animate stills. Subclasses set `name`."""

    name: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in cls.__dict__:
            cls.kind = f"generator:{cls.name}"

    def video(self, x0: Tensor, label: Tensor, rng: Rng, options: SamplingOptions, decode: Decode) -> Tensor:
        """Frames 1..T for each x0.

        Args:
            x0: float (B, 1, S, S) in [-1, 1].
            label: int64 (B,), class indices with -1 = unknown; or float (B,), target values with NaN = unknown.
            rng: one random generator per video, or one for the whole batch.
            options: sampling options; each generator uses those that apply to it.
            decode: decoder of stage 1, (x0, z) -> frames.

        Returns:
            float (B, 1, T, S, S) in [-1, 1].
        """
        raise NotImplementedError


class LatentGenerator(Generator):
    """Base class of the generators that learn p(z | x0, label). Subclasses add the network, `draw` and `name`.

    Args:
        settings: the generator's own section.
        spec: structure of z.
        size: height and width S of x0.
        labels: type of the labels.
    """

    settings_type: ClassVar[type[Section]]

    def __init__(self, settings: Any, spec: LatentSpec, size: int, labels: LabelSpec):
        super().__init__()
        self.settings, self.spec, self.size, self.labels = settings, spec, size, labels
        self.transform = LatentTransform(spec)

    def new_embedder(self) -> Embedder | None:
        """Build the untrained embedder of x0 that the settings name; None if the generator learns its own features of x0."""
        embedder = getattr(self.settings, "image_embedder", None)
        return build_embedder(embedder.kind, self.size, embedder.dim) if embedder else None

    def prepare(self, x0: Tensor, z: Tensor, label: Tensor) -> None:
        """Hook: receive the first batch before training. No-op by default."""

    def trained(self) -> nn.Module:
        """Return the network that the training loop optimises, averages and checkpoints; by default the whole generator."""
        return self

    def draw(self, x0: Tensor, label: Tensor, rng: Rng, options: SamplingOptions) -> Tensor:
        """Sample z from the network, in physical units and without a strain limit: float (B, D). Arguments as in `video`."""
        raise NotImplementedError

    @torch.no_grad()
    def sample(self, x0: Tensor, label: Tensor, rng: Rng, options: SamplingOptions) -> Tensor:
        """Sample z and limit its strain so that no displacement field folds: float (B, D). Arguments as in `video`."""
        return limit_strain(self.draw(x0, label, rng, options), self.spec, self.size)

    def video(self, x0: Tensor, label: Tensor, rng: Rng, options: SamplingOptions, decode: Decode) -> Tensor:
        """As `Generator.video`."""
        return decode(x0, self.sample(x0, label, rng, options))

    def arguments(self) -> dict[str, Any]:
        """As `SavedModule.arguments`."""
        return {
            "settings": self.settings.model_dump(mode="json"),
            "spec": self.spec.to_dict(),
            "size": self.size,
            **self.labels.to_dict(),
        }

    @classmethod
    def from_arguments(cls, about: Mapping[str, Any], path: str | Path) -> Self:
        """As `SavedModule.from_arguments`."""
        settings = read_settings(cls.settings_type, about, path)
        return cls(settings, LatentSpec(**about["spec"]), about["size"], LabelSpec.of_dict(about))
