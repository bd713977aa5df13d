"""Shared parts of the generator study: a fold of a finished experiment, and the scores of its videos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lddm.autoencoder.measured import MeasuredMotion
from lddm.autoencoder.model import Autoencoder
from lddm.data.frames import FrameStore, fold_clips
from lddm.data.ranges import to_float, to_uint8
from lddm.data.sources import phantom
from lddm.metrics import motion, paired
from lddm.metrics.distances import frechet
from lddm.metrics.domain_network import domain_videos
from lddm.motion.strain import strain_maps
from lddm.settings import Settings
from lddm.settings.data import PhantomSource
from lddm.statistics.resampling import halves


@dataclass
class Fold:
    """Data and settings shared by all units of a study."""

    settings: Settings
    store: FrameStore
    splits: pd.DataFrame
    motion: MeasuredMotion
    folder: Path
    embed: Callable[[np.ndarray], np.ndarray]

    @classmethod
    def open(cls, results: Path, settings: Settings) -> Fold:
        store = FrameStore.open(results / "data/frames")
        splits = pd.read_parquet(results / "data/splits.parquet")
        network, _ = domain_videos(results / "fold-0/domain_network/model.safetensors")
        motion = MeasuredMotion.load(results / "data/motion.safetensors")
        return cls(settings, store, splits, motion, results / "study", network.extract)

    def clips(self, part: str) -> tuple[pd.DataFrame, np.ndarray]:
        """Table and frames uint8 (n, T + 1, S, S) of train, val or test."""
        table = fold_clips(self.store, self.splits, 0, part)
        return table, self.store.clip_frames(table)


DRAWS = 4  # videos per x0: the Fréchet distance of a single draw of 240 clips varies by half its value


def scores(fold: Fold, real: np.ndarray, draws: list[np.ndarray], table: pd.DataFrame | None = None) -> dict[str, Any]:
    """Distances of sets of videos (one video per x0) to the real held-out videos, and per-video errors of the first set.

    The Fréchet distance is the mean over sets and over halves of the test patients, see `frechet_halves`.

    Args:
        table: clips of `real`; None = all test clips.
    """
    features = fold.embed(real)
    distances = [frechet_halves(fold, features, fold.embed(videos), table) for videos in draws]
    row: dict[str, Any] = {"frechet_video": float(np.mean(distances)), "frechet_draws": distances}
    videos = draws[0]
    if len(draws) > 1:
        row["diversity"] = float(paired.l1(draws[0], draws[1]).mean())
    for name, measure in motion.MEASURES.items():
        ours, theirs = measure.of(real), measure.of(videos)
        row[name] = measure.distance(ours, theirs)
        if ours.shape[1] == 1:
            row[f"{name} of real"] = float(theirs.mean() / ours.mean())
    row |= errors(real, videos)
    return row


def frechet_halves(fold: Fold, real: np.ndarray, made: np.ndarray, table: pd.DataFrame | None = None) -> float:
    """Mean Fréchet distance of videos of half of the test patients to real videos of the other half, as in quality.csv.

    Args:
        real, made: features (n, d) of the real test clips, and of videos with the same first frames. The real clips for both
            give the real-vs-real reference.
        table: table of the clips; None = all test clips.
    """
    table = fold.clips("test")[0] if table is None else table
    sides = halves(table["patient_id"].to_numpy(), table["label"].to_numpy(), fold.settings.seed)
    return float(np.mean([frechet(real[~half], made[half]) for side in sides for half in (side, ~side)]))


def errors(real: np.ndarray, videos: np.ndarray, suffix: str = "") -> dict[str, Any]:
    """Paired measures against the true video of the same x0.

    Absolute error and correlation of the strain map (mean and per clip), and L1 relative to the grey range (per clip).
    """
    ours, theirs = (strain_maps(v)[:, 0].reshape(len(v), -1) for v in (real, videos))
    error = np.abs(ours - theirs).mean(axis=1)
    fit = [float(np.corrcoef(a, b)[0, 1]) if b.std() > 1e-6 else 0.0 for a, b in zip(ours, theirs, strict=True)]
    return {
        f"strain_error{suffix}": float(error.mean()),
        f"strain_correlation{suffix}": float(np.mean(fit)),
        f"strain_errors{suffix}": error.tolist(),
        f"strain_correlations{suffix}": fit,
        f"l1_errors{suffix}": paired.l1(real, videos).tolist(),
    }


def animate(model: Autoencoder, x0: np.ndarray, draw: Callable[[Tensor], Tensor], batch: int = 16) -> np.ndarray:
    """Videos uint8 (n, T + 1, S, S) of first frames uint8 (n, S, S); `draw` samples z for the indices of a batch."""
    parts = []
    with torch.no_grad():
        for start in range(0, len(x0), batch):
            index = torch.arange(start, min(start + batch, len(x0)))
            still = to_float(torch.from_numpy(x0[index]))[:, None]
            frames = to_uint8(model.decode(still, draw(index)).frames)[:, 0].numpy()
            parts.append(np.concatenate([x0[index][:, None], frames], axis=1))
    return np.concatenate(parts)


def other_draws(fold: Fold, table: pd.DataFrame, draw: int) -> np.ndarray | None:
    """Output of a perfect generator of phantoms: new simulations with the same first frames and classes.

    Returns:
        uint8 (n, T + 1, S, S) in the order of the clips of `table`; None if the clips are not unmodified phantoms.
    """
    settings = fold.settings
    source = settings.index.sources[0]
    if len(settings.index.sources) > 1 or not isinstance(source, PhantomSource):
        return None
    videos = []
    for name, clip in zip(table["id"], fold.store.clip_frames(table), strict=True):
        path = f"phantom:video/{name.rsplit('-', 1)[1]}"
        video = phantom.read(path, source, settings.seed, draw=draw)[0][: len(clip)]
        if video.shape != clip.shape or not np.array_equal(video[0], clip[0]):
            return None
        videos.append(video)
    return np.stack(videos)


@torch.no_grad()
def rebuild(model: Autoencoder, videos: np.ndarray, batch: int = 32) -> np.ndarray:
    """Reconstruct videos uint8 (n, T + 1, S, S) that are not in a store with the autoencoder."""

    def draw(index: Tensor) -> Tensor:
        part = videos[index.numpy()]
        return model.encode(to_float(torch.from_numpy(part))[:, None], model.measure(part)).mean

    return animate(model, videos[:, 0].copy(), draw, batch)


def pixels(real: np.ndarray, videos: np.ndarray) -> dict[str, float]:
    """Paired measures of the whole set."""
    measures = {"l1": paired.l1, "ssim": paired.ssim, "perceptual": paired.perceptual()}
    return {name: float(measure(real, videos).mean()) for name, measure in measures.items()}
