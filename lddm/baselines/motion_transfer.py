"""Motion transfer: the z of a random training clip, whatever x0 shows; p(z) instead of p(z | x0)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from lddm.nn.condition import SamplingOptions
from lddm.nn.latent import LatentSpec
from lddm.nn.noise import Rng, integers
from lddm.training.generator import Decode
from lddm.training.latents import LatentSet
from lddm.training.weights import load_into, load_weights, save_weights


class MotionTransfer(nn.Module):
    """A bank of training latents; z for every x0, whatever it shows.

    The label is used as the other generators use it: a still of a known class gets the z of a clip of that class.
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

    def save(self, path: str | Path, **provenance) -> None:
        """Write weights that describe themselves."""
        about = {"spec": self.spec.to_dict(), "entries": len(self.bank)}
        save_weights(path, self, "generator:motion_transfer", **about, provenance=provenance)

    @classmethod
    def load(cls, path: str | Path) -> MotionTransfer:
        """Read weights; needs nothing but the file."""
        state, about = load_weights(path, "generator:motion_transfer")
        return load_into(cls(LatentSpec(**about["spec"]), about["entries"]), state, path)


def keep_motion(settings, latents: LatentSet, store, seed, state_dir, out: Path, on_log, keep_state=False) -> None:
    """Nothing is trained: write the bank (arguments as `lddm.synthesis.generators.Entry`)."""
    MotionTransfer.from_latents(latents).save(out)
