"""The protocol: which videos of a generator are compared with which real ones, and by what. One row a number.

Sources of synthetic videos: `heldout`, animated first frames of the fold's test patients, each with a real future to
pair with; `stills`, animated labelled still images. References: `heldout`, the real test clips; `train`, the real
training clips, which reveal overfitting when they are much nearer. The generator `real` is the floor: real training
clips against real test clips, as many as there are test clips.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lddm.data.frames import FrameStore, fold_clips
from lddm.data.synthetic import load_synthetic
from lddm.errors import LddmError
from lddm.metrics import motion, no_reference, novelty, paired
from lddm.metrics.distances import distance_interval, frechet, kernel_distance, mean_interval, wasserstein
from lddm.metrics.domain_network import domain_videos
from lddm.metrics.features import (
    FRAMES_OF_A_CLIP,
    Extractor,
    efficientnet_frames,
    i3d_videos,
    inception_frames,
)
from lddm.metrics.weights import WeightsAbsent
from lddm.settings.evaluation import QualitySettings

logger = logging.getLogger(__name__)

HIGHER = {"ssim", "psnr", "diversity"}
# A bootstrap of a thousand numbers a frame takes minutes; for a standard deviation a dozen draws must do.
WIDE, WIDE_RESAMPLES = 512, 12


@dataclass(frozen=True)
class Videos:
    """Clips uint8 (n, T + 1, S, S) and the patient of each; for synthetic ones also their manifest."""

    clips: np.ndarray
    patients: np.ndarray
    manifest: pd.DataFrame | None = None

    def __len__(self) -> int:
        return len(self.clips)

    def take(self, index: np.ndarray) -> Videos:
        manifest = None if self.manifest is None else self.manifest.iloc[index].reset_index(drop=True)
        return Videos(self.clips[index], self.patients[index], manifest)

    def at_most(self, count: int, seed: int) -> Videos:
        """A random subset, in its old order."""
        if len(self) <= count:
            return self
        return self.take(np.sort(np.random.default_rng(seed).permutation(len(self))[:count]))


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
) -> list[dict[str, Any]]:
    """All rows of quality.csv for one generator and fold; an absent metric has value None and a reason.

    Args:
        generator: its name, or "real" or "reconstruction".
        synthetic: manifests of its shards; none for "real".

    Raises:
        LddmError: the synthetic videos are of other clips than the fold's test clips.
    """
    real = {part: _real(store, splits, fold, part) for part in ("test", "train")}
    references = {
        "heldout": real["test"].at_most(section.max_videos, seed),
        "train": real["train"].at_most(section.max_videos, seed),
    }
    protocol = _Protocol(section, fold, generator, references, real["test"], seed, weights_dir, domain_network)
    rows: list[dict[str, Any]] = []
    if generator == "real":
        count = min(len(references["heldout"]), len(real["train"]))
        rows += protocol.distances("train", real["train"].at_most(count, seed), ("heldout",))
        rows += protocol.no_reference("heldout", references["heldout"])
        return rows
    clips, manifest = load_synthetic(synthetic)
    for source, part in manifest.groupby("source", sort=True):
        index = part.index.to_numpy()
        videos = Videos(clips[index], part["patient_id"].to_numpy(), part.reset_index(drop=True))
        some = videos.at_most(section.max_videos, seed)
        logger.info("%s, %s: %d of %d videos", generator, source, len(some), len(videos))
        rows += protocol.distances(source, some, ("heldout", "train"))
        rows += protocol.no_reference(source, some)
        rows += protocol.novelty(source, some)
        rows += protocol.diversity(source, videos)
        if source == "heldout":
            rows += protocol.paired(source, some)
    return rows


def _real(store: FrameStore, splits: pd.DataFrame, fold: int, part: str) -> Videos:
    clips = fold_clips(store, splits, fold, part)
    return Videos(store.clip_frames(clips), clips["patient_id"].to_numpy(), clips)


class _Protocol:
    """What the rows of one generator share."""

    def __init__(
        self,
        section: QualitySettings,
        fold: int,
        generator: str,
        references: dict[str, Videos],
        test: Videos,
        seed: int,
        weights_dir: Path,
        domain_network: Path,
    ):
        self.section, self.fold, self.generator, self.seed = section, fold, generator, seed
        self.references, self.test, self.weights_dir = references, test, weights_dir
        self.domain_name, self.domain, self.domain_accuracy = domain_videos(domain_network)
        self._cache: dict[tuple[str, str], np.ndarray] = {}

    def _row(self, source: str, metric: str, features: str, reference: str, numbers: tuple, n: tuple, reason: str = ""):
        value, low, high = (None if x is None or not math.isfinite(x) else float(x) for x in numbers)
        if value is None and not reason:
            reason = "not a finite number"
        row = {
            "fold": self.fold,
            "generator": self.generator,
            "source": source,
            "metric": metric,
            "features": features,
            "reference": reference,
            "value": value,
            "ci_low": low,
            "ci_high": high,
            "n_real": n[0],
            "n_synthetic": n[1],
            "better": "higher" if metric in HIGHER else "lower",
        }
        return row | ({"reason": reason} if value is None else {})

    def _absent(self, source: str, metrics: tuple[str, ...], reason: str) -> list[dict[str, Any]]:
        logger.info("absent: %s: %s", ", ".join(metrics), reason)
        return [self._row(source, metric, "", "", (None, None, None), (0, 0), reason) for metric in metrics]

    def _reference_features(self, reference: str, name: str, extract: Extractor) -> np.ndarray:
        if (reference, name) not in self._cache:
            self._cache[reference, name] = extract(self.references[reference].clips)
        return self._cache[reference, name]

    def distances(self, source: str, videos: Videos, references: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        """Distances of distributions: in features of videos and of frames, and of how things move."""
        length = videos.clips.shape[1] - 1
        accuracy = f"pretext accuracy {self.domain_accuracy['accuracy']:.2f}"
        domain = (f"{self.domain_name} ({accuracy})", self.domain)
        networks: list[tuple[tuple[str, ...], int, Callable[[], tuple[str, Extractor]]]] = [
            (("frechet_video", "kernel_video"), 1, lambda: domain),
            (("frechet_frame",), FRAMES_OF_A_CLIP, efficientnet_frames),
            (("fvd", "kvd"), 1, lambda: i3d_videos(self.weights_dir, "i3d_kinetics400", length)),
            (("dt_fvd",), 1, lambda: i3d_videos(self.weights_dir, "i3d_dtdb", length)),
            (("fid", "kid"), FRAMES_OF_A_CLIP, lambda: inception_frames(self.weights_dir)),
        ]
        for metrics, rows_of_a_video, make in networks:
            try:
                name, extract = make()
            except WeightsAbsent as error:
                yield from self._absent(source, metrics, str(error))
                continue
            theirs = extract(videos.clips)
            label = name if rows_of_a_video == 1 else f"{name}, {rows_of_a_video} frames a video"
            for reference in references:
                ours = self._reference_features(reference, name, extract)
                patients = (self.references[reference].patients, videos.patients)
                groups = tuple(np.repeat(p, rows_of_a_video) for p in patients)
                resamples = self.section.bootstrap
                if ours.shape[1] > WIDE:
                    resamples = min(resamples, WIDE_RESAMPLES)
                for metric in metrics:
                    distance = kernel_distance if metric in ("kernel_video", "kvd", "kid") else frechet
                    numbers = distance_interval(distance, ours, theirs, groups, resamples, self.seed)
                    n = (len(self.references[reference]), len(videos))
                    yield self._row(source, metric, label, reference, numbers, n)
        for metric, measure in motion.MEASURES.items():
            theirs = measure(videos.clips)[:, None]
            for reference in references:
                ours = self._reference_features(reference, metric, lambda clips, m=measure: m(clips)[:, None])
                groups = (self.references[reference].patients, videos.patients)
                numbers = distance_interval(wasserstein, ours, theirs, groups, self.section.bootstrap, self.seed)
                n = (len(ours), len(theirs))
                yield self._row(source, metric, "wasserstein-1", reference, numbers, n)

    def no_reference(self, source: str, videos: Videos) -> Iterator[dict[str, Any]]:
        """Quality measures that see the synthetic videos only."""
        slow = videos.at_most(self.section.max_slow, self.seed)
        measures = (
            ("piqe", "pyiqa", videos, no_reference.piqe),
            ("brisque", "pyiqa", videos, lambda clips: no_reference.brisque(self.weights_dir, clips)),
            ("niqe", "scikit-video", slow, no_reference.niqe),
            ("viideo", "scikit-video", slow, no_reference.viideo),
        )
        for metric, features, some, measure in measures:
            try:
                yield self._mean(source, metric, features, "", measure(some.clips), some.patients, 0)
            except WeightsAbsent as error:
                yield from self._absent(source, (metric,), str(error))

    def paired(self, source: str, videos: Videos) -> Iterator[dict[str, Any]]:
        """Measures against the real video with the same first frame."""
        positions = pd.Index(self.test.manifest["clip_id"]).get_indexer(videos.manifest["clip_id"])
        if (positions < 0).any():
            raise LddmError(
                f"{self.generator}: synthetic videos of clips that are not test clips of fold {self.fold}",
                "run the rule synthesize again for this fold",
            )
        real = self.test.take(positions)
        measures: tuple[tuple[str, str, Callable[[], paired.Measure]], ...] = (
            ("l1", "pixels", lambda: paired.l1),
            ("ssim", "pixels", lambda: paired.ssim),
            ("psnr", "pixels", lambda: paired.psnr),
            ("strain_error", "optical flow", lambda: paired.strain_error),
            ("perceptual", "efficientnet_lite0", paired.perceptual),
            ("lpips_vgg", "vgg16", lambda: paired.lpips(self.weights_dir, "vgg")),
            ("lpips_alex", "alexnet", lambda: paired.lpips(self.weights_dir, "alex")),
        )
        for metric, features, make in measures:
            try:
                values = make()(real.clips, videos.clips)
            except WeightsAbsent as error:
                yield from self._absent(source, (metric,), str(error))
                continue
            yield self._mean(source, metric, features, "same x0", values, videos.patients, len(real))
        slow = np.arange(min(self.section.max_slow, len(videos)))
        values = no_reference.strred(real.clips[slow], videos.clips[slow])
        yield self._mean(source, "strred", "scikit-video", "same x0", values, videos.patients[slow], len(slow))

    def novelty(self, source: str, videos: Videos) -> Iterator[dict[str, Any]]:
        """Share of synthetic videos that lie nearer to a training video than nearly all held-out real ones do."""
        spaces = ((self.domain_name, self.domain), ("thumbnails", novelty.thumbnails))
        for name, extract in spaces:
            key = f"novelty {name}"
            held_out, train = (self._reference_features(part, key, extract) for part in ("heldout", "train"))
            flags = novelty.copies(extract(videos.clips), held_out, train, self.section.copy_threshold)
            yield self._mean(source, "copy_rate", name, "train", flags.astype(float), videos.patients, len(train))

    def diversity(self, source: str, videos: Videos) -> Iterator[dict[str, Any]]:
        """How far apart the samples of one first frame are."""
        values, patients = novelty.diversity(videos.clips, videos.manifest)
        if len(values) == 0:
            yield from self._absent(source, ("diversity",), "one sample for each first frame")
            return
        yield self._mean(source, "diversity", "pixels", "", values, patients, 0)

    def _mean(self, source: str, metric: str, features: str, reference: str, values, patients, n_real: int):
        finite = np.isfinite(values)
        if not finite.any():
            return self._row(source, metric, features, reference, (None, None, None), (n_real, 0), "no finite value")
        numbers = mean_interval(values[finite], patients[finite], self.section.bootstrap, self.seed)
        return self._row(source, metric, features, reference, numbers, (n_real, int(finite.sum())))
