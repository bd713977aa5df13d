"""Motion transfer: the z of a random training clip, independent of x0; p(z | label) instead of p(z | x0, label)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lddm.generators.base import Decode, Generator
from lddm.generators.sampling import Rng, SamplingOptions, integers
from lddm.latent.dataset import LatentSet
from lddm.latent.spec import LatentSpec


class MotionTransfer(Generator):
    """A bank of training latents; z does not depend on x0.

    A still of a known class gets the z of a training clip of that class.
    """

    name = "motion_transfer"
    bank: Tensor  # float (entries, D)
    bank_label: Tensor  # int64 (entries,)

    def __init__(self, spec: LatentSpec, entries: int):
        super().__init__()
        self.spec = spec
        self.register_buffer("bank", torch.zeros(entries, spec.size))
        self.register_buffer("bank_label", torch.zeros(entries, dtype=torch.int64))

    @torch.no_grad()
    def sample(self, x0: Tensor, label: Tensor, rng: Rng, options: SamplingOptions) -> Tensor:
        """A random bank entry of the label (of any label where it is -1 or the bank has none): float (B, D)."""
        known, allowed = self.bank_label.cpu(), []
        for wanted in label.tolist():
            same = torch.nonzero(known == wanted).flatten()
            allowed.append(same if len(same) else torch.arange(len(self.bank)))
        drawn = integers(rng, [len(entries) for entries in allowed])
        chosen = torch.stack([entries[i] for entries, i in zip(allowed, drawn, strict=True)])
        return self.bank[chosen.to(self.bank.device)]

    def video(self, x0: Tensor, label: Tensor, rng: Rng, options: SamplingOptions, decode: Decode) -> Tensor:
        """As `Generator.video`."""
        return decode(x0, self.sample(x0, label, rng, options))

    @classmethod
    def from_latents(cls, latents: LatentSet) -> MotionTransfer:
        """The bank of the train entries' posterior means."""
        model = cls(latents.spec, int(latents.train.sum()))
        model.bank.copy_(latents.mean[latents.train])
        model.bank_label.copy_(latents.label[latents.train])
        return model

    def arguments(self) -> dict[str, Any]:
        """As `SavedModule.arguments`."""
        return {"spec": self.spec.to_dict(), "entries": len(self.bank)}

    @classmethod
    def from_arguments(cls, about: Mapping[str, Any], path: str | Path) -> MotionTransfer:
        """As `SavedModule.from_arguments`."""
        return cls(LatentSpec(**about["spec"]), about["entries"])


def fit_motion_transfer(
    settings, latents: LatentSet, store, seed, state_dir, out: Path, on_log, keep_state=False
) -> None:
    """Nothing is trained: write the bank (arguments as `LatentTrainer.fit`)."""
    MotionTransfer.from_latents(latents).save(out)
