"""What each metric is for: which way is better, and whether it can see motion at all.

`sees_motion` is a claim that `python -m benchmarks.defects` measures: a metric sees motion if a frozen clip, shuffled
frames, doubled speed or another patient's motion make it worse. docs/results/metrics.md has the table.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One kind of number in quality.csv.

    Attributes:
        higher: more is better.
        sees_motion: it tells broken motion from real motion.
    """

    higher: bool = False
    sees_motion: bool = False


CATALOGUE: dict[str, Metric] = {
    "fvd": Metric(sees_motion=True),
    "kvd": Metric(sees_motion=True),
    "dt_fvd": Metric(sees_motion=True),
    "cd_fvd": Metric(),  # not measured here, as the next two: nobody has their weights in a package
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
    "flow_direction": Metric(),  # the same for shuffled frames and for another speed
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
    "tssim": Metric(),  # as far from a frozen clip as from another patient's motion
    "strred": Metric(),  # as far from a frozen clip as from another patient's motion
    "strain_error": Metric(sees_motion=True),
    "diversity": Metric(higher=True),
    "copy_rate": Metric(),
    "motion_copy_rate": Metric(),
    "nearer_to_train": Metric(),  # 0.5 without memory
    "authenticity": Metric(higher=True),
    "data_copying": Metric(higher=True),  # Z: 0 without memory, far below 0 for copies
    "data_copying_relative": Metric(higher=True),
    "membership_auc": Metric(),  # 0.5 without memory
}
INFINITY = "_infinity"  # after the name of a Fréchet distance that is extrapolated to infinite n


def about(metric: str) -> Metric:
    """The entry of a metric."""
    return CATALOGUE[metric.removesuffix(INFINITY)]
