"""Speed of video scoring: feature extraction relative to the bare network, and all distances from cached features."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.timing import alternate, row
from lddm.data.cache import ArrayCache
from lddm.metrics.distances import frechet
from lddm.metrics.domain_network import DomainNetwork
from lddm.metrics.features import FeatureNetwork, efficientnet_frames, in_batches
from lddm.metrics.protocol import Protocol
from lddm.metrics.videos import Videos
from lddm.nn.perceptual import efficientnet_lite0
from lddm.settings.evaluation import QualitySettings

VIDEOS, SIZE, FRAMES = 200, 64, 16


def extraction() -> dict[str, Any]:
    """Frames per second through EfficientNet-Lite0 from uint8 clips, relative to the bare network on prepared batches."""
    clips = np.random.default_rng(0).integers(0, 255, (VIDEOS, FRAMES + 1, SIZE, SIZE), dtype=np.uint8)
    network, ours = efficientnet_lite0(), efficientnet_frames()
    batch = torch.rand(64, 3, SIZE, SIZE)
    count = VIDEOS * ours.rows

    def bare() -> None:
        with torch.no_grad():
            for start in range(0, count, len(batch)):
                network.forward_head(network.forward_features(batch[: min(64, count - start)]), pre_logits=True)

    seconds = alternate(lambda: ours.extract(clips), bare)
    setting = f"{count} frames of {SIZE} px, batches of 64"
    return row("extraction_vs_bare_network", count / seconds[0], count / seconds[1], "frames/s", setting)


def scoring() -> dict[str, Any]:
    """Seconds for all video distances of 200 x 200 videos from cached features, with intervals.

    The peer is one frame-wise Fréchet distance without interval."""
    rng = np.random.default_rng(0)
    sets = {
        part: rng.integers(0, 255, (VIDEOS, FRAMES + 1, SIZE, SIZE), dtype=np.uint8)
        for part in ("test", "train", "made")
    }
    names = [f"c{i}" for i in range(VIDEOS)]
    table = pd.DataFrame({"clip_id": names, "sample_id": names, "label": 0})
    patients = np.array(names)
    videos = {part: Videos(clips, patients, table) for part, clips in sets.items()}
    embed = DomainNetwork(8).eval().embed
    domain = FeatureNetwork(
        "domain_network", lambda c: in_batches(c[:, 1:], 32, lambda f: embed(f.float() / 127.5 - 1))
    )
    frames = [rng.normal(size=(2 * VIDEOS, 1280)) for _ in range(2)]
    with tempfile.TemporaryDirectory() as folder:
        protocol = Protocol(
            QualitySettings(), 0, "made", videos, {"heldout": videos["test"], "train": videos["train"]}, (domain, 1.0),
            Path(folder), ArrayCache(Path(folder) / "cache"), 0, "",
        )  # fmt: skip

        def ours() -> None:
            list(
                protocol.network_rows(
                    "heldout", videos["made"], "heldout", ("frechet_video", "kernel_video"), domain, "d"
                )
            )

        seconds = alternate(ours, lambda: frechet(*frames))
    setting = f"{VIDEOS} x {VIDEOS} videos, Fréchet and kernel distance, floors and intervals"
    return row("scoring_from_cache_vs_one_frame_distance", *seconds, "s", setting)
