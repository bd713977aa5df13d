"""The condition of a generator: features of x0 and its class label."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lddm.nn.blocks import ImagePyramid, log2_ratio, max_log2_ratio


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
        vector = self.pooled(features.mean(dim=(2, 3)))
        if self.label is not None:
            unknown = self.label.num_embeddings - 1
            index = torch.where(label < 0, unknown, label)
            if label_mask is not None:
                index = torch.where(label_mask, index, unknown)
            vector = vector + self.label(index)
        return features, vector
