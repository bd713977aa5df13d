"""Stage 2 of any kind, from latents to a bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lddm.autoencoder.model import Autoencoder
from lddm.baselines.cinn import train_cinn
from lddm.baselines.motion_transfer import MotionTransfer
from lddm.baselines.static import Static
from lddm.data.frames import FrameStore
from lddm.diffusion.pixel import train_pixel
from lddm.diffusion.train import train_diffusion
from lddm.errors import LddmError
from lddm.settings.models import CinnSettings, DiffusionSettings, PixelSettings
from lddm.synthesis.bundle import GENERATORS, write_bundle
from lddm.training.latents import LatentSet
from lddm.training.parallel import is_first, wait
from lddm.training.weights import count_parameters


def train_generator(
    name: str,
    settings: DiffusionSettings | CinnSettings | PixelSettings | None,
    autoencoder: Path,
    latents_path: Path,
    store: FrameStore,
    fold: int,
    seed: int,
    state_dir: Path,
    out_dir: Path,
    on_log: Callable[[int, dict[str, float]], None],
) -> None:
    """Train the generator `name` on a fold's latents and write its bundle to `out_dir`.

    Raises:
        LddmError: unknown generator, or latents that do not fit the autoencoder.
    """
    if name not in GENERATORS:
        raise LddmError(f"unknown generator '{name}'", f"expected one of {', '.join(GENERATORS)}")
    latents = LatentSet.load(latents_path)
    if Autoencoder.load(autoencoder).spec != latents.spec:
        raise LddmError(f"{latents_path} was not made by {autoencoder}", "run the rule encode again")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "generator.safetensors"
        if name == "lddm":
            train_diffusion(settings, latents, store, seed, state_dir, weights, on_log)
        elif name == "cinn":
            train_cinn(settings, latents, store, seed, state_dir, weights, on_log)
        elif name == "pixel":
            train_pixel(settings, latents, store, seed, state_dir, weights, on_log)
        elif name == "motion_transfer":
            MotionTransfer.from_latents(latents).save(weights)
        else:
            Static(store.clip_length).save(weights)
        if is_first():
            about = _about(store, out_dir, fold, seed, latents, settings)
            about["parameters"] = count_parameters(GENERATORS[name].load(weights))
            write_bundle(out_dir, name, weights, autoencoder, about)
        wait()


def _about(store: FrameStore, out_dir: Path, fold: int, seed: int, latents: LatentSet, settings) -> dict[str, Any]:
    """What a bundle says of itself."""
    return {
        "experiment": store.meta.get("experiment", out_dir.resolve().parents[3].name),
        "fold": fold,
        "seed": seed,
        "size": store.size,
        "frames": store.clip_length,
        "fps": store.fps,
        "fit": store.meta.get("fit", "pad"),
        "classes": store.meta["classes"],
        "clips": int(latents.train.sum()) // 2,  # each clip is there as it is and mirrored
        "licences": sorted(store.videos["licence"].dropna().unique().tolist()),
        "settings": {} if settings is None else settings.model_dump(mode="json"),
    }
