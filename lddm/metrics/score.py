"""Scores of one generator and fold: the work of the rule `score`.

Sources of synthetic videos: `heldout`, animated first frames of the fold's test patients, each with a real video for
paired metrics; `stills`, animated labelled still images. The generator `real` is the real-vs-real reference: the clips of
one half of the test patients against those of the other half, with as many clips as each generator has.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lddm.data.cache import ArrayCache
from lddm.data.frames import FrameStore, fold_clips
from lddm.data.synthetic import load_synthetic
from lddm.metrics.copy_search import Memorised, control_rows, copy_rows
from lddm.metrics.domain_network import domain_videos
from lddm.metrics.membership import membership_rows
from lddm.metrics.protocol import SAME_X0, Protocol
from lddm.metrics.videos import Videos
from lddm.settings.evaluation import QualitySettings

logger = logging.getLogger(__name__)

Clips = tuple[np.ndarray, pd.DataFrame]
COPIES = ["sample_id", "source", "features", "nearest", "distance", "held_out_distance", "threshold", "copied"]


def score(
    section: QualitySettings,
    generator: str,
    store: FrameStore,
    splits: pd.DataFrame,
    fold: int,
    domain_network: Path,
    weights_dir: Path,
    synthetic: list[Path],
    seed: int,
    cache: Path | None = None,
    memorised: tuple[Clips, Clips] | None = None,
    attacks: dict[str, Any] | None = None,
) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """All rows of quality.csv for one generator and fold; an absent metric has value None and a reason.

    Args:
        generator: its name, or "real" or "reconstruction".
        synthetic: manifests of its shards; empty for "real".
        cache: folder of the feature cache; None disables it.
        memorised: for "reconstruction", reconstructed training clips and stills animated with their latents, each with its
            table (`lddm.synthesis.memorised`): the positive controls of memorisation.
        attacks: losses of train and test latents (`lddm.synthesis.membership`); None for a generator without a loss.

    Returns:
        The rows, and a table of the nearest training clip of each synthetic video (columns `COPIES`).

    Raises:
        LddmError: the synthetic videos do not belong to the fold's test clips.
    """
    real = {part: _real(store, splits, fold, part) for part in ("test", "train")}
    references = {
        "heldout": real["test"].at_most(section.max_videos, seed),
        "train": real["train"].at_most(section.max_videos, seed),
    }
    where = f"frames 1-{store.clip_length} at {store.fps:g} Hz, {store.size} px"
    manifest = None
    if generator != "real":
        clips, manifest = load_synthetic(synthetic)
        # All first frames, including those of test patients, are animated with their true labels.
        where += f", {manifest['sample'].nunique()} samples of an x0, seed {seed}, labels: true"
    protocol = Protocol(
        section, fold, generator, real, references, domain_videos(domain_network), weights_dir, ArrayCache(cache),
        seed, where,
    )  # fmt: skip
    rows: list[dict[str, Any]] = []
    if manifest is None:
        rows += protocol.distances("heldout", references["heldout"], ("heldout",))
        rows += protocol.no_reference("heldout", references["heldout"])
        rows += control_rows(protocol)
        return rows, pd.DataFrame(columns=COPIES)
    copies = []
    for source, part in manifest.groupby("source", sort=True):
        index = part.index.to_numpy()
        videos = Videos(clips[index], part["patient_id"].to_numpy(), part.reset_index(drop=True))
        some = videos.at_most(section.max_videos, seed)
        logger.info("%s, %s: %d of %d videos", generator, source, len(some), len(videos))
        rows += protocol.distances(source, some, ("heldout", *((SAME_X0,) if source == "heldout" else ()), "train"))
        rows += protocol.no_reference(source, some)
        found, table = copy_rows(protocol, source, videos)
        rows += found
        copies.append(table)
        rows += protocol.diversity(source, videos)
        if source == "heldout":
            rows += protocol.paired(source, some)
            if generator == "reconstruction":
                made = (Videos(some, table["patient_id"].to_numpy(), table) for some, table in memorised or ())
                rows += control_rows(protocol, Memorised(*made)) if memorised else []
            rows += membership_rows(protocol, attacks)
    return rows, pd.concat(copies, ignore_index=True).reindex(columns=COPIES)


def _real(store: FrameStore, splits: pd.DataFrame, fold: int, part: str) -> Videos:
    clips = fold_clips(store, splits, fold, part)
    return Videos(store.clip_frames(clips), clips["patient_id"].to_numpy(), clips)
