"""Comparison of variants of the denoiser: loss weighting, condition dropout, prediction type, length of training.

    python -m benchmarks.denoiser_variants results/phantom --only "default,flow matching"

Each variant is trained on the latents of fold 0 of a finished run, without a student and from an empty state folder, so that
no variant can resume another. Reports for samples of UniPC (10 steps, no guidance):

- the variance of the largest principal axis of each component of the motion maps, in pixels, over that of the latents, on
  training and validation stills;
- the difference of their means along the largest axis of the first component ("push"), in standard deviations of the latents;
- for videos of validation stills: domain Fréchet distance (mean of four draws), strain correlation and strain error.

Writes study/denoiser_variants/<variant>.json (once each) and study/denoiser_variants.md. 5 to 15 minutes per variant on a CPU.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from scipy.stats import kurtosis
from torch import Tensor

from benchmarks.generator_fold import DRAWS, Fold, animate, scores
from lddm.autoencoder.model import Autoencoder
from lddm.data.ranges import to_float
from lddm.files import read_json, write_json
from lddm.generators.diffusion.model import LatentDiffusion
from lddm.generators.diffusion.train import DiffusionTrainer
from lddm.generators.sampling import SamplingOptions
from lddm.latent.dataset import LatentDataset, LatentSet
from lddm.settings import build

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "min-SNR weights": {"min_snr_gamma": 5.0},
    "4800 steps": {"training": {"steps": 4800}},
    "x0 dropped in 0.3, label in 0.3 of examples": {"image_dropout": 0.3, "label_dropout": 0.3},
    "epsilon prediction": {"prediction_type": "epsilon"},
    "flow matching": {"prediction_type": "flow_prediction"},
}
OPTIONS = SamplingOptions("unipc", 10)
STILLS = 1632  # approximate number of samples per part


class Moments:
    """Compares samples with latents along the principal axes of the motion maps of training latents, in pixels."""

    def __init__(self, latents: LatentSet):
        self.spec, self.transform = latents.spec, latents.transform
        maps = self._motion(_draw(latents.mean[latents.train], latents.std[latents.train]))
        self.mean = maps.mean(dim=0)
        centred = (maps - self.mean).double().transpose(0, 1)  # (2K, n, h w)
        # the largest axis: (2K, h w)
        self.axes = torch.linalg.eigh(centred.transpose(1, 2) @ centred)[1][:, :, -1].float()

    def compare(
        self, model: LatentDiffusion, dataset: LatentDataset, options: SamplingOptions, seed: int
    ) -> dict[str, Any]:
        """Variance ratios and differences of means (in standard deviations) per axis, for samples of these stills."""
        rng = torch.Generator().manual_seed(seed)
        passes = max(1, round(STILLS / len(dataset)))
        index = torch.cat([torch.randperm(len(dataset), generator=rng) for _ in range(passes)])
        drawn = [model.draw(dataset.x0[part], dataset.label[part], rng, options) for part in index.split(128)]
        made = self._project(torch.cat(drawn))
        real = self._project(_draw(dataset.mean, dataset.std))
        return {
            "variance": (made.var(dim=0) / real.var(dim=0)).tolist(),
            "mean": ((made.mean(dim=0) - real.mean(dim=0)) / real.std(dim=0)).tolist(),
            "kurtosis": [kurtosis(values, axis=0).tolist() for values in (made.numpy(), real.numpy())],
        }

    def _project(self, z: Tensor) -> Tensor:
        return torch.einsum("nck,ck->nc", self._motion(z) - self.mean, self.axes)

    def _motion(self, z: Tensor) -> Tensor:
        """Displacement fields in pixels, z (n, D) -> (n, 2K, h w), signed so that the larger mean of a field is positive."""
        return self.spec.split(z)[0][:, : 2 * self.spec.motion_rank].flatten(2)


def _draw(mean: Tensor, std: Tensor) -> Tensor:
    return mean + std * torch.randn(mean.shape, generator=torch.Generator().manual_seed(7))


@torch.no_grad()
def measure(fold: Fold, model: LatentDiffusion, latents: LatentSet, decoder: Autoencoder) -> dict[str, Any]:
    """Compute all measures of one trained variant."""
    row: dict[str, Any] = {}
    for part, train in (("train", True), ("val", False)):
        dataset = LatentDataset(latents, fold.store, train, torch.device("cpu"))
        row[part] = Moments(latents).compare(model, dataset, OPTIONS, 11)
    table, real = fold.clips("val")
    label = torch.tensor(table["label"].to_numpy(), dtype=torch.int64)
    x0, rng = real[:, 0].copy(), torch.Generator().manual_seed(5)
    still = to_float(torch.from_numpy(x0))[:, None]
    videos = [animate(decoder, x0, lambda i: model.sample(still[i], label[i], rng, OPTIONS)) for _ in range(DRAWS)]
    scored = scores(fold, real, videos, table)
    return row | {key: value for key, value in scored.items() if np.isscalar(value)}


def main(
    results: Annotated[Path, typer.Argument(help="results/<experiment> of a finished run")],
    only: Annotated[str, typer.Option(help="comma-separated variants; empty = all")] = "",
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Train and measure each variant, then write the table."""
    torch.set_num_threads(1)
    fold = Fold.open(results, build.load({}))
    latents = LatentSet.load(results / "fold-0/latents.safetensors")
    decoder = Autoencoder.load(results / "fold-0/autoencoder/model.safetensors")
    folder = results / "study/denoiser_variants"
    wanted = [name.strip() for name in only.split(",") if name.strip()] or list(VARIANTS)
    for name in wanted:
        out = folder / f"{name.replace(' ', '_')}_{seed}.json"
        if out.is_file():
            continue
        section = {"distillation": None} | VARIANTS[name]
        settings = build.load({"diffusion": section, "synthesis": {"sampler": "unipc"}}).diffusion
        with tempfile.TemporaryDirectory() as scratch:
            weights = Path(scratch) / "model.safetensors"
            losses: list[float] = []
            state, log = Path(scratch) / "state", partial(_keep_loss, losses)
            DiffusionTrainer.fit(settings, latents, fold.store, seed, state, weights, log)
            model = LatentDiffusion.load(weights)
        row = {"variant": name, "seed": seed, "val_loss": min(losses)}
        write_json(out, row | measure(fold, model, latents, decoder))
    print(table([read_json(path) for path in sorted(folder.glob("*.json"))], results / "study/denoiser_variants.md"))


def _keep_loss(losses: list[float], _: int, values: dict[str, float]) -> None:
    losses.extend(value for key, value in values.items() if key == "val/loss")


def table(rows: list[dict[str, Any]], out: Path) -> str:
    """Format the rows as a Markdown table and write it to `out`."""
    lines = [
        "| variant | seed | variance of the largest axis, training stills | validation stills | push, training (sd)"
        " | validation | Fréchet video | strain correlation | strain error |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratios = [", ".join(f"{value:.2f}" for value in row[part]["variance"]) for part in ("train", "val")]
        pushes = [f"{row[part]['mean'][0]:+.2f}" for part in ("train", "val")]
        numbers = [f"{row[key]:.3f}" for key in ("frechet_video", "strain_correlation", "strain_error")]
        lines.append("| " + " | ".join([row["variant"], str(row["seed"]), *ratios, *pushes, *numbers]) + " |")
    out.write_text("\n".join(lines) + "\n")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
