"""Number of labels used by a classifier, counted from the runs and the splits."""

from __future__ import annotations

from lddm.report.results import Results
from lddm.report.style import span


def label_counts(found: Results) -> str:
    """E.g. "16 training videos + 72 validation videos + 320 labelled stills (regimes with synthetic videos)".

    Validation videos are included because they determine early stopping and the threshold.
    """
    train = sorted({run["n_real_videos"] for run in found.classification_runs() if run["regime"] == "real"})
    splits = found.splits()
    labelled = splits[splits["labelled"] & splits["fold"].isin(found.folds())]
    parts = [f"{', '.join(map(str, train)) or 'no'} training videos"]
    for kind, part, name in (
        ("video", "val", "validation videos"),
        ("image", "train", "labelled stills (regimes with synthetic videos)"),
    ):
        counts = labelled[(labelled["kind"] == kind) & (labelled["split"] == part)].groupby("fold").size()
        parts.append(f"{span(counts) if len(counts) else 'no'} {name}")
    return " + ".join(parts)
