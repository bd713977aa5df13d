"""Condition of a generator: features of x0, and a class or numeric label."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lddm.nn.blocks import ImagePyramid, log2_ratio, max_log2_ratio
from lddm.nn.embedder import Embedder
from lddm.task import Task

WAVES = 4  # sine-cosine pairs in the embedding of a number


def is_known(label: Tensor) -> Tensor:
    """Mask of known labels: bool (B,). Unknown is -1 for classes (int64) and NaN for numbers (float)."""
    return ~torch.isnan(label) if label.is_floating_point() else label >= 0


def unknown_like(label: Tensor) -> float:
    """Value of an unknown label, for the dtype of `label`."""
    return math.nan if label.is_floating_point() else -1


class ClassEmbedding(nn.Embedding):
    """One vector per class; the last row is the embedding of the unknown class."""

    def forward(self, label: Tensor, mask: Tensor | None = None) -> Tensor:
        """label int64 (B,), -1 unknown, and mask bool (B,), False = drop -> (B, dim)."""
        unknown = self.num_embeddings - 1
        index = torch.where(label < 0, unknown, label)
        if mask is not None:
            index = torch.where(mask, index, unknown)
        return super().forward(index)


class NumberEmbedding(nn.Module):
    """Embedding of a number: Fourier features through a two-layer MLP; a learned vector if it is unknown.

    Fourier features as for timesteps (Vaswani et al. 2017), with wavelengths of 4, 2, 4/3 and 1 times the range: the effect
    of a target on motion is assumed to be smooth.

    Args:
        target_range: lowest and highest value in training; values beyond are extrapolated and not validated.
        dim: size of the vector.
    """

    span: Tensor  # float (2,)

    def __init__(self, target_range: Sequence[float], dim: int):
        super().__init__()
        self.register_buffer("span", torch.tensor([float(value) for value in target_range]))
        self.layers = nn.Sequential(nn.Linear(1 + 2 * WAVES, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.unknown = nn.Parameter(torch.randn(dim))  # initialised like nn.Embedding

    def forward(self, label: Tensor, mask: Tensor | None = None) -> Tensor:
        """label float (B,), NaN unknown, and mask bool (B,), False = drop -> (B, dim)."""
        known = is_known(label) if mask is None else is_known(label) & mask
        place = (torch.nan_to_num(label).to(self.span) - self.span[0]) / (self.span[1] - self.span[0])
        place = 2 * place - 1  # rescaled to [-1, 1]
        waves = torch.arange(1, WAVES + 1, device=label.device) * (math.pi / 4) * place[:, None]
        vector = self.layers(torch.cat([place[:, None], waves.sin(), waves.cos()], dim=1))
        return torch.where(known[:, None], vector, self.unknown)


@dataclass(frozen=True)
class LabelSpec:
    """Type of the labels of a generator: classes, numbers, or none.

    Attributes:
        classes: number of classes; labels are 0..classes-1, and -1 is unknown. 0 = labels are not classes.
        target_range: lowest and highest value of a numeric label; None = labels are not numbers.
    """

    classes: int = 0
    target_range: tuple[float, float] | None = None

    @classmethod
    def of_meta(cls, meta: Mapping[str, Any]) -> LabelSpec:
        """Build from the metadata of a frame store."""
        return cls(len(meta["classes"]), Task.of_meta(meta).target_range)

    @classmethod
    def of_dict(cls, about: Mapping[str, Any]) -> LabelSpec:
        """Inverse of `to_dict`; other keys are ignored."""
        span = about.get("target_range")
        return cls(about["classes"], None if span is None else (span[0], span[1]))

    def to_dict(self) -> dict[str, Any]:
        """JSON form; without the range if there is none."""
        return {"classes": self.classes} | (
            {} if self.target_range is None else {"target_range": list(self.target_range)}
        )

    def embedding(self, dim: int) -> nn.Module | None:
        """Build an untrained label embedding, (B,) -> (B, dim); None without labels."""
        if self.target_range is not None:
            return NumberEmbedding(self.target_range, dim)
        return ClassEmbedding(self.classes + 1, dim) if self.classes else None


NO_LABELS = LabelSpec()


class ImageCondition(nn.Module):
    """Encodes x0 and label as features aligned with x0 and one vector; both can be dropped for guidance.

    x0 is downsampled by two: motion depends on anatomy rather than on fine speckle, and the first level of a pyramid costs
    more than all others together.

    Args:
        size: height and width S of x0; even.
        grid: height and width of the aligned features: S / 2 divided by a power of two. None = the smallest integer grid of
            at least 4 x 4, for networks that use only the vector.
        width: channels of the first level; the features have min(2**levels, 4) * width.
        dim: size of the vector.
        labels: type of the labels; `NO_LABELS` = not used.
    """

    def __init__(
        self,
        size: int,
        grid: int | None,
        width: int,
        dim: int,
        labels: LabelSpec,
    ):
        super().__init__()
        half = size // 2
        levels = max_log2_ratio(half) if grid is None else log2_ratio(half, grid, "half of size")
        self.pyramid = ImagePyramid(half, width, levels)
        self.channels = self.pyramid.channels[-1]
        self.pooled = nn.Linear(self.channels, dim)
        self.null_image_embedding = nn.Parameter(torch.zeros(self.channels))
        self.label = labels.embedding(dim)

    def forward(
        self, x0: Tensor, label: Tensor, image_mask: Tensor | None = None, label_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Encode the conditions of a batch.

        Args:
            x0: float (B, 1, S, S) in [-1, 1].
            label: int64 (B,), -1 = unknown; or float (B,), NaN = unknown.
            image_mask, label_mask: bool (B,), False drops the condition; None keeps all.

        Returns:
            Features (B, C, grid, grid) and a vector (B, dim).
        """
        features = self.pyramid(F.avg_pool2d(x0, 2))[-1]
        if image_mask is not None:
            features = torch.where(image_mask[:, None, None, None], features, self.null_image_embedding[:, None, None])
        vector = self.pooled(features.mean(dim=(2, 3)))
        return features, vector if self.label is None else vector + self.label(label, label_mask)


class EmbeddedCondition(nn.Module):
    """As `ImageCondition`, from a frozen embedding of x0 and without grid features, for generators of vector latents.

    Args:
        embedder: x0 -> (B, embedder.dim); frozen after its training.
        dim, labels: as in `ImageCondition`.
    """

    def __init__(self, embedder: Embedder, dim: int, labels: LabelSpec):
        super().__init__()
        self.embedder = embedder
        self.norm = nn.LayerNorm(embedder.dim, elementwise_affine=False)  # the scale of embeddings is arbitrary
        self.pooled = nn.Linear(embedder.dim, dim)
        self.null_image_embedding = nn.Parameter(torch.zeros(embedder.dim))
        self.label = labels.embedding(dim)

    def forward(
        self, x0: Tensor, label: Tensor, image_mask: Tensor | None = None, label_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `ImageCondition.forward`, with features (B, 0, 1, 1)."""
        with torch.no_grad():
            embedding = self.norm(self.embedder(x0))
        if image_mask is not None:
            embedding = torch.where(image_mask[:, None], embedding, self.null_image_embedding)
        vector = self.pooled(embedding)
        return x0.new_zeros(len(x0), 0, 1, 1), vector if self.label is None else vector + self.label(label, label_mask)


Condition = ImageCondition | EmbeddedCondition


def vector_condition(
    embedder: Embedder | None,
    size: int,
    width: int,
    dim: int,
    labels: LabelSpec,
) -> Condition:
    """Build the condition of a vector generator: `EmbeddedCondition` with an embedder, `ImageCondition` without."""
    if embedder is not None:
        return EmbeddedCondition(embedder, dim, labels)
    return ImageCondition(size, None, width, dim, labels)
