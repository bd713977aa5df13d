"""The condition of a generator: features of x0 and its class label."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lddm.nn.blocks import ImagePyramid, log2_ratio, max_log2_ratio
from lddm.nn.embedder import Embedder


class ImageCondition(nn.Module):
    """x0 and label -> features aligned with x0 and one vector; both can be dropped for guidance.

    x0 is read at half its size: motion depends on anatomy, not on the grain of the speckle, and the first level of a
    pyramid costs more than all others together.

    Args:
        size: height and width S of x0; even.
        grid: height and width of the aligned features, S / 2 halved some times; None is the smallest whole grid of at least
            4 x 4, for networks that read the vector only.
        width: channels of the first level; the features have min(2**levels, 4) * width.
        dim: size of the vector.
        classes: labels 0..classes-1; -1 stands for unknown. 0 = the label is not used at all.
    """

    def __init__(self, size: int, grid: int | None, width: int, dim: int, classes: int):
        super().__init__()
        half = size // 2
        levels = max_log2_ratio(half) if grid is None else log2_ratio(half, grid, "half of size")
        self.pyramid = ImagePyramid(half, width, levels)
        self.channels = self.pyramid.channels[-1]
        self.pooled = nn.Linear(self.channels, dim)
        self.null_image_embedding = nn.Parameter(torch.zeros(self.channels))
        self.label = nn.Embedding(classes + 1, dim) if classes else None  # the last row: unknown

    def forward(
        self, x0: Tensor, label: Tensor, image_mask: Tensor | None = None, label_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Condition a batch.

        Args:
            x0: float (B, 1, S, S) in [-1, 1].
            label: int64 (B,), -1 unknown.
            image_mask, label_mask: bool (B,), False drops; None keeps all.

        Returns:
            Features (B, C, grid, grid) and a vector (B, dim).
        """
        features = self.pyramid(F.avg_pool2d(x0, 2))[-1]
        if image_mask is not None:
            features = torch.where(image_mask[:, None, None, None], features, self.null_image_embedding[:, None, None])
        return features, _add_label(self.label, self.pooled(features.mean(dim=(2, 3))), label, label_mask)


class EmbeddedCondition(nn.Module):
    """The same from a frozen embedding of x0, without features on a grid: for generators of a vector.

    Args:
        embedder: x0 -> (B, embedder.dim). It is frozen once it has been trained.
        dim, classes: as in `ImageCondition`.
    """

    def __init__(self, embedder: Embedder, dim: int, classes: int):
        super().__init__()
        self.embedder = embedder
        self.norm = nn.LayerNorm(embedder.dim, elementwise_affine=False)  # embeddings have any scale
        self.pooled = nn.Linear(embedder.dim, dim)
        self.null_image_embedding = nn.Parameter(torch.zeros(embedder.dim))
        self.label = nn.Embedding(classes + 1, dim) if classes else None  # the last row: unknown

    def forward(
        self, x0: Tensor, label: Tensor, image_mask: Tensor | None = None, label_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `ImageCondition.forward`, with features (B, 0, 1, 1)."""
        with torch.no_grad():
            embedding = self.norm(self.embedder(x0))
        if image_mask is not None:
            embedding = torch.where(image_mask[:, None], embedding, self.null_image_embedding)
        return x0.new_zeros(len(x0), 0, 1, 1), _add_label(self.label, self.pooled(embedding), label, label_mask)


Condition = ImageCondition | EmbeddedCondition


def vector_condition(embedder: Embedder | None, size: int, width: int, dim: int, classes: int) -> Condition:
    """The condition of a generator of vectors: a frozen embedding, or features that it learns; see the two classes."""
    if embedder is not None:
        return EmbeddedCondition(embedder, dim, classes)
    return ImageCondition(size, None, width, dim, classes)


def _add_label(table: nn.Embedding | None, vector: Tensor, label: Tensor, mask: Tensor | None) -> Tensor:
    """vector (B, dim), label int64 (B,), -1 unknown, mask bool (B,), False drops -> (B, dim); no table, no label."""
    if table is None:
        return vector
    unknown = table.num_embeddings - 1
    index = torch.where(label < 0, unknown, label)
    if mask is not None:
        index = torch.where(mask, index, unknown)
    return vector + table(index)
