"""Pixel-space video diffusion against LDDM at equal training time, on the first held-out clips."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.generator_fold import Fold, animate, pixels, scores
from lddm.autoencoder.model import Autoencoder
from lddm.data.ranges import to_float, to_uint8
from lddm.files import read_json, write_json
from lddm.generators.diffusion.model import LatentDiffusion
from lddm.generators.pixel import PixelDiffusion, fit_pixel
from lddm.generators.sampling import SamplingOptions
from lddm.latent.dataset import LatentSet
from lddm.settings import build
from lddm.training.parallel import pick_device
from lddm.training.weights import count_parameters

BATCH = 4  # clips per batch, limited to a few GiB


def pixel_unit(results: Path, raw: dict, steps: int, clips: int) -> None:
    """Train on all threads and score `clips` videos, and those of LDDM and static on the same first frames.

    Args:
        steps: optimiser steps; one takes as long as a hundred steps of LDDM.
        clips: number of clips; each takes twenty passes of the network.
    """
    out = results / "study/units/pixel.json"
    if out.is_file():
        return
    fold = Fold.open(results, build.load(raw))
    work, stage1 = results / "study/pixel", results / "study/stage1-0"
    latents = LatentSet.load(stage1 / "latents.safetensors")
    training = fold.settings.pixel.training.model_copy(update={"steps": steps, "val_every": max(1, steps // 4)})
    settings = fold.settings.pixel.model_copy(update={"training": training})
    weights, times = work / "pixel.safetensors", work / "training.json"
    if not weights.is_file():
        began = time.monotonic()
        fit_pixel(settings, latents, fold.store, 0, work / "state", weights, lambda *line: print(line, flush=True))
        shutil.rmtree(work / "state", ignore_errors=True)
        write_json(times, {"train_s": time.monotonic() - began})
    table, real = fold.clips("test")
    # spread evenly, to cover all classes
    chosen = np.linspace(0, len(real) - 1, min(clips, len(real))).round().astype(int)
    real, label = real[chosen], torch.tensor(table["label"].to_numpy()[chosen], dtype=torch.int64)
    x0 = real[:, 0].copy()
    synthesis = fold.settings.synthesis
    options = SamplingOptions(
        synthesis.sampler, synthesis.num_inference_steps, synthesis.guidance_scale, synthesis.guidance_target
    )
    device, still = pick_device(), to_float(torch.from_numpy(x0))[:, None]
    model = PixelDiffusion.load(weights).to(device)
    rng = torch.Generator().manual_seed(0)

    def in_pixels(count: int) -> np.ndarray:
        parts = []
        for i in range(0, count, BATCH):
            part = slice(i, min(i + BATCH, count))
            seen = still[part].to(device), label[part].to(device)
            video = model.video(*seen, rng, options, None)  # type: ignore[arg-type]
            parts.append(np.concatenate([x0[part][:, None], to_uint8(video)[:, 0].cpu().numpy()], axis=1))
            print(f"pixel diffusion: {part.stop} of {count} clips", flush=True)
        return np.concatenate(parts)

    began = time.monotonic()
    videos = in_pixels(len(real))
    row = {"generator": "pixel diffusion", "stage1": 0, "stage2": 0, "parameters": count_parameters(model)}
    row |= {"seconds_a_video": (time.monotonic() - began) / len(real)} | read_json(times)
    rows: list[dict[str, Any]] = [row | scores(fold, real, [videos], table.iloc[chosen]) | pixels(real, videos)]
    np.savez_compressed(work / "videos.npz", real=real, pixel=videos)
    autoencoder = Autoencoder.load(stage1 / "autoencoder.safetensors")
    generator = LatentDiffusion.load(stage1 / "lddm-0.safetensors")
    others = {
        "LDDM on these clips": animate(autoencoder, x0, lambda i: generator.sample(still[i], label[i], rng, options)),
        "x0 repeated on these clips": np.repeat(x0[:, None], real.shape[1], axis=1),
    }
    for name, moved in others.items():
        rows.append(
            {"generator": name, "stage1": 0, "stage2": 0}
            | scores(fold, real, [moved], table.iloc[chosen])
            | pixels(real, moved)
        )
    write_json(out, rows)
