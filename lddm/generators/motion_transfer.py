"""Motion transfer: the z of a random training clip, independent of x0; p(z | label) instead of p(z | x0, label)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lddm.generators.base import Decode, Generator
from lddm.generators.sampling import Rng, SamplingOptions, integers
from lddm.latent.dataset import LatentSet
from lddm.latent.spec import LatentSpec

NEAREST = 8  # training clips with the nearest target values, from which one is drawn


class MotionTransfer(Generator):
    """Bank of training latents; the sampled z does not depend on x0.

    For a known class, z comes from a random training clip of that class; for a known target, from one of the clips with
    the nearest target values.
    """

    name = "motion_transfer"
    bank: Tensor  # float (entries, D)
    bank_label: Tensor  # class indices int64 (entries,), or target values float (entries,)

    def __init__(self, spec: LatentSpec, entries: int, numbers: bool = False):
        super().__init__()
        self.spec, self.numbers = spec, numbers
        self.register_buffer("bank", torch.zeros(entries, spec.size))
        self.register_buffer("bank_label", torch.zeros(entries, dtype=torch.float32 if numbers else torch.int64))

    @torch.no_grad()
    def sample(self, x0: Tensor, label: Tensor, rng: Rng, options: SamplingOptions) -> Tensor:
        """Draw a random entry with the given label, or with any label if it is unknown or absent: float (B, D)."""
        known, allowed = self.bank_label.cpu(), []
        for wanted in label.tolist():
            same = _nearest(known, wanted) if self.numbers else torch.nonzero(known == wanted).flatten()
            allowed.append(same if len(same) else torch.arange(len(self.bank)))
        drawn = integers(rng, [len(entries) for entries in allowed])
        chosen = torch.stack([entries[i] for entries, i in zip(allowed, drawn, strict=True)])
        return self.bank[chosen.to(self.bank.device)]

    def video(self, x0: Tensor, label: Tensor, rng: Rng, options: SamplingOptions, decode: Decode) -> Tensor:
        """As `Generator.video`."""
        return decode(x0, self.sample(x0, label, rng, options))

    @classmethod
    def from_latents(cls, latents: LatentSet) -> MotionTransfer:
        """Build the bank from the posterior means of the training entries."""
        model = cls(latents.spec, int(latents.train.sum()), latents.label.is_floating_point())
        model.bank.copy_(latents.mean[latents.train])
        model.bank_label.copy_(latents.label[latents.train])
        return model

    def arguments(self) -> dict[str, Any]:
        """As `SavedModule.arguments`."""
        about = {"spec": self.spec.to_dict(), "entries": len(self.bank)}
        return about | ({"numbers": True} if self.numbers else {})

    @classmethod
    def from_arguments(cls, about: Mapping[str, Any], path: str | Path) -> MotionTransfer:
        """As `SavedModule.from_arguments`."""
        return cls(LatentSpec(**about["spec"]), about["entries"], about.get("numbers", False))


def _nearest(known: Tensor, wanted: float) -> Tensor:
    """Indices of the entries with the `NEAREST` nearest target values; empty for NaN."""
    numbers = known[torch.isfinite(known)].unique()  # augmented copies of a clip (mirrored, reversed) share one target
    if math.isnan(wanted):
        return torch.zeros(0, dtype=torch.int64)
    nearest = numbers[(numbers - wanted).abs().argsort(stable=True)[:NEAREST]]
    return torch.nonzero(torch.isin(known, nearest)).flatten()


def fit_motion_transfer(
    settings, latents: LatentSet, store, seed, state_dir, out: Path, on_log, keep_state=False
) -> None:
    """Write the bank; there is no training. Arguments as `LatentTrainer.fit`."""
    MotionTransfer.from_latents(latents).save(out)
