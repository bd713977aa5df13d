"""Rows of quality.csv about copies of training videos, and the controls of the search."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from lddm.metrics import novelty
from lddm.metrics.features import FeatureNetwork
from lddm.metrics.memorisation import MOTION, authenticity, transplanted
from lddm.metrics.protocol import Protocol
from lddm.metrics.videos import Videos
from lddm.statistics.resampling import halves, members_of, resample

FEATURES = novelty.THUMBNAILS  # the features of the domain network lose what tells two clips apart: not used
CONTROL = "control: "
NOISE = 8.0  # grey levels


def copy_rows(protocol: Protocol, source: str, videos: Videos) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """Share of videos that copy a training video, how often they are nearer to training videos, and each nearest one.

    `copy_rate`: see `lddm.metrics.novelty.copies`; its interval redraws patients, those behind the threshold too.
    `motion_copy_rate`: the same search by motion alone, whatever moves. `nearer_to_train`: 0.5 for a generator without
    memory. `authenticity`: against training patients, and as the floor against as many held-out ones.
    """
    train, test = protocol.real["train"], protocol.real["test"]
    found = _search(protocol, videos, train, test)
    if len(np.unique(test.patients)) < 2:  # equal videos are still found
        reason = "expected at least two held-out patients to compare with, got fewer"
        rows = protocol.absent(source, ("copy_rate", "motion_copy_rate", "nearer_to_train", "authenticity"), reason)
    else:
        moved = _search(protocol, videos, train, test, MOTION)
        times = len(novelty.views(train.clips[:1]))  # both pools hold each clip in all views: neither is the larger one
        share = novelty.nearer_to_train(
            _embed(protocol, videos), _pool(protocol, test), _pool(protocol, train),
            videos.patients, np.tile(test.patients, times), np.tile(train.patients, times), protocol.seed,
        )  # fmt: skip
        rows = [
            _rate(protocol, source, "train", found, videos, test, len(train)),
            _rate(protocol, source, "train", moved, videos, test, len(train), MOTION),
            protocol.mean(source, "nearer_to_train", FEATURES.name, "train", share, videos.patients, len(train)),
            _authenticity(protocol, source, videos, test, train),
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
        for features in (FEATURES, MOTION):
            found = _search(protocol, made, train, unseen, features)
            yield _rate(protocol, "heldout", CONTROL + name, found, made, unseen, len(train), features)
    stolen = train.at_most(len(seen), protocol.seed)
    stills = seen.take(np.arange(len(stolen)) % len(seen))
    made = Videos(transplanted(stills.clips[:, 0], stolen.clips), stills.patients, stills.table)
    found = _search(protocol, made, train, unseen, MOTION)
    yield _rate(protocol, "heldout", f"{CONTROL}memorised motion, other still", found, made, unseen, len(train), MOTION)
    noise = np.random.default_rng(protocol.seed).normal(0, NOISE, stolen.clips.shape)
    made = Videos(np.clip(np.rint(stolen.clips + noise), 0, 255).astype(np.uint8), stolen.patients, stolen.table)
    found = _search(protocol, made, train, unseen)
    yield _rate(protocol, "heldout", f"{CONTROL}memorised, noise", found, made, unseen, len(train))


def _authenticity(protocol: Protocol, source: str, videos: Videos, test: Videos, train: Videos) -> dict[str, Any]:
    mine, count = _embed(protocol, videos), len(np.unique(test.patients))
    shares = [
        authenticity(mine, _embed(protocol, real), videos.patients, real.patients, count - 1, protocol.seed)
        for real in (train, test)
    ]
    row = protocol.mean(source, "authenticity", FEATURES.name, "train", shares[0], videos.patients, len(train))
    return row | {"floor": float(shares[1].mean())}


def _embed(protocol: Protocol, videos: Videos, features: FeatureNetwork = FEATURES) -> np.ndarray:
    return features.features(videos.clips, protocol.cache)


def _pool(protocol: Protocol, videos: Videos, features: FeatureNetwork = FEATURES) -> np.ndarray:
    """The features of all views; kept under the clips themselves, which are hashed once."""

    def of_views(clips: np.ndarray) -> np.ndarray:
        return np.concatenate([features.extract(view) for view in novelty.views(clips)]).astype(np.float64)

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
    metric = "copy_rate" if features is FEATURES else "motion_copy_rate"
    return protocol.row(source, metric, features.name, reference, numbers, (n_real, len(videos)))
