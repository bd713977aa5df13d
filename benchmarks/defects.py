"""Sensitivity of the metrics to known distortions of real test clips: `make study-defects` after `make run`.

Clips of half of the test patients, undistorted and distorted, are scored against those of the other half. Writes
results/<experiment>/defects.csv and prints a table for docs/results/metrics.md. The attribute `sees_motion` of the catalogue
(lddm.metrics.catalogue) must agree with this measurement.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import pandas as pd
import typer
from rich.progress import track

from lddm.data.cache import ArrayCache
from lddm.data.frames import FrameStore, fold_clips
from lddm.data.synthetic import load_synthetic
from lddm.files import write_table
from lddm.metrics.catalogue import INFINITY, about
from lddm.metrics.copy_search import copy_rows
from lddm.metrics.domain_network import domain_videos
from lddm.metrics.protocol import Protocol
from lddm.metrics.videos import Videos
from lddm.settings.evaluation import QualitySettings

Damage = Callable[[np.ndarray, np.random.Generator], np.ndarray]
SEED = 0
MOTION = ("frozen", "shuffled", "doubled speed")


def frozen(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Repeat x0. Clips of this and the following functions are uint8 (T + 1, S, S)."""
    return np.repeat(clip[:1], len(clip), axis=0)


def shuffled(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shuffle the frames after x0."""
    return clip[np.concatenate([[0], 1 + rng.permutation(len(clip) - 1)])]


def doubled_speed(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Double the speed: every other frame, forwards and then backwards."""
    there = np.arange(0, len(clip), 2)
    return clip[np.concatenate([there, there[-2::-1]])[: len(clip)]]


def blurred(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur each frame by a Gaussian with a standard deviation of 1.5 pixels."""
    return np.stack([cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in clip])


def noisy(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add independent Gaussian noise with a standard deviation of 12 grey levels."""
    return np.clip(clip + rng.normal(0, 12, clip.shape), 0, 255).round().astype(np.uint8)


DAMAGES: dict[str, Damage] = {
    "frozen": frozen,
    "shuffled": shuffled,
    "doubled speed": doubled_speed,
    "blur": blurred,
    "noise": noisy,
}


def versions(real: Videos, train: Videos, transferred: Videos | None) -> dict[str, Videos]:
    """Versions of the clips: undistorted, each distortion, motion of another patient, and copied training clips."""
    rng = np.random.default_rng(SEED)
    found = {"as they are": real}
    for name, damage in DAMAGES.items():
        found[name] = Videos(np.stack([damage(clip, rng) for clip in real.clips]), real.patients, real.table)
    if transferred is not None:
        found["another patient's motion"] = transferred
    stolen = train.clips[rng.permutation(len(train))[: len(real)]]
    count = len(stolen)
    found["copied clips"] = Videos(stolen, real.patients[:count], real.table.iloc[:count])
    return found


def scores(protocol: Protocol, videos: Videos) -> list[dict]:
    """Score rows of one version, without the extrapolations to infinite n."""
    rows = [*protocol.distances("heldout", videos, ("heldout",)), *protocol.no_reference("heldout", videos)]
    rows += [*protocol.paired("heldout", videos), *copy_rows(protocol, "heldout", videos)[0]]
    kept = (row for row in rows if row["value"] is not None and not row["metric"].endswith(INFINITY))
    return [row for row in kept if "x0 included" not in row["reference"]]


def sees_motion(row: pd.Series, high: float, paired: bool) -> bool | None:
    """Whether a metric is sensitive to motion, given its values by version; None if undecidable.

    A distance between distributions is sensitive to motion if its value for each distorted motion exceeds the interval of the
    undistorted clips. A paired measure is zero for the undistorted clip; it is sensitive to motion if it does not rate a
    frozen clip better than a moving one.
    """
    sign = -1 if about(row.name[0]).higher else 1
    if paired:
        other = row.get("another patient's motion")
        return None if other is None or pd.isna(other) else bool(sign * row["frozen"] > sign * other)
    return bool(all(sign * row[name] > sign * high for name in MOTION))


def main(
    results: Annotated[Path, typer.Argument(help="results/<experiment> of a finished run")],
    bootstrap: Annotated[int, typer.Option(help="resamples per interval")] = 50,
    weights_dir: Annotated[Path, typer.Option(help="folder of the pretrained networks")] = Path("weights"),
) -> None:
    """Score distorted real clips and show which distortions each metric detects."""
    store, splits = FrameStore.open(results / "data/frames"), pd.read_parquet(results / "data/splits.parquet")
    tables = {part: fold_clips(store, splits, 0, part) for part in ("test", "train")}
    real = {
        part: Videos(store.clip_frames(t), t["patient_id"].to_numpy(), t.assign(sample_id=t["clip_id"]))
        for part, t in tables.items()
    }
    scored = real["test"]
    section = QualitySettings(bootstrap=bootstrap, max_videos_expensive=8)
    domain = domain_videos(results / "fold-0/domain_network/model.safetensors")
    rows = []
    made = versions(scored, real["train"], _transferred(results, scored))
    for name, videos in track(made.items(), description="scoring"):
        protocol = Protocol(
            section, 0, name, real, {"heldout": scored, "train": real["train"]}, domain, weights_dir, ArrayCache(),
            SEED, "",
        )  # fmt: skip
        some = [{"version": name, "n": len(videos)} | row for row in scores(protocol, videos)]
        rows += some
    table = pd.DataFrame(rows)
    write_table(table[["version", "metric", "features", "value", "ci_low", "ci_high", "n"]], results / "defects.csv")
    print(f"{len(scored)} test clips, halves against each other\n")
    told = summary(table)
    print(told.to_markdown(floatfmt=".3g"))
    for row in told.to_dict(orient="records"):
        if row["sees motion"] is not None and row["sees motion"] != row["catalogue"]:
            print(f"{row['metric']}: lddm.metrics.catalogue says {row['catalogue']}, this run {row['sees motion']}")


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Table of metrics (rows) by versions (columns), with the better direction and measured and stated motion sensitivity."""
    order = list(dict.fromkeys(table["version"]))
    keys = ["metric", "features"]
    wide = table.pivot_table(index=keys, columns="version", values="value", sort=False)[order]
    undamaged = table[table["version"] == "as they are"].set_index(keys)
    paired = undamaged["reference"].str.startswith("same x0")
    seen = [
        sees_motion(row, undamaged.loc[key, "ci_low" if about(key[0]).higher else "ci_high"], paired[key])
        for key, row in wide.iterrows()
    ]
    wide["sees motion"] = pd.Series(seen, index=wide.index, dtype=object)
    wide["catalogue"] = [about(metric).sees_motion for metric, _ in wide.index]
    wide.insert(0, "better", ["higher" if about(metric).higher else "lower" for metric, _ in wide.index])
    wide.columns.name = None
    return wide.reset_index()


def _transferred(results: Path, scored: Videos) -> Videos | None:
    """Motion-transfer videos of the same first frames, one per frame, if the run generated any."""
    shards = sorted((results / "fold-0/synthetic/motion_transfer/heldout").glob("shard-*.parquet"))
    if not shards:
        return None
    clips, table = load_synthetic(shards)
    rows = table.reset_index().drop_duplicates("clip_id").set_index("clip_id").loc[scored.table["clip_id"]]
    index = rows["index"].to_numpy()
    return Videos(clips[index], table["patient_id"].to_numpy()[index], table.iloc[index].reset_index(drop=True))


if __name__ == "__main__":
    typer.run(main)
