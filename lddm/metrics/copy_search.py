"""Rows of quality.csv about copies of training videos, and the controls of the search."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from lddm.metrics import novelty
from lddm.metrics.protocol import Protocol
from lddm.metrics.videos import Videos
from lddm.statistics.resampling import halves, members_of, resample

FEATURES = novelty.THUMBNAILS  # the features of the domain network lose what tells two clips apart: not used
CONTROL = "control: "
NOISE = 8.0  # grey levels


def copy_rows(protocol: Protocol, source: str, videos: Videos) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """Share of videos that copy a training video, how often they are nearer to training videos, and each nearest one.

    `copy_rate`: see `lddm.metrics.novelty.copies`; its interval redraws patients, those behind the threshold too.
    `nearer_to_train`: 0.5 for a generator without memory.
    """
    train, test = protocol.real["train"], protocol.real["test"]
    found = _search(protocol, videos, train, test)
    if len(np.unique(test.patients)) < 2:  # equal videos are still found
        reason = "expected at least two held-out patients to compare with, got fewer"
        rows = protocol.absent(source, ("copy_rate", "nearer_to_train"), reason)
    else:
        times = len(novelty.views(train.clips[:1]))  # both pools hold each clip in all views: neither is the larger one
        share = novelty.nearer_to_train(
            _embed(protocol, videos), _pool(protocol, test), _pool(protocol, train),
            videos.patients, np.tile(test.patients, times), np.tile(train.patients, times), protocol.seed,
        )  # fmt: skip
        rows = [
            _rate(protocol, source, "train", found, videos, test, len(train)),
            protocol.mean(source, "nearer_to_train", FEATURES.name, "train", share, videos.patients, len(train)),
        ]
    nearest = train.table["clip_id"].to_numpy()[found["nearest"] % len(train)]
    table = pd.DataFrame({"sample_id": videos.table["sample_id"], "source": source, "features": FEATURES.name})
    return rows, table.assign(nearest=nearest).join(found.drop(columns="nearest"))


def control_rows(protocol: Protocol, rebuilt: Videos | None = None) -> Iterator[dict[str, Any]]:
    """Copy rates whose answer is known, on halves of the test patients.

    Unseen clips, also blurred, dimmed and frozen: at most about `quality.copy_threshold`. Training clips with noise, and
    clips of the pool through the autoencoder, which has not seen them in training: nearly 1.

    Args:
        rebuilt: test clips through the autoencoder; those of one half then count as training clips.
    """
    test, train = protocol.real["test"], protocol.real["train"]
    side = halves(test.patients, test.table["label"].to_numpy(), protocol.seed, 1)[0]
    seen, unseen = test.take(np.flatnonzero(side)), test.take(np.flatnonzero(~side))
    if len(np.unique(unseen.patients)) < 2:
        yield from protocol.absent("heldout", ("copy_rate",), "controls: expected at least four held-out patients")
        return
    if rebuilt is not None:
        mine = rebuilt.take(np.flatnonzero(np.isin(rebuilt.patients, seen.patients)))
        pool = Videos(
            np.concatenate([train.clips, seen.clips]),
            np.concatenate([train.patients, seen.patients]),
            pd.concat([train.table, seen.table], ignore_index=True),
        )
        found = _search(protocol, mine, pool, unseen)
        yield _rate(protocol, "heldout", f"{CONTROL}memorised, rebuilt", found, mine, unseen, len(pool))
        return
    for name, clips in novelty.degraded(seen.clips).items():
        made = Videos(clips, seen.patients, seen.table)
        found = _search(protocol, made, train, unseen)
        yield _rate(protocol, "heldout", CONTROL + name, found, made, unseen, len(train))
    stolen = train.at_most(len(seen), protocol.seed)
    noise = np.random.default_rng(protocol.seed).normal(0, NOISE, stolen.clips.shape)
    made = Videos(np.clip(np.rint(stolen.clips + noise), 0, 255).astype(np.uint8), stolen.patients, stolen.table)
    found = _search(protocol, made, train, unseen)
    yield _rate(protocol, "heldout", f"{CONTROL}memorised, noise", found, made, unseen, len(train))


def _embed(protocol: Protocol, videos: Videos) -> np.ndarray:
    return FEATURES.features(videos.clips, protocol.cache)


def _pool(protocol: Protocol, videos: Videos) -> np.ndarray:
    return np.concatenate([FEATURES.features(clips, protocol.cache) for clips in novelty.views(videos.clips)])


def _search(protocol: Protocol, videos: Videos, train: Videos, held_out: Videos) -> pd.DataFrame:
    return novelty.copies(
        _embed(protocol, videos), _embed(protocol, held_out), _pool(protocol, train), protocol.section.copy_threshold,
        videos.patients, held_out.patients,
    )  # fmt: skip


def _rate(
    protocol: Protocol, source: str, reference: str, found: pd.DataFrame, videos: Videos, held_out: Videos, n_real: int
) -> dict[str, Any]:
    """Copy rate with a 95 % interval that redraws held-out patients (the threshold) and the patients of the videos.

    Patients who are in both sets are drawn together.
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
    return protocol.row(source, "copy_rate", FEATURES.name, reference, numbers, (n_real, len(videos)))
