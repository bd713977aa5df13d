"""sweep.csv: the ablation at other numbers of real videos and other shares of synthetic videos."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from lddm.classification.comparisons import comparison_columns
from lddm.classification.table import COLUMNS as SCORED
from lddm.classification.table import evaluate
from lddm.settings.evaluation import ClassificationSettings

POINT = ["real_videos", "synthetic_share"]


def sweep_tables(
    files: Iterable[Path], section: ClassificationSettings, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables of scores and of comparisons for all points of the sweep; empty without a sweep.

    Args:
        files: .../<point>/seed-<s>.json; points are named videos-<n>_share-<s>, where n = 0 means all videos.
    """
    points: dict[str, list[Path]] = {}
    for path in files:
        points.setdefault(path.parent.name, []).append(path)
    scored, compared = [], []
    for name, members in points.items():
        videos, share = (part.split("-", 1)[1] for part in name.split("_"))
        point = dict(zip(POINT, (int(videos), float(share)), strict=True))
        table, tests = evaluate(members, section, seed)
        scored.append(table.assign(**point))
        compared.append(tests.assign(**point))
    return _joined(scored, SCORED), _joined(compared, comparison_columns())


def _joined(tables: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    if not tables:
        return pd.DataFrame(columns=POINT + columns)
    joined = pd.concat(tables, ignore_index=True)
    joined = joined[POINT + [column for column in joined if column not in POINT]]
    return joined.sort_values(POINT, kind="stable", ignore_index=True)
