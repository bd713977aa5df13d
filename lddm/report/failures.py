"""Failures of LDDM, selected by fixed rules: most abrupt motion, least motion, largest error, closest to a training clip."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lddm.report.results import Results
from lddm.report.strips import NEAREST, Row

GENERATOR = "lddm"


def failures(found: Results) -> list[tuple[str, Row]]:
    """One video per rule, from the held-out first frames of the first fold; none without LDDM videos.

    The rules: the largest change between two frames; the smallest mean change; the largest L1 to the real video; the
    smallest ratio of the distance to a training clip and the copy threshold.
    """
    folds = found.folds()
    videos = found.synthetic(folds[0], "heldout").get(GENERATOR) if folds else None
    if videos is None:
        return []
    clips, manifest = videos
    change = np.stack([np.abs(np.diff(clip.astype(np.float32), axis=0)).mean(axis=(1, 2)) / 255 for clip in clips])
    real = found.real_clips(manifest["clip_id"].tolist())
    apart = np.array([np.abs(a[1:].astype(np.float32) - b[1:]).mean() / 255 for a, b in zip(clips, real, strict=True)])
    abrupt, still, far = int(change.max(axis=1).argmax()), int(change.mean(axis=1).argmin()), int(apart.argmax())
    rows = [
        (f"most abrupt: {change[abrupt].max():.1%} of the grey range in one step", _row(found, videos, abrupt)),
        (f"stillest: {change[still].mean():.1%} of the grey range per step", _row(found, videos, still)),
        (f"largest L1 to the real video: {apart[far]:.3f}, median {np.median(apart):.3f}", _row(found, videos, far)),
    ]
    copies = found.copies(folds[0], GENERATOR)
    if copies is not None and (mine := _least_original(copies, manifest)):
        place, nearest, share = mine
        row = _row(found, videos, place) | {NEAREST: found.real_clip(nearest)}
        verdict = "counts as a copy" if share < 1 else "is not a copy"
        rows.append((f"nearest to a training clip: {share:.2f} of the threshold, {verdict}", row))
    return rows


def flagged(found: Results) -> tuple[pd.DataFrame, int]:
    """LDDM videos that count as copies, nearest first, and the number of videos searched.

    Columns: fold, source, sample_id, features, nearest (training clip), share (distance / threshold, < 1).
    """
    tables = [(fold, found.copies(fold, GENERATOR)) for fold in found.folds()]
    searched = [table.assign(fold=fold) for fold, table in tables if table is not None]
    columns = ["fold", "source", "sample_id", "features", "nearest", "share"]
    if not searched:
        return pd.DataFrame(columns=columns), 0
    table = pd.concat(searched, ignore_index=True)
    table["share"] = table["distance"] / table["threshold"]
    copies = table[table["copied"]]
    return copies.sort_values("share", kind="stable")[columns], len(
        table.drop_duplicates(["fold", "source", "sample_id"])
    )


def _row(found: Results, videos: tuple[np.ndarray, pd.DataFrame], place: int) -> Row:
    clips, manifest = videos
    return {"real": found.real_clip(manifest["clip_id"].iloc[place]), GENERATOR: clips[place]}


def _least_original(copies: pd.DataFrame, manifest: pd.DataFrame) -> tuple[int, str, float] | None:
    mine = copies[copies["source"] == "heldout"]
    if mine.empty:
        return None
    share = mine["distance"] / mine["threshold"]
    least = mine.loc[share.idxmin()]
    place = int(np.flatnonzero((manifest["sample_id"] == least["sample_id"]).to_numpy())[0])
    return place, least["nearest"], float(share.min())
