"""Rows of quality.csv about copies of training videos, and the controls of the search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lddm.metrics import novelty
from lddm.metrics.data_copying import cells_of, data_copying
from lddm.metrics.features import FeatureNetwork
from lddm.metrics.memorisation import MOTION, authenticity, mirrored
from lddm.metrics.protocol import Protocol
from lddm.metrics.videos import Videos
from lddm.statistics.resampling import halves, members_of, resample

FEATURES = novelty.THUMBNAILS  # features of the domain network are not used: they do not distinguish single clips
CONTROL = "control: "
MOTION_VIDEOS = 240  # largest number of videos per source in the motion search: optical flow takes 9 ms per video
MEASURES = (
    "copy_rate",
    "motion_copy_rate",
    "nearer_to_train",
    "authenticity",
    "data_copying",
    "data_copying_relative",
)


@dataclass(frozen=True)
class Memorised:
    """Positive controls: the videos of a generator that has memorised its training set.

    Attributes:
        rebuilt: training clips, reconstructed by the autoencoder.
        moved: first frames of test clips, animated with latents of training clips; its table is that of the test clips.
    """

    rebuilt: Videos
    moved: Videos


def copy_rows(protocol: Protocol, source: str, videos: Videos) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """All memorisation metrics of a generator's videos (`memory_rows`), and the nearest training clip of each video."""
    train, test = protocol.real["train"], protocol.real["test"]
    found = _search(protocol, videos, train, test)
    rows = list(memory_rows(protocol, source, "train", videos, test, found))
    nearest = train.table["clip_id"].to_numpy()[found["nearest"] % len(train)]
    table = pd.DataFrame({"sample_id": videos.table["sample_id"], "source": source, "features": FEATURES.name})
    return rows, table.assign(nearest=nearest).join(found.drop(columns="nearest"))


def memory_rows(
    protocol: Protocol, source: str, reference: str, videos: Videos, held_out: Videos, found: pd.DataFrame
) -> Iterator[dict[str, Any]]:
    """Memorisation metrics that have controls; all but `motion_copy_rate` compare thumbnails of the frames.

    `copy_rate`: see `lddm.metrics.novelty.copies`; its interval resamples the patients of the videos and of the threshold.
    `motion_copy_rate`: the same search by motion alone, independent of appearance. `nearer_to_train`: 0.5 for a generator
    without memorisation. `authenticity`: relative to training patients; the column `floor` has the value relative to held-out
    patients. `data_copying`: the test of Meehan et al. 2020 against equally many held-out clips. `data_copying_relative`: the
    same test on the distance to the training set divided by the distance to held-out clips of other patients, because blurred
    videos are close to all clips.

    Args:
        reference: "train", or the name of a control.
        held_out: real clips of test patients.
        found: result of the copy search by thumbnails.
    """
    train = protocol.real["train"]
    if len(np.unique(held_out.patients)) < 2:  # identical videos are still detected
        yield from protocol.absent(
            source, MEASURES, "expected at least two held-out patients to compare with, got fewer"
        )
        return
    yield _rate(protocol, source, reference, found, videos, held_out, len(train))
    some = videos.at_most(MOTION_VIDEOS, protocol.seed)
    moved = _search(protocol, some, train, held_out, MOTION)
    yield _rate(protocol, source, reference, moved, some, held_out, len(train), MOTION)
    mine = _embed(protocol, videos)
    times = len(novelty.views(train.clips[:1]))  # both pools contain each clip in all views
    share = novelty.nearer_to_train(
        mine, _pool(protocol, held_out), _pool(protocol, train),
        videos.patients, np.tile(held_out.patients, times), np.tile(train.patients, times), protocol.seed,
    )  # fmt: skip
    yield protocol.mean(source, "nearer_to_train", FEATURES.name, reference, share, videos.patients, len(train))
    new = [
        authenticity(mine, _embed(protocol, real), videos.patients, real.patients).astype(np.float64)
        for real in (train, held_out)
    ]
    row = protocol.mean(source, "authenticity", FEATURES.name, reference, new[0], videos.patients, len(train))
    yield row | {"floor": float(new[1].mean())}
    yield from _data_copying(protocol, source, reference, videos, held_out, found)


def control_rows(protocol: Protocol, memorised: Memorised | None = None) -> Iterator[dict[str, Any]]:
    """Memorisation metrics of the controls, whose expected values are in `lddm.report.memorisation`.

    Without `memorised`: the negative controls, unseen clips of one half of the test patients as they are, blurred, dimmed and
    frozen, with the other half held out. With `memorised`: the positive controls, reconstructed training clips, and stills of
    test patients animated with training latents.
    """
    test = protocol.real["test"]
    side = halves(test.patients, test.table["label"].to_numpy(), protocol.seed, 1)[0]
    seen, unseen = test.take(np.flatnonzero(side)), test.take(np.flatnonzero(~side))
    if len(np.unique(unseen.patients)) < 2:
        yield from protocol.absent("heldout", ("copy_rate",), "controls: expected at least four held-out patients")
        return
    if memorised is None:
        for name, clips in novelty.degraded(seen.clips).items():
            made = Videos(clips, seen.patients, seen.table)
            found = _search(protocol, made, protocol.real["train"], unseen)
            yield from memory_rows(protocol, "heldout", CONTROL + name, made, unseen, found)
        return
    # Renamed patients: metrics that exclude a video's own patient would otherwise exclude the copied clip.
    names = np.array([f"memory of {name}" for name in memorised.rebuilt.patients])
    rebuilt = Videos(memorised.rebuilt.clips, names, memorised.rebuilt.table)
    found = _search(protocol, rebuilt, protocol.real["train"], unseen)
    for row in memory_rows(protocol, "heldout", f"{CONTROL}memorised, rebuilt", rebuilt, unseen, found):
        # The control of the motion search is the one below, with another still.
        if row["metric"] != "motion_copy_rate":
            yield row
    found = _search(protocol, memorised.moved, protocol.real["train"], unseen, MOTION)
    name, count = f"{CONTROL}memorised motion, other still", len(protocol.real["train"])
    yield _rate(protocol, "heldout", name, found, memorised.moved, unseen, count, MOTION)


def _data_copying(
    protocol: Protocol, source: str, reference: str, videos: Videos, held_out: Videos, found: pd.DataFrame
) -> Iterator[dict[str, Any]]:
    """Data-copying tests on equally many videos of both sets, one per first frame if possible, by thumbnail distance."""
    real = {"distance": found.attrs["held_out_distance"], "relative": found.attrs["held_out_ratios"]}
    mine = {
        "distance": found["distance"].to_numpy(),
        "relative": novelty.ratio(found["distance"].to_numpy(), found["held_out_distance"].to_numpy()),
    }
    count = min(len(videos), len(held_out))
    rng = np.random.default_rng([protocol.seed, 2])
    chosen, others = (np.sort(some.shuffled(rng)[:count]) for some in (videos, held_out))
    train = protocol.real["train"]
    cells = np.concatenate(
        cells_of(
            _embed(protocol, train), _embed(protocol, videos)[chosen], _embed(protocol, held_out)[others],
            count=count, seed=protocol.seed,
        )
    )  # fmt: skip
    generated = np.repeat([True, False], count)
    patients = np.concatenate([videos.patients[chosen], held_out.patients[others]])
    for metric, key in (("data_copying", "distance"), ("data_copying_relative", "relative")):
        distance = np.concatenate([mine[key][chosen], real[key][others]])
        numbers, p = data_copying(distance, cells, generated, patients, protocol.section.bootstrap, protocol.seed)
        row = protocol.row(source, metric, FEATURES.name, reference, numbers, (count, count))
        yield row | ({"p_value": p} if np.isfinite(p) else {})


def _embed(protocol: Protocol, videos: Videos, features: FeatureNetwork = FEATURES) -> np.ndarray:
    return features.features(videos.clips, protocol.cache)


def _pool(protocol: Protocol, videos: Videos, features: FeatureNetwork = FEATURES) -> np.ndarray:
    """Features of all views (`lddm.metrics.novelty.views`), cached by the original clips, which are hashed once."""

    def of_views(clips: np.ndarray) -> np.ndarray:
        if features is not MOTION:
            return np.concatenate([features.extract(view) for view in novelty.views(clips)]).astype(np.float64)
        ways = [features.extract(np.ascontiguousarray(clips[:, ::time])) for time in (1, -1)]
        return np.concatenate([film for way in ways for film in (way, mirrored(way))]).astype(np.float64)

    return protocol.cache.get(f"views {features.content}", videos.clips, of_views)


def _search(
    protocol: Protocol, videos: Videos, train: Videos, held_out: Videos, features: FeatureNetwork = FEATURES
) -> pd.DataFrame:
    return novelty.copies(
        _embed(protocol, videos, features), _embed(protocol, held_out, features), _pool(protocol, train, features),
        protocol.section.copy_threshold, videos.patients, held_out.patients,
    )  # fmt: skip


def _rate(
    protocol: Protocol,
    source: str,
    reference: str,
    found: pd.DataFrame,
    videos: Videos,
    held_out: Videos,
    n_real: int,
    features: FeatureNetwork = FEATURES,
) -> dict[str, Any]:
    """Copy rate with a 95 % interval from resampling the held-out patients (of the threshold) and the patients of the videos.

    Patients in both sets are resampled jointly.
    """
    ratios, section = found.attrs["held_out_ratios"], protocol.section
    mine = novelty.ratio(found["distance"].to_numpy(), found["held_out_distance"].to_numpy())
    rng, rates = np.random.default_rng(protocol.seed), []
    groups = [members_of(v.patients) for v in (held_out, videos)]
    together = np.array_equal(np.unique(held_out.patients), np.unique(videos.patients))
    for _ in range(section.bootstrap):
        drawn = rng.integers(len(groups[0]), size=len(groups[0]))
        real = np.concatenate([groups[0][i] for i in drawn])
        some = np.concatenate([groups[1][i] for i in drawn]) if together else resample(groups[1], rng)
        rates.append((mine[some] <= novelty.largest_ratio(ratios[real], section.copy_threshold)).mean())
    low, high = np.percentile(rates, [2.5, 97.5])
    numbers = (float(found["copied"].mean()), float(low), float(high))
    metric = "copy_rate" if features is FEATURES else "motion_copy_rate"
    return protocol.row(source, metric, features.name, reference, numbers, (n_real, len(videos)))
