"""Headline scores for comparing experiments in summary.json, in MLflow, and with `lddm compare`."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

# metric, reference
HEADLINE = (
    ("fvd", "heldout"),
    ("dt_fvd", "heldout"),
    ("frechet_video", "heldout"),
    ("frechet_frame", "heldout"),
    ("flow_magnitude", "heldout"),
    ("temporal_difference", "heldout"),
    ("flicker", "heldout"),
    ("l1", "same x0"),
    ("ssim", "same x0"),
    ("diversity", ""),
    ("copy_rate", "train"),
)


def headline_scores(quality: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Metric, generator and rows (one per fold) of each existing score.

    If a metric was computed in several feature spaces, its name includes them, e.g. copy_rate/thumbnails.
    """
    rows = quality[(quality["source"] == "heldout") | (quality["generator"] == "real")]
    for metric, reference in HEADLINE:
        chosen = rows[(rows["metric"] == metric) & (rows["reference"].fillna("") == reference)]
        several = (chosen.groupby(["generator", "fold"])["features"].nunique() > 1).any()
        for features, part in chosen.groupby("features", sort=False) if several else [("", chosen)]:
            name = f"{metric}/{features}" if several else metric
            for generator, scores in part.groupby("generator", sort=False):
                yield name, str(generator), scores
