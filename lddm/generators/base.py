"""What the generators share: how they animate a still, and how generators of the latent z sample it."""

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
    """Animates stills. Subclasses set `name`."""

    name: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in cls.__dict__:
            cls.kind = f"generator:{cls.name}"

    def video(self, x0: Tensor, label: Tensor, rng: Rng, options: SamplingOptions, decode: Decode) -> Tensor:
        """Frames 1..T for each x0.

        Args:
            x0: float (B, 1, S, S) in [-1, 1].
            label: classes int64 (B,), -1 unknown; or numbers float (B,), NaN unknown.
            rng: a generator per video, or one for the whole batch.
            options: how to sample; each generator uses those that apply to it.
            decode: stage 1, (x0, z) -> frames.

        Returns:
            float (B, 1, T, S, S) in [-1, 1].
        """
        raise NotImplementedError


class LatentGenerator(Generator):
    """A trained p(z | x0, label); subclasses add the network, `draw` and `name`.

    Args:
        settings: the generator's own section.
        spec: structure of z.
        size: height and width S of x0.
        labels: what a label is.
    """

    settings_type: ClassVar[type[Section]]

    def __init__(self, settings: Any, spec: LatentSpec, size: int, labels: LabelSpec):
        super().__init__()
        self.settings, self.spec, self.size, self.labels = settings, spec, size, labels
        self.transform = LatentTransform(spec)

    def new_embedder(self) -> Embedder | None:
        """An untrained embedder of x0 as the settings ask for; None where the generator learns features of x0 itself."""
        embedder = getattr(self.settings, "image_embedder", None)
        return build_embedder(embedder.kind, self.size, embedder.dim) if embedder else None

    def prepare(self, x0: Tensor, z: Tensor, label: Tensor) -> None:
        """Hook: receive the first batch before training. No-op by default."""

    def trained(self) -> nn.Module:
        """The network that the training loop updates, averages and keeps in its state; the whole generator by default."""
        return self

    def draw(self, x0: Tensor, label: Tensor, rng: Rng, options: SamplingOptions) -> Tensor:
        """z for each x0 as the network has it: float (B, D), in physical units; arguments as in `video`."""
        raise NotImplementedError

    @torch.no_grad()
    def sample(self, x0: Tensor, label: Tensor, rng: Rng, options: SamplingOptions) -> Tensor:
        """Draw z for each x0, with fields that do not fold; as `draw`."""
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
