"""What a generator knows of the still: features of x0 and its class label."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lddm.nn.blocks import ImagePyramid


@dataclass(frozen=True)
class SamplingOptions:
    """How to draw z.

    Attributes:
        sampler: "distilled" (one step, if the model was distilled), "unipc" or "ddim" (diffusion only).
        steps: denoising steps of unipc and ddim (diffusion only).
        guidance: classifier-free guidance scale; 1 = off (diffusion only).
        guide_by: what guidance sharpens: "label" (its unconditioned side still sees the image; nothing for a still whose
            label is unknown) or "image+label".
    """

    sampler: str = "unipc"
    steps: int = 10
    guidance: float = 1.0
    guide_by: str = "label"


class ImageCondition(nn.Module):
    """x0 and label -> features aligned with x0 and one vector; both can be dropped for guidance.

    x0 is read at half its size: what shapes the motion is anatomy, not the grain of the speckle, and the first level of
    a pyramid costs more than all others together.

    Args:
        size: height and width S of x0.
        grid: height and width of the aligned features.
        width: channels of the first level; the features have min(2**levels, 4) * width.
        dim: size of the vector.
        classes: labels 0..classes-1; -1 stands for unknown. 0 = the label is not used at all.
    """

    def __init__(self, size: int, grid: int, width: int, dim: int, classes: int):
        super().__init__()
        self.pyramid = ImagePyramid(size // 2, grid, width)
        self.channels = self.pyramid.channels[-1]
        self.pooled = nn.Linear(self.channels, dim)
        self.no_image = nn.Parameter(torch.zeros(self.channels))
        self.label = nn.Embedding(classes + 1, dim) if classes else None  # the last row: unknown

    def forward(
        self, x0: Tensor, label: Tensor, keep_image: Tensor | None = None, keep_label: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Condition a batch.

        Args:
            x0: float (B, 1, S, S) in [-1, 1].
            label: int64 (B,), -1 unknown.
            keep_image, keep_label: bool (B,), False drops; None keeps all.

        Returns:
            Features (B, C, grid, grid) and a vector (B, dim).
        """
        features = self.pyramid(F.avg_pool2d(x0, 2))[-1]
        if keep_image is not None:
            features = torch.where(keep_image[:, None, None, None], features, self.no_image[:, None, None])
        vector = self.pooled(features.mean(dim=(2, 3)))
        if self.label is not None:
            unknown = self.label.num_embeddings - 1
            index = torch.where(label < 0, unknown, label)
            if keep_label is not None:
                index = torch.where(keep_label, index, unknown)
            vector = vector + self.label(index)
        return features, vector
