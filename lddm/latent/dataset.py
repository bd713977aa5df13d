"""Latent files: the interface between stage 1 and the generators of stage 2."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lddm.data.frames import FrameStore
from lddm.errors import LddmError
from lddm.latent.spec import LatentSpec
from lddm.latent.stills import Stills, frames_hash
from lddm.latent.transform import LatentTransform
from lddm.training.weights import load_into, load_weights, save_weights

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class LatentSet:
    """Latents of the train and val clips of a fold, with augmented copies (mirrored, optionally time-reversed).

    Attributes:
        spec: structure of z.
        mean, std: float32 (n, D), mean and standard deviation of q(z | x) per entry, in physical units.
        clip: clip ids, n strings.
        flipped: bool (n,), mirrored left to right.
        backward: bool (n,), time-reversed.
        label: (n,), class indices int64 with -1 = unknown, or target values float32 with NaN = unknown.
        train: bool (n,), True for train and False for val.
        transform: transform to normalised z, fitted to the train entries.
    """

    spec: LatentSpec
    mean: Tensor
    std: Tensor
    clip: list[str]
    flipped: Tensor
    backward: Tensor
    label: Tensor
    train: Tensor
    transform: LatentTransform

    @classmethod
    def load(cls, path: str | Path) -> LatentSet:
        """Read a file written by `save_latents`.

        Raises:
            LddmError: the file was written by another version.
        """
        tensors, about = load_weights(path, "latents")
        spec = LatentSpec(**about["spec"])
        prefix = "transform."
        if not any(key.startswith(prefix) for key in tensors):
            raise LddmError(
                f"{path} was written by another version of lddm", "run the rules train_autoencoder and encode again"
            )
        transform = LatentTransform(spec)
        load_into(transform, {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}, path)
        rest = {key: value for key, value in tensors.items() if not key.startswith(prefix)}
        return cls(spec=spec, clip=about["clip"], transform=transform, **rest)

    def relabelled(self, labels: pd.Series) -> LatentSet:
        """Return a copy in which the labels of the train entries are replaced.

        Args:
            labels: label by clip id; int with -1 = unknown, or float with NaN = unknown.

        Raises:
            LddmError: a clip has no label.
        """
        missing = {name for name, train in zip(self.clip, self.train.tolist(), strict=True) if train} - set(
            labels.index
        )
        if missing:
            raise LddmError(f"clip {min(missing)} has no row in the table of labels", "run the rule pseudo_label again")
        found = labels.reindex(self.clip)
        if labels.dtype.kind == "f" and self.label.is_floating_point():
            new = torch.tensor(found.to_numpy(dtype=np.float32))
        else:
            new = torch.tensor(found.fillna(-1).to_numpy(dtype=np.int64))
        return dataclasses.replace(self, label=torch.where(self.train, new, self.label))

    def conditioned(self, values: Mapping[str, float]) -> LatentSet:
        """Return a copy in which all labels, train and val, are replaced by a measured attribute.

        ASSUME: mirrored and time-reversed copies share the attribute of their clip. This is exact for strain ratio and area
        change, and approximate for a principal component of learned features or a logit.

        Args:
            values: attribute by clip id.

        Raises:
            LddmError: a clip has no value.
        """
        if missing := set(self.clip) - set(values):
            raise LddmError(f"clip {min(missing)} has no measured attribute", "run the rule measure_attribute again")
        return dataclasses.replace(self, label=torch.tensor([values[name] for name in self.clip], dtype=torch.float32))


def known_labels(labels: pd.Series, known: pd.Series) -> Tensor:
    """Labels (n,) in the form that generators use: int64 or float32, with -1 or NaN where not `known`."""
    if labels.dtype.kind == "f":
        return torch.tensor(labels.where(known).to_numpy(dtype=np.float32))
    return torch.tensor(labels.where(known, -1).to_numpy(), dtype=torch.int64)


def save_latents(
    path: Path,
    spec: LatentSpec,
    clip: list[str],
    mean: Tensor,
    std: Tensor,
    flipped: Tensor,
    backward: Tensor,
    label: Tensor,
    train: Tensor,
) -> None:
    """Fit the transform to the train entries and write a latent file. Arguments as in `LatentSet`."""
    tensors = {"mean": mean, "std": std, "flipped": flipped, "backward": backward, "label": label, "train": train}
    clips = {name for name, chosen in zip(clip, train.tolist(), strict=True) if chosen}  # copies are not independent
    transform = LatentTransform.fit(spec, mean[train], std[train], len(clips))
    tensors |= {f"transform.{key}": value for key, value in transform.state_dict().items()}
    save_weights(path, tensors, "latents", spec=spec.to_dict(), clip=clip)


class LatentDataset:
    """Batches of (x0, normalised z, label) from one part (train or val) of a latent set.

    Attributes:
        x0: x0 of each entry.
        x0_hash: SHA-256 of the stored frames of these x0.
    """

    def __init__(self, latents: LatentSet, store: FrameStore, train: bool, device: torch.device):
        where = torch.nonzero(latents.train == train).flatten()
        if len(where) == 0:
            raise LddmError("the latent file has no entries of this part", "run the rule encode again")
        starts = store.clips.set_index("clip_id")["first_frame"]
        names = [latents.clip[i] for i in where.tolist()]
        missing = [name for name in names if name not in starts.index]
        if missing:
            raise LddmError(f"clip {missing[0]} of the latent file is not in the frames", "run the rule encode again")
        first = starts.loc[names].to_numpy(dtype=np.int64)
        first = first + store.clip_length * latents.backward[where].numpy()
        self.x0 = Stills(store.frames, first, latents.flipped[where], device)
        self.x0_hash = frames_hash(store.frames, first)
        self.mean, self.std = latents.mean[where].to(device), latents.std[where].to(device)
        self.transform = copy.deepcopy(latents.transform).to(device)
        self.label = latents.label[where].to(device)

    def __len__(self) -> int:
        return len(self.x0)

    def read(self, index: np.ndarray | Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """x0 float (B, 1, S, S), a sample of normalised z float (B, N), label (B,); `rng` may be on any device."""
        chosen = torch.as_tensor(index).to(self.mean.device)
        return self.with_latents(self.x0[chosen], chosen, rng)

    def with_latents(self, x0: Tensor, chosen: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """As `read`, for entries int64 (B,) on the device whose x0 have been uploaded."""
        noise = torch.randn((len(chosen), self.mean.shape[1]), generator=rng, device=rng.device).to(self.mean)
        z = self.mean[chosen] + self.std[chosen] * noise
        return x0, self.transform(z), self.label[chosen]
