"""The protocol: how the videos of one generator become rows of quality.csv, one row a number.

References: `heldout`, the real test clips; `train`, the real training clips, which reveal overfitting when they are much
nearer. Beside each distance stands its floor: the distance of real training clips to the same reference, with as many
clips as the generator has. x0 is given to a generator and counts nowhere but where a row says so.
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

from lddm.errors import LddmError
from lddm.metrics import motion, no_reference, novelty, paired
from lddm.metrics.cache import FeatureCache
from lddm.metrics.catalogue import INFINITY, about
from lddm.metrics.distances import distance_interval, extrapolated, frechet, kernel_distance, mean_interval
from lddm.metrics.features import FeatureNetwork, efficientnet_frames, i3d_videos, inception_frames
from lddm.metrics.gaussian import Gaussian, frechet_of
from lddm.metrics.weights import WeightsAbsent, find, label
from lddm.settings.evaluation import QualitySettings

logger = logging.getLogger(__name__)

# A bootstrap of a thousand numbers a frame takes minutes; for a standard deviation a dozen draws must do.
WIDE, WIDE_RESAMPLES = 512, 12


@dataclass(frozen=True)
class Videos:
    """Clips uint8 (n, T + 1, S, S) and the patient of each, and the table they come from."""

    clips: np.ndarray
    patients: np.ndarray
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.clips)

    def take(self, index: np.ndarray) -> Videos:
        """Some of them."""
        return Videos(self.clips[index], self.patients[index], self.table.iloc[index].reset_index(drop=True))

    def at_most(self, count: int, seed: int) -> Videos:
        """A random subset, in its old order."""
        if len(self) <= count:
            return self
        return self.take(np.sort(np.random.default_rng(seed).permutation(len(self))[:count]))


@dataclass(frozen=True)
class Protocol:
    """What the rows of one generator share.

    Attributes:
        real: the real clips of train and test, all of them.
        references: the real clips that synthetic ones are compared with, by name.
        domain: network of the domain, and its pretext accuracy.
        where: frames, frame rate, size and seeds, for the column `protocol`.
    """

    section: QualitySettings
    fold: int
    generator: str
    real: dict[str, Videos]
    references: dict[str, Videos]
    domain: tuple[FeatureNetwork, float]
    weights_dir: Path
    cache: FeatureCache
    seed: int
    where: str

    def distances(self, source: str, videos: Videos, references: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        """Distances of distributions: in features of videos and of frames, and of how things move."""
        length = videos.clips.shape[1] - 1
        domain, accuracy = self.domain
        networks: list[tuple[tuple[str, ...], str, Callable[[], FeatureNetwork]]] = [
            (("frechet_video", "kernel_video"), f" (pretext accuracy {accuracy:.2f})", lambda: domain),
            (("frechet_frame",), "", efficientnet_frames),
            (("fvd", "kvd"), "", lambda: i3d_videos(self.weights_dir, "i3d_kinetics400", length)),
            (("dt_fvd",), "", lambda: i3d_videos(self.weights_dir, "i3d_dtdb", length)),
            (("fid", "kid"), "", lambda: inception_frames(self.weights_dir)),
        ]
        for metrics, remark, make in networks:
            try:
                network = make()
            except WeightsAbsent as error:
                yield from self._absent(source, metrics, str(error))
                continue
            for reference in references:
                yield from self.network_rows(source, videos, reference, metrics, network, network.label + remark)
                # A generator is given x0, so videos with it look better than they are; some papers count it.
                if reference == "heldout" and network.rows == 1:
                    also = (network.with_x0(), network.label + remark, ", x0 included")
                    yield from self.network_rows(source, videos, reference, metrics[:1], *also)
        for metric, measure in motion.MEASURES.items():
            network = FeatureNetwork(measure.read.__name__, measure.read)
            for reference in references:
                yield self._distance_row(
                    source, metric, measure.name, reference, videos, network, measure.distance, measure.after
                )

    def network_rows(
        self,
        source: str,
        videos: Videos,
        reference: str,
        metrics: tuple[str, ...],
        network: FeatureNetwork,
        label: str,
        remark: str = "",
    ) -> Iterator[dict[str, Any]]:
        """Distances in the features of one network; `remark` is added to the name of the reference.

        Without resamples statistics are streamed and nothing is extrapolated, which takes all features at once.
        """
        for metric in metrics:
            distance = kernel_distance if metric in ("kernel_video", "kvd", "kid") else frechet
            row = self._distance_row(source, metric, label, reference, videos, network, distance)
            yield row | {"reference": reference + remark}
            if distance is not frechet or self.section.bootstrap < 2:
                continue
            theirs = self.cache.features(network, videos.clips)
            ours = self.cache.features(network, self.references[reference].clips)
            if min(len(ours), len(theirs)) >= 2 * ours.shape[1]:
                value = extrapolated(frechet, ours, theirs, self.seed)
                n = (len(self.references[reference]), len(videos))
                numbers = (value, math.nan, math.nan)
                yield self._row(source, metric + INFINITY, label, reference + remark, numbers, n)

    def _distance_row(
        self,
        source: str,
        metric: str,
        label: str,
        reference: str,
        videos: Videos,
        network: FeatureNetwork,
        distance: Callable[[np.ndarray, np.ndarray], float],
        after: Callable[[np.ndarray], np.ndarray] = lambda numbers: numbers,
    ) -> dict[str, Any]:
        real = self.references[reference]
        n = (len(real), len(videos))
        if self.section.bootstrap < 2 and distance is frechet:  # nothing to redraw: one pass over the videos
            value = frechet_of(*(Gaussian.of(network.in_parts(v.clips)) for v in (real, videos)))
            return self._row(source, metric, label, reference, (value, math.nan, math.nan), n)
        ours, theirs = (after(self.cache.features(network, v.clips)) for v in (real, videos))
        groups = [np.repeat(v.patients, network.rows) for v in (real, videos)]
        resamples = min(self.section.bootstrap, WIDE_RESAMPLES) if ours.shape[1] > WIDE else self.section.bootstrap
        numbers = distance_interval(distance, ours, theirs, groups, resamples, self.seed)
        row = self._row(source, metric, label, reference, numbers, n)
        if reference != "heldout":
            return row
        others = self.real["train"].at_most(len(videos), self.seed)
        if len(others) < len(videos):  # the bias of a finite n is then that of another n
            row["protocol"] += f", floor of {len(others)} videos"
        return row | {"floor": distance(ours, after(self.cache.features(network, others.clips)))}

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
                values = measure(some.clips)
                if metric == "brisque":  # its file is not pinned
                    features += f", {label('brisque', find('brisque', self.weights_dir))}"
                yield self._mean(source, metric, features, "", values, some.patients, 0)
            except WeightsAbsent as error:
                yield from self._absent(source, (metric,), str(error))

    def paired(self, source: str, videos: Videos) -> Iterator[dict[str, Any]]:
        """Measures against the real video with the same first frame: of each sample, and of the best one of an x0."""
        test = self.real["test"]
        positions = pd.Index(test.table["clip_id"]).get_indexer(videos.table["clip_id"])
        if (positions < 0).any():
            raise LddmError(
                f"{self.generator}: synthetic videos of clips that are not test clips of fold {self.fold}",
                "run the rule synthesize again for this fold",
            )
        real = test.take(positions)
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
            yield from self._best(source, metric, features, values, videos)
        slow = np.sort(np.random.default_rng(self.seed).permutation(len(videos))[: self.section.max_slow])
        try:
            values = no_reference.strred(real.clips[slow], videos.clips[slow])
            yield self._mean(source, "strred", "scikit-video", "same x0", values, videos.patients[slow], len(slow))
        except WeightsAbsent as error:
            yield from self._absent(source, ("strred",), str(error))

    def _best(self, source: str, metric: str, features: str, values: np.ndarray, videos: Videos):
        """Best of the samples of each x0: how near the truth the generator can come, not how near it mostly is.

        First frames that lost a sample to `max_videos` are left out: the best of fewer is worse.
        """
        of_clip = pd.Series(values).groupby(videos.table["clip_id"].to_numpy())
        counts = of_clip.size()
        samples = int(counts.max())
        if samples < 2:
            return
        best = (of_clip.max() if about(metric).higher else of_clip.min())[counts == samples]
        patients = videos.table.drop_duplicates("clip_id").set_index("clip_id").loc[best.index, "patient_id"]
        reference = f"same x0, best of {samples}"
        yield self._mean(source, metric, features, reference, best.to_numpy(), patients.to_numpy(), len(best))

    def novelty(self, source: str, videos: Videos) -> tuple[list[dict[str, Any]], pd.DataFrame]:
        """Share of videos that lie nearer to a training video than nearly all held-out real ones do, and which.

        Generators are trained on mirrored clips too, so each training video stands there both ways.
        """
        rows, tables, train = [], [], self.real["train"]
        mirrored = np.ascontiguousarray(train.clips[..., ::-1])
        for network in (self.domain[0], novelty.THUMBNAILS):
            pool = np.concatenate([self.cache.features(network, clips) for clips in (train.clips, mirrored)])
            synthetic, held_out = (self.cache.features(network, v.clips) for v in (videos, self.real["test"]))
            found = novelty.copies(synthetic, held_out, pool, self.section.copy_threshold)
            flags = found["copied"].to_numpy(dtype=float)
            rows.append(self._mean(source, "copy_rate", network.name, "train", flags, videos.patients, len(train)))
            nearest = train.table["clip_id"].to_numpy()[found["nearest"] % len(train)]
            tables.append(
                pd.DataFrame({"sample_id": videos.table["sample_id"], "source": source, "features": network.name})
                .assign(nearest=nearest)
                .join(found.drop(columns="nearest"))
            )
        return rows, pd.concat(tables, ignore_index=True)

    def diversity(self, source: str, videos: Videos) -> Iterator[dict[str, Any]]:
        """How far apart the samples of one first frame are."""
        values, patients = novelty.diversity(videos.clips, videos.table)
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

    def _absent(self, source: str, metrics: tuple[str, ...], reason: str) -> list[dict[str, Any]]:
        logger.info("absent: %s: %s", ", ".join(metrics), reason)
        return [self._row(source, metric, "", "", (None, None, None), (0, 0), reason) for metric in metrics]

    def _row(
        self,
        source: str,
        metric: str,
        features: str,
        reference: str,
        numbers: tuple,
        n: tuple[int, int],
        reason: str = "",
    ) -> dict[str, Any]:
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
            "better": "higher" if about(metric).higher else "lower",
            "floor": None,
            "sees_motion": about(metric).sees_motion,
            "protocol": self.where,
        }
        return row | ({"reason": reason} if value is None else {})
