"""Catalogue of the metrics: better direction, and sensitivity to motion.

`sees_motion` states whether frozen clips, shuffled frames, doubled speed or the motion of another patient make the metric
worse. `python -m benchmarks.defects` verifies it; docs/results/metrics.md has the table.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """Properties of a metric in quality.csv.

    Attributes:
        higher: whether higher is better.
        sees_motion: whether the metric is sensitive to distorted motion.
    """

    higher: bool = False
    sees_motion: bool = False


CATALOGUE: dict[str, Metric] = {
    "fvd": Metric(sees_motion=True),
    "kvd": Metric(sees_motion=True),
    "dt_fvd": Metric(sees_motion=True),
    "cd_fvd": Metric(),  # not verified here, like the next two: no package contains their weights
    "jedi": Metric(),
    "jedi_unbiased": Metric(),
    "frechet_video": Metric(sees_motion=True),
    "kernel_video": Metric(sees_motion=True),
    "precision": Metric(higher=True, sees_motion=True),
    "recall": Metric(higher=True, sees_motion=True),
    "density": Metric(higher=True, sees_motion=True),
    "coverage": Metric(higher=True, sees_motion=True),
    "retrieval": Metric(higher=True),
    "frechet_frame": Metric(),
    "fid": Metric(),
    "kid": Metric(),
    "flow_magnitude": Metric(sees_motion=True),
    "flow_direction": Metric(),  # invariant to the order of frames and to speed
    "acceleration": Metric(sees_motion=True),
    "temporal_difference": Metric(sees_motion=True),
    "flicker": Metric(sees_motion=True),
    "temporal_spectrum": Metric(sees_motion=True),
    "piqe": Metric(),
    "brisque": Metric(),
    "niqe": Metric(),
    "viideo": Metric(),
    "l1": Metric(),
    "ssim": Metric(higher=True),
    "psnr": Metric(higher=True),
    "perceptual": Metric(),
    "lpips_vgg": Metric(),
    "lpips_alex": Metric(),
    "dists": Metric(),
    "tlpips": Metric(sees_motion=True),
    "tssim": Metric(),  # equally far from a frozen clip and from the motion of another patient
    "strred": Metric(),  # equally far from a frozen clip and from the motion of another patient
    "strain_error": Metric(sees_motion=True),
    "diversity": Metric(higher=True),
    "copy_rate": Metric(),
    "motion_copy_rate": Metric(),
    "nearer_to_train": Metric(),  # 0.5 without memorisation
    "authenticity": Metric(higher=True),
    "data_copying": Metric(higher=True),  # Z: 0 without memory, far below 0 for copies
    "data_copying_relative": Metric(higher=True),
    "membership_auc": Metric(),  # 0.5 without memory
}
INFINITY = "_infinity"  # suffix of a Fréchet distance extrapolated to infinite n


def about(metric: str) -> Metric:
    """Look up a metric."""
    return CATALOGUE[metric.removesuffix(INFINITY)]
