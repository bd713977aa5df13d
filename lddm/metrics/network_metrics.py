"""Registry of the feature networks and the distances computed in their features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lddm.metrics.distances import frechet, jedi, jedi_unbiased, kernel_distance
from lddm.metrics.features import FeatureNetwork, efficientnet_frames, inception_frames
from lddm.metrics.neighbours import coverage, density, precision, recall, retrieval
from lddm.metrics.video_networks import exported, kinetics_i3d

Distance = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class NetworkMetrics:
    """Metrics computed in the features of one network.

    Attributes:
        distances: metric -> distance of two sets of features, (n1, d), (n2, d) -> number.
        make: loads the network; raises WeightsAbsent.
        remark: suffix of the name of the network in the tables.
        slow: whether it takes seconds per video, so that `quality.max_videos_pretrained` applies.
    """

    distances: dict[str, Distance]
    make: Callable[[], FeatureNetwork]
    remark: str = ""
    slow: bool = False


def network_metrics(domain: FeatureNetwork, accuracy: float, weights_dir: Path, length: int) -> list[NetworkMetrics]:
    """Metrics of all networks, in the order of the tables.

    Args:
        domain: domain network.
        accuracy: its pretext accuracy.
        length: number of frames after x0.
    """
    return [
        NetworkMetrics(
            {"frechet_video": frechet, "kernel_video": kernel_distance}
            | {measure.__name__: measure for measure in (precision, recall, density, coverage, retrieval)},
            lambda: domain,
            f" (pretext accuracy {accuracy:.2f})",
        ),
        NetworkMetrics({"frechet_frame": frechet}, efficientnet_frames),
        NetworkMetrics({"fvd": frechet, "kvd": kernel_distance}, lambda: kinetics_i3d(weights_dir, length), slow=True),
        NetworkMetrics({"dt_fvd": frechet}, lambda: exported(weights_dir, "i3d_dtdb", length), slow=True),
        NetworkMetrics({"cd_fvd": frechet}, lambda: exported(weights_dir, "videomae_ssv2", length), slow=True),
        NetworkMetrics(
            {"jedi": jedi, "jedi_unbiased": jedi_unbiased},
            lambda: exported(weights_dir, "vjepa_ssv2", length),
            slow=True,
        ),
        NetworkMetrics({"fid": frechet, "kid": kernel_distance}, lambda: inception_frames(weights_dir)),
    ]
