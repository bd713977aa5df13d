"""Evaluation protocol: computes the rows of quality.csv, one per value, from the videos of one generator.

References: `heldout`, real clips of test patients other than those whose first frames were animated (halves of the test
patients, averaged over a few fixed divisions); `heldout, same x0`, the real clips with the same first frames, which share
patients with the videos, so that distances are too small; `train`, the real training clips, to detect overfitting. The column
`floor` has the real-vs-real value of each distance to `heldout`, for the same halves. x0, which is given to the generator, is
excluded unless the row states otherwise.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lddm.data.cache import ArrayCache
from lddm.errors import LddmError
from lddm.metrics import motion, no_reference, novelty, paired
from lddm.metrics.catalogue import INFINITY, about
from lddm.metrics.distances import UNBIASED, extrapolated, frechet
from lddm.metrics.features import FeatureNetwork
from lddm.metrics.neighbours import SHARES
from lddm.metrics.network_metrics import Distance, network_metrics
from lddm.metrics.videos import Pair, Videos, best_of_samples, pairs_of_other_patients
from lddm.metrics.weights import WeightsAbsent, find, label
from lddm.settings.evaluation import QualitySettings
from lddm.statistics.jackknife import interval, jackknife_groups, leave_out
from lddm.statistics.resampling import mean_interval

logger = logging.getLogger(__name__)

SAME_X0 = "heldout, same x0"


@dataclass(frozen=True)
class Protocol:
    """Data and settings common to all rows of one generator.

    Attributes:
        real: all real clips of train and test.
        references: real clips for comparison with synthetic ones, by name.
        domain: domain network and its pretext accuracy.
        where: frames, frame rate, size and seeds, for the column `protocol`.
    """

    section: QualitySettings
    fold: int
    generator: str
    real: dict[str, Videos]
    references: dict[str, Videos]
    domain: tuple[FeatureNetwork, float]
    weights_dir: Path
    cache: ArrayCache
    seed: int
    where: str

    def distances(self, source: str, videos: Videos, references: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        """Distances between distributions of video features, of frame features and of motion statistics."""
        for each in network_metrics(*self.domain, self.weights_dir, videos.clips.shape[1] - 1):
            try:
                network = each.make()
            except WeightsAbsent as error:
                yield from self.absent(source, tuple(each.distances), str(error))
                continue
            some, of = self.fewer(videos) if each.slow else (videos, self)
            label = network.label + each.remark
            for reference in references:
                yield from of.network_rows(source, some, reference, each.distances, network, label)
                # x0 is given, so including it lowers the distance; some papers include it.
                if reference == "heldout" and network.rows == 1 and not each.slow:
                    first, with_x0 = dict([*each.distances.items()][:1]), network.with_x0()
                    yield from self.network_rows(source, videos, reference, first, with_x0, label, ", x0 included")
        for metric, measure in motion.MEASURES.items():
            network = FeatureNetwork(measure.read.__name__, measure.read)
            for reference in references:
                yield self._distance_row(
                    source, metric, measure.name, reference, videos, network, measure.distance, measure.after
                )

    def fewer(self, videos: Videos) -> tuple[Videos, Protocol]:
        """At most `quality.max_videos_pretrained` of the videos and of each reference; the same subset for all generators."""
        most = self.section.max_videos_pretrained
        references = {name: real.at_most(most, self.seed) for name, real in self.references.items()}
        return videos.at_most(most, self.seed), replace(self, references=references)

    def network_rows(
        self,
        source: str,
        videos: Videos,
        reference: str,
        distances: dict[str, Distance],
        network: FeatureNetwork,
        label: str,
        remark: str = "",
    ) -> Iterator[dict[str, Any]]:
        """Distances in the feature space of one network; `remark` is appended to the reference."""
        for metric, distance in distances.items():
            row = self._distance_row(source, metric, label, reference, videos, network, distance)
            yield row | {"reference": reference + remark}
            if distance is not frechet or row["value"] is None:
                continue
            ours, theirs = (self._features(network, v) for v in (self._reference(reference), videos))
            pairs = self.pairs(videos, reference)
            if all(min(len(i), len(j)) * network.rows >= 2 * ours.shape[-1] for i, j in pairs):
                values = [extrapolated(frechet, _flat(ours[i]), _flat(theirs[j]), self.seed) for i, j in pairs]
                numbers = (float(np.mean(values)), math.nan, math.nan)
                yield self.row(
                    source, metric + INFINITY, label, reference + remark, numbers, (row["n_real"], row["n_synthetic"])
                )

    def _reference(self, reference: str) -> Videos:
        return self.references["heldout" if reference == SAME_X0 else reference]

    def _features(
        self, network: FeatureNetwork, videos: Videos, after: Callable = lambda numbers: numbers
    ) -> np.ndarray:
        """Features (n, rows, d)."""
        return after(network.features(videos.clips, self.cache)).reshape(len(videos), network.rows, -1)

    def pairs(self, videos: Videos, reference: str) -> list[Pair]:
        """Pairs of index sets (clips of the reference, videos); the distance is the mean over these pairs.

        For `heldout`, sets of different patients (`pairs_of_other_patients`); otherwise both complete sets.
        """
        real = self._reference(reference)
        if reference == "heldout":
            return pairs_of_other_patients(real, videos, self.seed)
        return [(np.arange(len(real)), np.arange(len(videos)))]

    def _distance_row(
        self,
        source: str,
        metric: str,
        label: str,
        reference: str,
        videos: Videos,
        network: FeatureNetwork,
        distance: Distance,
        after: Callable[[np.ndarray], np.ndarray] = lambda numbers: numbers,
    ) -> dict[str, Any]:
        real, pairs = self._reference(reference), self.pairs(videos, reference)
        n = (len(pairs[0][0]), len(pairs[0][1]))
        if min(min(len(i), len(j)) for i, j in pairs) < 2:
            reason = f"expected at least two videos on each side of '{reference}', got {min(n)}"
            return self.row(source, metric, label, reference, (None, None, None), n, reason)
        ours, theirs = (self._features(network, v, after) for v in (real, videos))

        def mean(features: np.ndarray, pairs: list[Pair], keep_real: np.ndarray, keep: np.ndarray) -> float:
            kept = [(i[keep_real[i]], j[keep[j]]) for i, j in pairs]
            return float(np.mean([distance(_flat(ours[i]), _flat(features[j])) for i, j in kept]))

        everyone = np.ones(len(real), dtype=bool), np.ones(len(videos), dtype=bool)
        value = mean(theirs, pairs, *everyone)
        groups = (self.groups(v.patients) for v in (real, videos))
        without = leave_out(lambda *keep: mean(theirs, pairs, *keep), *groups)
        least = -math.inf if distance in UNBIASED else 0.0
        most = 1.0 if distance in SHARES else math.inf
        row = self.row(source, metric, label, reference, interval(value, without, least, most), n)
        if reference == "heldout":
            row["floor"] = mean(ours, self.pairs(real, reference), everyone[0], everyone[0])
        return row | {"replicates": _finite(without)}

    def groups(self, patients: np.ndarray) -> np.ndarray:
        """Jackknife group of each video; a test patient has the same group in the scores of all generators."""
        known = jackknife_groups(self.real["test"].patients, self.seed)
        others = np.setdiff1d(np.asarray(patients, dtype=str), list(known))
        known |= jackknife_groups(others, self.seed) if len(others) else {}
        return np.array([known[str(patient)] for patient in patients])

    def no_reference(self, source: str, videos: Videos) -> Iterator[dict[str, Any]]:
        """No-reference quality metrics of the synthetic videos."""
        slow = videos.at_most(self.section.max_videos_expensive, self.seed)
        measures = (
            ("piqe", "pyiqa", videos, no_reference.piqe),
            ("brisque", "pyiqa", videos, lambda clips: no_reference.brisque(self.weights_dir, clips)),
            ("niqe", "scikit-video", slow, no_reference.niqe),
            ("viideo", "scikit-video", slow, no_reference.viideo),
        )
        for metric, features, some, measure in measures:
            try:
                values = measure(some.clips)
                if metric == "brisque":  # its file has no pinned checksum
                    features += f", {label('brisque', find('brisque', self.weights_dir))}"
                yield self.mean(source, metric, features, "", values, some.patients, 0)
            except WeightsAbsent as error:
                yield from self.absent(source, (metric,), str(error))

    def paired(self, source: str, videos: Videos) -> Iterator[dict[str, Any]]:
        """Metrics relative to the real video with the same first frame: of each sample, and of the best sample per x0."""
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
            ("strain_error", "optical flow", lambda: paired.strain_error_from(self.cache)),
            ("perceptual", "efficientnet_lite0", paired.perceptual),
            ("tssim", "pixels", lambda: paired.tssim_from(self.cache)),
            ("lpips_vgg", "vgg16", lambda: paired.lpips(self.weights_dir, "vgg")),
            ("lpips_alex", "alexnet", lambda: paired.lpips(self.weights_dir, "alex")),
            ("dists", "vgg16", lambda: paired.dists(self.weights_dir)),
            ("tlpips", "alexnet", lambda: paired.tlpips(self.weights_dir)),
        )
        for metric, features, make in measures:
            try:
                values = make()(real.clips, videos.clips)
            except WeightsAbsent as error:
                yield from self.absent(source, (metric,), str(error))
                continue
            yield self.mean(source, metric, features, "same x0", values, videos.patients, len(real))
            samples, best, patients = best_of_samples(values, videos, about(metric).higher)
            if samples > 1:
                reference = f"same x0, best of {samples}"
                yield self.mean(source, metric, features, reference, best, patients, len(best))
        slow = np.sort(np.random.default_rng(self.seed).permutation(len(videos))[: self.section.max_videos_expensive])
        try:
            values = no_reference.strred(real.clips[slow], videos.clips[slow])
            yield self.mean(source, "strred", "scikit-video", "same x0", values, videos.patients[slow], len(slow))
        except WeightsAbsent as error:
            yield from self.absent(source, ("strred",), str(error))

    def diversity(self, source: str, videos: Videos) -> Iterator[dict[str, Any]]:
        """Mean difference between the samples of one first frame."""
        values, patients = novelty.diversity(videos.clips, videos.table)
        if len(values) == 0:
            yield from self.absent(source, ("diversity",), "one sample for each first frame")
            return
        yield self.mean(source, "diversity", "pixels", "", values, patients, 0)

    def mean(self, source: str, metric: str, features: str, reference: str, values, patients, n_real: int):
        """Row with the mean over videos; non-finite values are excluded."""
        finite = np.isfinite(values)
        if not finite.any():
            return self.row(source, metric, features, reference, (None, None, None), (n_real, 0), "no finite value")
        values, groups = values[finite], self.groups(patients[finite])
        numbers = mean_interval(values, patients[finite], self.section.bootstrap, self.seed)
        apart = [groups != group for group in np.unique(groups)]
        without = [values[kept].mean() if kept.any() else math.nan for kept in apart]
        row = self.row(source, metric, features, reference, numbers, (n_real, int(finite.sum())))
        return row | {"replicates": _finite(np.array(without))}

    def absent(self, source: str, metrics: tuple[str, ...], reason: str) -> list[dict[str, Any]]:
        """Rows without a value, with the reason."""
        logger.info("absent: %s: %s", ", ".join(metrics), reason)
        return [self.row(source, metric, "", "", (None, None, None), (0, 0), reason) for metric in metrics]

    def row(
        self,
        source: str,
        metric: str,
        features: str,
        reference: str,
        numbers: tuple,
        n: tuple[int, int],
        reason: str = "",
    ) -> dict[str, Any]:
        """One row of quality.csv; numbers: value and interval limits; n: numbers of real and synthetic videos."""
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


def _flat(features: np.ndarray) -> np.ndarray:
    """(n, rows, d) -> (n * rows, d)."""
    return features.reshape(-1, features.shape[-1])


def _finite(replicates: np.ndarray) -> list[float]:
    """Replicates as a list for JSON; empty if any is not finite."""
    return replicates.tolist() if np.isfinite(replicates).all() else []
