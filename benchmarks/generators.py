"""The generators side by side on the fold of an experiment that has been run: quality, controls, time, memory.

    python -m benchmarks.generators results/phantom --stage1 2 --stage2 5 --workers 2

Trains stage 1 with other seeds and, on each, LDDM and the cINNs with several seeds; scores all of them on the held-out
clips of the fold with the domain network of the experiment; writes study/units/*.json, of which each is made once, and
study/generators.md. Hours on a CPU for real data, about half an hour for the phantom.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer
import yaml
from torch import Tensor

from benchmarks.generator_tables import paired_tests, reconstruction_table, table
from lddm.autoencoder.encode import encode_clips
from lddm.autoencoder.model import Autoencoder
from lddm.autoencoder.train import ClipReader, train_autoencoder
from lddm.baselines.cinn import ConditionalFlow, train_cinn
from lddm.baselines.motion_transfer import MotionTransfer
from lddm.classification.networks import CLASSIFIERS
from lddm.classification.statistics import area_under_curve
from lddm.classification.train import predict, train_classifier
from lddm.data.flow import strain_maps
from lddm.data.frames import FrameStore, fold_clips, fold_stills
from lddm.data.ranges import to_float, to_uint8
from lddm.diffusion.model import LatentDiffusion
from lddm.diffusion.train import train_diffusion
from lddm.files import read_json, write_json
from lddm.metrics import motion, paired
from lddm.metrics.distances import frechet
from lddm.metrics.domain_network import domain_videos
from lddm.nn.condition import SamplingOptions
from lddm.settings import Settings, build
from lddm.training.latents import LatentSet
from lddm.training.weights import count_parameters

PUBLISHED = {"coupling": "published", "blocks": 20}
READER = {"steps": 300, "batch_size": 16, "learning_rate": 1e-3, "ema_decay": 0.0, "val_every": 50}


@dataclass
class Fold:
    """What all units of a study share."""

    settings: Settings
    store: FrameStore
    splits: pd.DataFrame
    folder: Path
    embed: Callable[[np.ndarray], np.ndarray]

    @classmethod
    def open(cls, results: Path, settings: Settings) -> Fold:
        store = FrameStore.open(results / "data/frames")
        splits = pd.read_parquet(results / "data/splits.parquet")
        network, _ = domain_videos(results / "fold-0/domain_network/model.safetensors")
        return cls(settings, store, splits, results / "study", network.extract)

    def clips(self, part: str) -> tuple[pd.DataFrame, np.ndarray]:
        """Table and frames uint8 (n, T + 1, S, S) of train, val or test."""
        table = fold_clips(self.store, self.splits, 0, part)
        return table, self.store.clip_frames(table)


def scores(fold: Fold, real: np.ndarray, videos: np.ndarray) -> dict[str, Any]:
    """Distances of a set of videos to the real held-out ones, and the strain error of each."""
    row: dict[str, Any] = {"frechet_video": frechet(fold.embed(real), fold.embed(videos))}
    for name, measure in motion.MEASURES.items():
        ours, theirs = measure.of(real), measure.of(videos)
        row[name] = measure.distance(ours, theirs)
        if ours.shape[1] == 1:
            row[f"{name} of real"] = float(theirs.mean() / ours.mean())
    row |= strains(real, videos)
    return row


def strains(real: np.ndarray, videos: np.ndarray, suffix: str = "") -> dict[str, Any]:
    """How well the strain map of each video fits the true one of the same x0: absolute error and correlation."""
    ours, theirs = (strain_maps(v)[:, 0].reshape(len(v), -1) for v in (real, videos))
    error = np.abs(ours - theirs).mean(axis=1)
    fit = [float(np.corrcoef(a, b)[0, 1]) if b.std() > 1e-6 else 0.0 for a, b in zip(ours, theirs, strict=True)]
    means = {f"strain_error{suffix}": float(error.mean()), f"strain_correlation{suffix}": float(np.mean(fit))}
    return means | {f"strain_errors{suffix}": error.tolist(), f"strain_correlations{suffix}": fit}


def animate(model: Autoencoder, x0: np.ndarray, draw: Callable[[Tensor], Tensor], batch: int = 16) -> np.ndarray:
    """Videos uint8 (n, T + 1, S, S) of first frames uint8 (n, S, S); `draw` gives z for the indices of a batch."""
    parts = []
    with torch.no_grad():
        for start in range(0, len(x0), batch):
            index = torch.arange(start, min(start + batch, len(x0)))
            still = to_float(torch.from_numpy(x0[index]))[:, None]
            frames = to_uint8(model.decode(still, draw(index)).frames)[:, 0].numpy()
            parts.append(np.concatenate([x0[index][:, None], frames], axis=1))
    return np.concatenate(parts)


def unit(results: Path, raw: dict, stage1: int, stage2: int) -> None:
    """All that one seed of stage 1 gives: reconstruction, controls, and `stage2` seeds of each generator."""
    torch.set_num_threads(1)
    out = results / f"study/units/{stage1}.json"
    if out.is_file():
        return
    fold = Fold.open(results, build.load(raw))
    work = results / f"study/stage1-{stage1}"
    seed = fold.settings.seed + 100 * stage1
    section = fold.settings.autoencoder
    weights, latents_path = work / "autoencoder.safetensors", work / "latents.safetensors"
    common = (fold.store, fold.splits, 0)
    began = time.monotonic()
    if not weights.is_file():
        train_autoencoder(section, *common, seed, work / "state", weights, lambda *_: None)
    stage1_s = time.monotonic() - began
    model = Autoencoder.load(weights)
    if not latents_path.is_file():
        encode_clips(weights, *common, latents_path)
    latents = LatentSet.load(latents_path)
    table, real = fold.clips("test")
    x0, label = real[:, 0].copy(), torch.tensor(table["label"].to_numpy(), dtype=torch.int64)
    rows = controls(fold, model, latents, table, real, x0, label)
    for row in rows:
        row |= {"stage1": stage1, "stage2": 0, "stage1_s": stage1_s, "stage1_parameters": count_parameters(model)}
    for number in range(stage2):
        for name in ("lddm", "cinn", "cinn (published)") if number == 0 else ("lddm", "cinn"):
            row = trained(fold, name, model, latents, number, work, real, x0, label)
            rows.append(row | {"stage1": stage1, "stage2": number})
            print(f"stage 1 seed {stage1}, {name} {number}: Fréchet video {row['frechet_video']:.3g}", flush=True)
    write_json(out, rows)


def controls(fold: Fold, model, latents: LatentSet, table, real, x0, label) -> list[dict[str, Any]]:
    """What needs no training: repeating x0, z of zero, a Gaussian, motion transfer, reconstruction, real clips."""
    reader = ClipReader(fold.store, table, model, torch.device("cpu"))
    rng = torch.Generator().manual_seed(1)
    bank = MotionTransfer.from_latents(latents)
    white = torch.randn(len(x0), latents.spec.size, generator=rng)
    train_z = latents.whitening(latents.mean[latents.train])
    spread = torch.linalg.cholesky(torch.cov(train_z.T) + 1e-4 * torch.eye(train_z.shape[1]))
    draws = {
        "z of zero": lambda index: torch.zeros(len(index), latents.spec.size),
        "Gaussian z": lambda index: latents.whitening.invert(train_z.mean(dim=0) + white[index] @ spread.T),
        "motion_transfer": lambda index: bank.sample(None, label[index], rng, None),
        "reconstruction": lambda index: model.encode(*reader.read(index.numpy())).mean,
    }
    rows = []
    for name, draw in draws.items():
        videos = animate(model, x0, draw)
        rows.append({"generator": name} | scores(fold, real, videos) | pixels(real, videos))
        if name == "motion_transfer":
            rows[-1]["diversity"] = diversity(videos, animate(model, x0, draw))
        if name == "reconstruction":
            rows[-1] |= task_fidelity(fold, real, videos, label.numpy())
    still = np.repeat(x0[:, None], real.shape[1], axis=1)
    rows.append({"generator": "static"} | scores(fold, real, still) | pixels(real, still))
    train = fold.clips("train")[1]
    chosen = np.random.default_rng(0).permutation(len(train))[: len(real)]
    rows.append({"generator": "real", "frechet_video": frechet(fold.embed(real), fold.embed(train[chosen]))})
    return rows


def pixels(real: np.ndarray, videos: np.ndarray) -> dict[str, float]:
    """Paired measures of the whole set."""
    measures = {"l1": paired.l1, "ssim": paired.ssim, "perceptual": paired.perceptual()}
    return {name: float(measure(real, videos).mean()) for name, measure in measures.items()}


def diversity(first: np.ndarray, second: np.ndarray) -> float:
    """Mean L1 between two samples of each x0, as a share of the grey range."""
    return float(paired.l1(first, second).mean())


def reader_of(fold: Fold, name: str, real, added, val, seed: int = 0):
    """A classifier that reads strain, chosen by validation patients."""
    training = fold.settings.classification.training.model_copy(update=READER)
    state = fold.folder / "readers" / name
    entry = CLASSIFIERS["strain"]
    return train_classifier(entry.build, training, real, added, val, 0.5, seed, state, lambda *_: None, name)


def task_fidelity(fold: Fold, real: np.ndarray, rebuilt: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """AUC of a classifier trained on all real training clips: on real held-out clips and on their reconstructions."""
    prepare = CLASSIFIERS["strain"].prepare
    examples = {part: fold.clips(part) for part in ("train", "val")}
    inputs = {part: (prepare(frames), table["label"].to_numpy()) for part, (table, frames) in examples.items()}
    network = reader_of(fold, "real", inputs["train"], None, inputs["val"])
    on_real, on_rebuilt = (area_under_curve(label, predict(network, prepare(v))) for v in (real, rebuilt))
    return {"auc_real": on_real, "auc_reconstruction": on_rebuilt, "task_fidelity": on_rebuilt / on_real}


def trained(fold: Fold, name: str, model, latents, number: int, work: Path, real, x0, label) -> dict[str, Any]:
    """One trained generator of z."""
    settings = fold.settings.diffusion if name == "lddm" else fold.settings.cinn
    if name == "cinn (published)":
        settings = settings.model_copy(update=PUBLISHED)
    kind, train = (LatentDiffusion, train_diffusion) if name == "lddm" else (ConditionalFlow, train_cinn)
    weights = work / f"{name}-{number}.safetensors"
    began, logged = time.monotonic(), []
    if not weights.is_file():
        state = work / f"state-{name}-{number}"
        train(settings, latents, fold.store, number, state, weights, lambda *line: logged.append(line))
    row: dict[str, Any] = {"generator": name, "train_s": time.monotonic() - began if logged else None}
    generator = kind.load(weights)
    synthesis = fold.settings.synthesis
    options = SamplingOptions(synthesis.sampler, synthesis.steps, synthesis.guidance, synthesis.guide_by)
    rng = torch.Generator().manual_seed(number)
    still = to_float(torch.from_numpy(x0))[:, None]

    def draw(index: Tensor, seen: Tensor = still) -> Tensor:
        return generator.sample(seen[index], label[index], rng, options)

    began = time.monotonic()
    videos = animate(model, x0, draw)
    row["seconds_a_video"] = (time.monotonic() - began) / len(x0)
    row |= scores(fold, real, videos) | {"parameters": count_parameters(generator)}
    row["diversity"] = diversity(videos, animate(model, x0, draw))
    row["memory_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    if name == "lddm":
        # The same x0 is moved, but the generator sees the x0 of another patient of the same class.
        other = torch.arange(len(x0))
        for value in label.unique():
            members = torch.nonzero(label == value).flatten()
            other[members] = members.roll(1)
        wrong = animate(model, x0, lambda index: draw(index, still[other]))
        row |= strains(real, wrong, "_wrong_x0")
    if number == 0:
        row["teaches"] = teaches(fold, f"{name}-{work.name}", model, generator, options)
    return row


def teaches(fold: Fold, name: str, model, generator, options) -> float:
    """AUC on real held-out clips of a classifier trained on animated labelled stills only."""
    stills = fold_stills(fold.store, fold.splits, 0)
    x0, label = fold.store.still_frames(stills), torch.tensor(stills["label"].to_numpy(), dtype=torch.int64)
    seen, rng = to_float(torch.from_numpy(np.array(x0)))[:, None], torch.Generator().manual_seed(5)
    videos = animate(model, np.array(x0), lambda i: generator.sample(seen[i], label[i], rng, options))
    prepare = CLASSIFIERS["strain"].prepare
    table, val = fold.clips("val")
    network = reader_of(fold, name, None, (prepare(videos), label.numpy()), (prepare(val), table["label"].to_numpy()))
    table, test = fold.clips("test")
    return area_under_curve(table["label"].to_numpy(), predict(network, prepare(test)))


def main(
    results: Annotated[Path, typer.Argument(help="results/<experiment> of a run that has ended")],
    config: Annotated[Path | None, typer.Option(help="its config; none = the defaults")] = None,
    stage1: Annotated[int, typer.Option(min=1, help="seeds of stage 1")] = 2,
    stage2: Annotated[int, typer.Option(min=1, help="seeds of stage 2 on each")] = 5,
    workers: Annotated[int, typer.Option(min=1, help="seeds of stage 1 at a time, a thread each")] = 2,
) -> None:
    """Train, score, and write study/generators.md."""
    raw = yaml.safe_load(config.read_text()) if config else {}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for job in [pool.submit(unit, results, raw, seed, stage2) for seed in range(stage1)]:
            job.result()
    rows = [row for path in sorted((results / "study/units").glob("*.json")) for row in read_json(path)]
    text = "\n".join((reconstruction_table(rows), table(rows), paired_tests(rows)))
    (results / "study/generators.md").write_text(text)
    print(text)


if __name__ == "__main__":
    typer.run(main)
