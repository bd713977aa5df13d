"""Sharpness, haze and motion of generated relative to real videos; `python -m benchmarks.texture results/<experiment>`.

Compares the real clips of the held-out patients of a fold with the videos that each generator samples from their first frames.
Controls are real clips: unchanged (expected ratio 1, haze 0), blurred (sharpness below 1), and with brightness added (haze of
that amount). Writes results/<experiment>/texture-fold-<k>.csv and prints a table for docs/results/lungs.md.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from scipy.ndimage import gaussian_filter
from scipy.stats import bootstrap

from benchmarks.defects import blurred
from lddm.data.frames import FrameStore, fold_clips
from lddm.data.ranges import to_float, to_uint8
from lddm.data.synthetic import load_synthetic
from lddm.files import write_table
from lddm.metrics.motion import flow_statistics, high_share, power_spectrum, temporal_difference
from lddm.motion.field_of_view import erode, field_of_view
from lddm.motion.warp import refine, warp

DARK = 20  # grey levels: a pixel that always stays below is anechoic
RIM = 3  # pixels: margin at the edge of the fan, which is static in both videos
LIGHT = 5  # grey levels added by a control
RESAMPLES = 2000


def sharpness(frames: np.ndarray, view: np.ndarray) -> np.ndarray:
    """Root mean square of the detail removed by a Gaussian of 1 px.

    Args:
        frames: uint8 (n, T, S, S).
        view: bool (n, S, S), mask of the pixels to include.

    Returns:
        float64 (n, T).
    """
    detail = frames - gaussian_filter(frames.astype(np.float32), (0, 0, 1, 1))
    counts = np.maximum(view.sum(axis=(1, 2)), 1)[:, None]
    return np.sqrt((detail**2 * view[:, None]).sum(axis=(2, 3), dtype=np.float64) / counts)


def inner_view(x0: np.ndarray) -> np.ndarray:
    """Eroded field of view of first frames uint8 (n, S, S), without its static outermost pixels: bool (n, S, S)."""
    mask = field_of_view(to_float(torch.from_numpy(x0))[:, None])
    return erode(mask, RIM)[:, 0].numpy()


def haze(drawn: np.ndarray, real: np.ndarray, view: np.ndarray, brighter_only: bool = False) -> np.ndarray:
    """Mean grey level added by generated frames 1..T where the real video stays below `DARK`; NaN without such pixels.

    With `brighter_only`, pixels that became darker on average count as zero, so that darkening does not offset haze.

    Args:
        drawn: uint8 (n, T + 1, S, S), generated; the first frame is x0.
        real: uint8 (n, T + 1, S, S), with the same x0.
        view: bool (n, S, S), the field of view of x0.

    Returns:
        float64 (n,).
    """
    dark = view & (real.max(axis=1) < DARK)
    added = (drawn[:, 1:].astype(np.float32) - real[:, 1:]).mean(axis=1)  # (n, S, S)
    added = added.clip(min=0) if brighter_only else added
    counts = dark.sum(axis=(1, 2))
    return np.divide((added * dark).sum(axis=(1, 2)), counts, out=np.full(len(real), np.nan), where=counts > 0)


def measures(clips: np.ndarray, real: np.ndarray, view: np.ndarray) -> dict[str, np.ndarray]:
    """Measures by name, each (n,), of clips uint8 (n, T + 1, S, S)."""
    sharp = sharpness(clips[:, 1:], view)
    return {
        "sharpness": sharp.mean(axis=1),
        "sharpness of the last frame": sharp[:, -1],
        "flow": flow_statistics(clips)[:, 0],
        "temporal difference": temporal_difference(clips)[:, 0],
        "flicker": high_share(power_spectrum(clips))[:, 0],
        "haze": haze(clips, real, view),
        "haze, brighter pixels": haze(clips, real, view, brighter_only=True),
    }


def compared(name: str, drawn: dict[str, np.ndarray], real: dict[str, np.ndarray], patients: np.ndarray) -> list[dict]:
    """Ratios of means over patients (haze: mean in grey levels), with 95 % intervals over patients."""
    rows = []
    for measure, values in drawn.items():
        table = pd.DataFrame({"drawn": values, "real": real[measure], "patient": patients}).dropna(subset=["drawn"])
        means = table.groupby("patient")[["drawn", "real"]].mean()
        statistic: Callable[..., np.floating] = (
            (lambda a, b, axis=-1: a.mean(axis=axis))
            if measure.startswith("haze")
            else (lambda a, b, axis=-1: a.mean(axis=axis) / b.mean(axis=axis))
        )
        data = (means["drawn"].to_numpy(), means["real"].to_numpy())
        low = high = np.nan
        if len(means) > 1:
            interval = bootstrap(data, statistic, paired=True, n_resamples=RESAMPLES, rng=0, method="percentile")
            low, high = interval.confidence_interval
        row = {
            "videos of": name,
            "measure": measure,
            "unit": "grey levels" if measure.startswith("haze") else "share of real",
            "value": float(statistic(*data)) if len(means) else np.nan,
            "low": low,
            "high": high,
            "patients": len(means),
            "videos": len(table),
            "largest": float(table["drawn"].max()),
        }
        rows.append(row)
    return rows


def controls(real: np.ndarray) -> dict[str, np.ndarray]:
    """Control versions of real clips uint8 (n, T + 1, S, S): unchanged, blurred by 1.5 px, brightened by `LIGHT` after x0."""
    rng = np.random.default_rng(0)
    lit = real.copy()
    lit[:, 1:] = np.minimum(lit[:, 1:], 255 - LIGHT) + LIGHT
    return {
        "control: real": real,
        "control: blurred": np.stack([blurred(clip, rng) for clip in real]),
        f"control: {LIGHT} grey levels of light": lit,
    }


def interpolated(x0: np.ndarray, view: np.ndarray) -> pd.DataFrame:
    """Relative sharpness of first frames uint8 (n, S, S) after a shift by a fraction of a pixel along both axes."""
    still = to_float(torch.from_numpy(x0))[:, None]
    own, rows = sharpness(x0[:, None], view)[:, 0], []
    for shift in (0.25, 0.5):
        motion = torch.full((len(x0), 2, *x0.shape[1:]), shift)
        for name, source in (("bicubic", still), ("refined", refine(still))):
            moved = to_uint8(warp(source, motion))[:, 0].numpy()
            share = sharpness(moved[:, None], view)[:, 0] / own
            rows.append({"pixels": shift, "interpolation": name, "mean": share.mean(), "lowest": share.min()})
    return pd.DataFrame(rows)


def main(
    results: Annotated[Path, typer.Argument(help="a finished run, e.g. results/lung")],
    fold: Annotated[int, typer.Option(help="fold number, from 0")] = 0,
) -> None:
    """Compare texture and motion of generated and real videos of held-out patients."""
    store = FrameStore.open(results / "data" / "frames")
    clips = fold_clips(store, pd.read_parquet(results / "data" / "splits.parquet"), fold, "test")
    by_clip = clips.set_index("clip_id")
    real, rows = store.clip_frames(clips), []
    view = inner_view(real[:, 0])
    truth = measures(real, real, view)
    for name, made in controls(real).items():
        rows += compared(name, measures(made, real, view), truth, clips["patient_id"].to_numpy())
    for folder in sorted((results / f"fold-{fold}" / "synthetic").iterdir()):
        videos, manifest = load_synthetic(sorted((folder / "heldout").glob("shard-*.npy")))
        chosen = by_clip.loc[manifest["clip_id"]]
        real = store.clip_frames(chosen)
        view = inner_view(real[:, 0])
        truth = measures(real, real, view)
        rows += compared(folder.name, measures(np.asarray(videos), real, view), truth, chosen["patient_id"].to_numpy())
    table = pd.DataFrame(rows)
    write_table(table, results / f"texture-fold-{fold}.csv")
    shown = table.assign(
        value=[f"{r.value:.2f} ({r.low:.2f} to {r.high:.2f})" for r in table.itertuples()]
    ).pivot(index="videos of", columns="measure", values="value")  # fmt: skip
    print(shown[list(truth)].to_string())
    firsts = store.clip_frames(by_clip.groupby("patient_id").head(1))[:, 0]
    print(interpolated(firsts, inner_view(firsts)).round(3).to_string(index=False))
    counts = table.groupby("videos of")["videos"].max()
    print(f"{chosen['patient_id'].nunique()} patients; videos: {counts.to_dict()}")


if __name__ == "__main__":
    typer.run(main)
