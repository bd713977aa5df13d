"""Validation errors of reconstructions, which select the weights of stage 1."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from lddm.autoencoder.clips import ClipDataset
from lddm.autoencoder.model import Autoencoder

SEEN = 4  # frames per clip for the perceptual distance, evenly spread, including the last
CHOICE = "perceptual_motion"  # value that selects the weights in adversarial training


@torch.no_grad()
def validation_error(
    model: Autoencoder,
    dataset: ClipDataset,
    chosen: np.ndarray,
    batch_size: int,
    perceptual: nn.Module | None = None,
) -> dict[str, float]:
    """Errors of reconstructions from the posterior mean, and of repeating x0.

    Args:
        chosen: positions of the clips in the dataset, int64 (n,).
        perceptual: two batches of frames (N, 1, S, S) in [-1, 1] -> mean distance; None = omit the values that need it.

    Returns:
        `l1` and `l1_static` in [0, 1] units. With a perceptual network also:
        `perceptual` and `perceptual_static`; `motion_error`, the mean over clips of |d - d_real| divided by the mean of
        d_real, where d is the mean absolute frame difference of a clip (x0 counts as frame 0; 1 for repeated x0);
        `perceptual_motion`, the sum of perceptual / perceptual_static and motion_error (2 for repeated x0).
    """
    sums: dict[str, list[Tensor]] = {}
    for start in range(0, len(chosen), batch_size):
        video, motion, fov_mask = dataset.read(chosen[start : start + batch_size])
        x0, real = video[:, :, 0], video[:, :, 1:]
        decoded = model.decode(x0, model.encode(video, motion).mean, fov_mask).frames
        still = x0[:, :, None].expand_as(real)
        values = {
            "l1": (decoded - real).abs().mean(dim=(1, 2, 3, 4)) / 2,
            "l1_static": (still - real).abs().mean(dim=(1, 2, 3, 4)) / 2,
        }
        if perceptual is not None:
            values["difference"] = _difference(x0, decoded)
            values["difference_real"] = _difference(x0, real)
            seen = torch.linspace(real.shape[2] - 1, 0, SEEN + 1)[:-1].long().to(real.device)
            for name, frames in (("perceptual", decoded), ("perceptual_static", still)):
                pair = (v[:, :, seen].transpose(1, 2).flatten(0, 1) for v in (real, frames))
                values[name] = perceptual(*pair).reshape(1).expand(len(video))  # (B,), the same mean for each clip
        for name, value in values.items():
            sums.setdefault(name, []).append(value)
    each = {name: torch.cat(value) for name, value in sums.items()}
    found = {name: value.mean().item() for name, value in each.items() if not name.startswith("difference")}
    if perceptual is None:
        return found
    error = (each["difference"] - each["difference_real"]).abs().mean() / each["difference_real"].mean()
    found["motion_error"] = error.item()
    found[CHOICE] = found["perceptual"] / found["perceptual_static"] + found["motion_error"]
    return found


def _difference(x0: Tensor, frames: Tensor) -> Tensor:
    """Mean absolute difference between neighbouring frames of a clip, x0 first: (B,)."""
    return torch.cat([x0[:, :, None], frames], dim=2).diff(dim=2).abs().mean(dim=(1, 2, 3, 4))
