"""Comparison of the generators on one fold of a finished experiment: quality, controls, time, memory.

    python -m benchmarks.generators results/phantom --stage1 2 --stage2 5 --workers 2

Trains stage 1 with other seeds and, on each, LDDM and the cINNs with several seeds and the conditional Gaussian. Scores all of
them on the held-out clips of the fold with the domain network of the experiment. Writes study/units/*.json (once each) and
study/generators.md. Takes hours on a CPU for real data, about an hour for the phantom.
"""

from __future__ import annotations

import resource
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
import yaml
from torch import Tensor

from benchmarks.generator_fold import DRAWS, Fold, animate, errors, frechet_halves, other_draws, pixels, rebuild, scores
from benchmarks.generator_pixels import pixel_unit
from benchmarks.generator_readers import task_fidelity, taught_auc
from benchmarks.generator_tables import paired_tests, reconstruction_table, table
from lddm.autoencoder.encode import encode_clips
from lddm.autoencoder.model import Autoencoder
from lddm.autoencoder.train import ClipDataset, train_autoencoder
from lddm.data.ranges import to_float
from lddm.errors import LddmError
from lddm.files import read_json, sha256, write_json
from lddm.generators.motion_transfer import MotionTransfer
from lddm.generators.registry import find_generator
from lddm.generators.sampling import SamplingOptions
from lddm.latent.dataset import LatentSet
from lddm.settings import build
from lddm.training.identity import Identity, code_hash, content_hash
from lddm.training.weights import count_parameters

SECTIONS = ("autoencoder", "diffusion", "cinn", "gaussian", "pixel", "synthesis")
PUBLISHED = {"coupling": "published", "blocks": 20}
MANY_STEPS = "lddm (many steps)"  # the same networks without the student
ONCE = (MANY_STEPS, "cinn (published)", "gaussian")  # first seed of stage 2 only; gaussian is deterministic


def unit(results: Path, raw: dict, stage1: int, stage2: int) -> None:
    """All rows for one seed of stage 1: reconstruction, controls, and `stage2` seeds of each generator."""
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
        train_autoencoder(section, *common, seed, work / "state", weights, lambda *_: None, fold.motion)
        shutil.rmtree(work / "state", ignore_errors=True)
    stage1_s = time.monotonic() - began
    model = Autoencoder.load(weights)
    if not latents_path.is_file():
        encode_clips(weights, *common, latents_path, fold.motion)
    latents = LatentSet.load(latents_path)
    table, real = fold.clips("test")
    x0, label = real[:, 0].copy(), torch.tensor(table["label"].to_numpy(), dtype=torch.int64)
    rows = controls(fold, stage1, model, latents, table, real, x0, label)
    for row in rows:
        row |= {"stage1": stage1, "stage2": 0, "stage1_s": stage1_s, "stage1_parameters": count_parameters(model)}
    for number in range(stage2):
        for name in ("lddm", "cinn", *(ONCE if number == 0 else [])):
            row = trained(fold, name, model, latents, number, work, real, x0, label)
            rows.append(row | {"stage1": stage1, "stage2": number})
            print(f"stage 1 seed {stage1}, {name} {number}: Fréchet video {row['frechet_video']:.3g}", flush=True)
    write_json(out, rows)


def check_study(results: Path, raw: dict) -> None:
    """Check that the stored units of a study have the same settings, data and code.

    Raises:
        LddmError: the study folder holds units with others.
    """
    settings = build.load(raw)
    sections = {name: getattr(settings, name) for name in SECTIONS}
    data = {name: sha256(results / "data/frames" / name) for name in ("frames.npy", "clips.parquet")}
    data["splits.parquet"] = sha256(results / "data/splits.parquet")
    parts = {"settings": content_hash(sections), "seed": content_hash(settings.seed), "data": content_hash(data)}
    identity = Identity(
        parts | {"code": code_hash("autoencoder", "generators", "latent", "motion", "nn", "training", "data")}
    )
    path = results / "study/identity.json"
    if not path.is_file() and not (results / "study/units").is_dir():
        write_json(path, dict(identity.parts))
    differing = identity.differing(read_json(path) if path.is_file() else {})
    if differing:
        raise LddmError(
            f"{results}/study was made with another {', '.join(differing)}", "move it away, then run the same command"
        )


def controls(fold: Fold, stage1: int, model, latents: LatentSet, table, real, x0, label) -> list[dict[str, Any]]:
    """Controls without training: x0 repeated, z = 0, motion transfer, reconstruction, real clips and the upper bound."""
    reader = ClipDataset(fold.store, table, fold.motion, torch.device("cpu"))
    rng = torch.Generator().manual_seed(1)
    bank = MotionTransfer.from_latents(latents)
    draws = {
        "z of zero": lambda index: torch.zeros(len(index), latents.spec.size),
        "motion_transfer": lambda index: bank.sample(None, label[index], rng, None),
        "reconstruction": lambda index: model.encode(*reader.read(index.numpy())[:2]).mean,
    }
    rows = []
    for name, draw in draws.items():
        count = DRAWS if name == "motion_transfer" else 1
        videos = [animate(model, x0, draw) for _ in range(count)]
        rows.append({"generator": name} | scores(fold, real, videos) | pixels(real, videos[0]))
        if name == "reconstruction":
            rows[-1] |= task_fidelity(fold, stage1, real, videos[0])
    still = np.repeat(x0[:, None], real.shape[1], axis=1)
    rows.append({"generator": "static"} | scores(fold, real, [still]) | pixels(real, still))
    again = [other_draws(fold, table, number) for number in range(1, DRAWS + 1)]
    if all(videos is not None for videos in again):
        rows.append({"generator": "the phantom, drawn again"} | scores(fold, real, again) | pixels(real, again[0]))
        rebuilt = [rebuild(model, videos) for videos in again]
        rows.append({"generator": "the same, rebuilt"} | scores(fold, real, rebuilt) | pixels(real, rebuilt[0]))
    rows.append({"generator": "real", "frechet_video": frechet_halves(fold, fold.embed(real), fold.embed(real))})
    return rows


def trained(fold: Fold, name: str, model, latents, number: int, work: Path, real, x0, label) -> dict[str, Any]:
    """Train and score one latent generator."""
    entry = find_generator(name.split()[0])
    settings = getattr(fold.settings, str(entry.section))
    if name == "cinn (published)":
        settings = settings.model_copy(update=PUBLISHED)
    weights = work / f"{'lddm' if name == MANY_STEPS else name}-{number}.safetensors"
    began, logged = time.monotonic(), []
    if not weights.is_file():
        state = work / f"state-{name}-{number}"
        entry.fit(settings, latents, fold.store, number, state, weights, lambda *line: logged.append(line))
        shutil.rmtree(state, ignore_errors=True)
    row: dict[str, Any] = {"generator": name, "train_s": time.monotonic() - began if logged else None}
    generator = entry.model.load(weights)
    synthesis = fold.settings.synthesis
    sampler = "unipc" if name == MANY_STEPS else synthesis.sampler
    options = SamplingOptions(
        sampler, synthesis.num_inference_steps, synthesis.guidance_scale, synthesis.guidance_target
    )
    rng = torch.Generator().manual_seed(number)
    still = to_float(torch.from_numpy(x0))[:, None]

    def draw(index: Tensor, seen: Tensor = still) -> Tensor:
        return generator.sample(seen[index], label[index], rng, options)

    began = time.monotonic()
    videos = [animate(model, x0, draw) for _ in range(DRAWS)]
    row["seconds_a_video"] = (time.monotonic() - began) / (DRAWS * len(x0))
    row |= scores(fold, real, videos) | {"parameters": count_parameters(generator)}
    row["memory_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    if name == "lddm":
        # Warps the same x0, but conditions the generator on the x0 of another patient of the same class.
        other = torch.arange(len(x0))
        for value in label.unique():
            members = torch.nonzero(label == value).flatten()
            other[members] = members.roll(1)
        wrong = animate(model, x0, lambda index: draw(index, still[other]))
        row |= errors(real, wrong, "_wrong_x0")
    if number == 0 or name == "lddm":

        def lesson(stills: np.ndarray, of: Tensor) -> np.ndarray:
            seen, rng = to_float(torch.from_numpy(stills))[:, None], torch.Generator().manual_seed(5)
            return animate(model, stills, lambda i: generator.sample(seen[i], of[i], rng, options))

        row["teaches"] = taught_auc(fold, f"{name}-{number}-{work.name}", lesson)
    return row


def main(
    results: Annotated[Path, typer.Argument(help="results/<experiment> of a finished run")],
    config: Annotated[Path | None, typer.Option(help="config of the run; none = the defaults")] = None,
    stage1: Annotated[int, typer.Option(min=1, help="number of seeds of stage 1")] = 2,
    stage2: Annotated[int, typer.Option(min=1, help="number of seeds of stage 2 per stage 1")] = 5,
    workers: Annotated[int, typer.Option(min=1, help="seeds of stage 1 processed in parallel, one thread each")] = 2,
    pixel_steps: Annotated[int, typer.Option(min=0, help="training steps of pixel-space diffusion; 0 = omit it")] = 40,
    pixel_clips: Annotated[int, typer.Option(min=2, help="clips animated by pixel-space diffusion")] = 32,
) -> None:
    """Train and score all generators and write study/generators.md."""
    raw = yaml.safe_load(config.read_text()) if config else {}
    check_study(results, raw)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for job in [pool.submit(unit, results, raw, seed, stage2) for seed in range(stage1)]:
            job.result()
    if pixel_steps:
        pixel_unit(results, raw, pixel_steps, pixel_clips)
    rows = [row for path in sorted((results / "study/units").glob("*.json")) for row in read_json(path)]
    text = "\n".join((reconstruction_table(rows), table(rows), paired_tests(rows)))
    (results / "study/generators.md").write_text(text)
    print(text)


if __name__ == "__main__":
    typer.run(main)
