"""Variants of the denoiser side by side: loss weighting, dropout of conditions, prediction type, length of training.

    python -m benchmarks.denoiser_variants results/phantom --only default,no-min-snr

Each variant is trained on the latents of fold 0 of a finished run, without moment matching and without a student, and from an
empty state folder, so that no variant can resume another. Reports, for samples of UniPC (10 steps, no guidance):

- the variance of the largest principal axis of each motion map over that of the latents, on training and validation stills;
- the difference of their means along the largest axis of the first map ("push"), in standard deviations of the latents;
- for videos of validation stills: domain Fréchet distance (mean of four draws), strain correlation and strain error.

Writes study/denoiser_variants/<variant>.json (made once each) and study/denoiser_variants.md. 5 to 15 minutes a variant on a CPU.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
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
    "no min-SNR weights": {"min_snr_gamma": None},
    "4800 steps": {"training": {"steps": 4800}},
    "x0 dropped in 0.3, label in 0.3 of examples": {"image_dropout": 0.3, "label_dropout": 0.3},
    "epsilon prediction": {"prediction_type": "epsilon"},
    "flow matching": {"prediction_type": "flow_prediction"},
}
OPTIONS = SamplingOptions("unipc", 10)


def moments(model: LatentDiffusion, latents: LatentSet, reader: LatentDataset, seed: int) -> dict[str, Any]:
    """Variance ratio of the largest axis of each motion map, and the offset of the first one, of samples for these stills."""
    rng = torch.Generator().manual_seed(seed)
    index = torch.randperm(len(reader), generator=rng).repeat(4)[:1024]
    white = [
        model.sample_ode(
            torch.randn((len(part), latents.spec.size), generator=rng), reader.x0[part], reader.label[part], OPTIONS
        )
        for part in index.split(128)
    ]
    real = reader.read(index.numpy(), rng)[1]
    largest = [
        _largest_axis(model, map_index, torch.cat(white), real) for map_index in range(2 * model.spec.motion_rank)
    ]
    drawn, theirs = largest[0]
    return {
        "variance": [float(a.var() / b.var()) for a, b in largest],
        "push": float((drawn.mean() - theirs.mean()) / theirs.std()),
    }


def _largest_axis(model: LatentDiffusion, number: int, *sets: Tensor) -> list[Tensor]:
    """Coefficients of white z (n, D) along the axis of map `number` that has the largest variance in physical units."""
    axes = torch.linalg.eigh(model.whitening.get_buffer("cov_sqrt_maps")[number].double())[1].float()
    cells = axes.shape[0]
    return [z[:, number * cells : (number + 1) * cells] @ axes[:, -1] for z in sets]


@torch.no_grad()
def measure(fold: Fold, model: LatentDiffusion, latents: LatentSet, decoder: Autoencoder) -> dict[str, Any]:
    """All numbers of one trained variant."""
    row: dict[str, Any] = {}
    for part, train in (("train", True), ("val", False)):
        row[part] = moments(model, latents, LatentDataset(latents, fold.store, train, torch.device("cpu")), 11)
    table, real = fold.clips("val")
    label = torch.tensor(table["label"].to_numpy(), dtype=torch.int64)
    x0, rng = real[:, 0].copy(), torch.Generator().manual_seed(5)
    still = to_float(torch.from_numpy(x0))[:, None]
    videos = [animate(decoder, x0, lambda i: model.sample(still[i], label[i], rng, OPTIONS)) for _ in range(DRAWS)]
    scored = scores(fold, real, videos, table)
    return row | {key: value for key, value in scored.items() if np.isscalar(value)}


def main(
    results: Annotated[Path, typer.Argument(help="results/<experiment> of a finished run")],
    only: Annotated[str, typer.Option(help="variants, separated by commas; empty = all")] = "",
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
        section = {"match_moments": False, "distillation": None} | VARIANTS[name]
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
    """The rows as Markdown, also written to `out`."""
    lines = [
        "| variant | seed | variance of the largest axis, training stills | validation stills | push, training (sd)"
        " | validation | Fréchet video | strain correlation | strain error |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratios = [", ".join(f"{value:.2f}" for value in row[part]["variance"]) for part in ("train", "val")]
        pushes = [f"{row[part]['push']:+.2f}" for part in ("train", "val")]
        numbers = [f"{row[key]:.3f}" for key in ("frechet_video", "strain_correlation", "strain_error")]
        lines.append("| " + " | ".join([row["variant"], str(row["seed"]), *ratios, *pushes, *numbers]) + " |")
    out.write_text("\n".join(lines) + "\n")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
