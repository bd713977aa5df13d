"""Scores of a reader study: accuracy with intervals, agreement, and which clips fooled whom."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from lddm.errors import LddmError

ANSWERS = {"study", "reader", "item", "origin", "diagnosis", "quality"}


def read_answers(files: list[Path], key: Path) -> pd.DataFrame:
    """Answers joined with the truth: one row per reader and clip, without unanswered ones.

    Raises:
        LddmError: wrong columns, answers of another study, one reader twice, or no answer at all.
    """
    truth = pd.read_csv(key, dtype={"item": str})
    parts = []
    for path in files:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if not set(table.columns) >= ANSWERS:
            raise LddmError(f"{path}: expected the columns {', '.join(sorted(ANSWERS))}", "export from the page")
        unknown = set(table["item"]) - set(truth["item"])
        if unknown:
            raise LddmError(
                f"{path}: clip {min(unknown)} is not in the key", "use the key that was made with this page"
            )
        parts.append(table[table["origin"] != ""])
    answers = pd.concat(parts, ignore_index=True)
    if answers.empty:
        raise LddmError("no clip was answered", "export after reading")
    twice = answers[answers.duplicated(["reader", "item"])]
    if len(twice):
        raise LddmError(
            f"reader {twice['reader'].iloc[0]} answered a clip twice", "give each reader a name of their own"
        )
    joined = answers.merge(truth, on="item", how="left")
    real = joined["generator"] == "real"
    joined["told"] = (joined["origin"] == "real") == real
    joined["right"] = joined["diagnosis"] == joined["class_name"]
    joined["quality"] = pd.to_numeric(joined["quality"])
    return joined


def score(joined: pd.DataFrame) -> dict[str, Any]:
    """Numbers of a study.

    Returns:
        readers: for each, accuracy of telling real from synthetic and of the diagnosis with 95 % Clopper-Pearson intervals;
        sources: how often clips of each source were called real and diagnosed rightly, with 95 % intervals over clips and
        readers, and their mean quality; agreement: Cohen's kappa of each pair of readers, and Fleiss' kappa of all; fooled:
        synthetic clips called real and real ones called synthetic, by whom.
    """
    readers = {
        reader: {"real or synthetic": _share(part["told"]), "diagnosis": _share(part["right"])}
        for reader, part in joined.groupby("reader", sort=True)
    }
    sources = {
        source: {
            "called real": _pooled_share(part, part["origin"] == "real"),
            "diagnosed rightly": _pooled_share(part, part["right"]),
            "mean quality": round(float(part["quality"].mean()), 2),
        }
        for source, part in joined.groupby("generator", sort=True)
    }
    agreement = {
        f"{one} and {other}": {
            question: _kappa(joined, one, other, question) for question in ("origin", "diagnosis", "quality")
        }
        for one, other in combinations(sorted(joined["reader"].unique()), 2)
    }
    if joined["reader"].nunique() > 2:
        agreement["all readers (Fleiss)"] = {
            question: _fleiss(joined, question) for question in ("origin", "diagnosis")
        }
    wrong = joined[~joined["told"]]
    fooled = [
        {"item": item, "generator": part["generator"].iloc[0], "clip_id": part["clip_id"].iloc[0], "by": sorted(part["reader"])}
        for item, part in wrong.groupby("item", sort=False)
    ]  # fmt: skip
    fooled.sort(key=lambda clip: (-len(clip["by"]), clip["item"]))
    return {"readers": readers, "sources": sources, "agreement": agreement, "fooled": fooled}


def _share(hits: pd.Series) -> dict[str, float]:
    interval = stats.binomtest(int(hits.sum()), len(hits)).proportion_ci()
    return {"value": float(hits.mean()), "low": float(interval.low), "high": float(interval.high), "n": len(hits)}


def _pooled_share(rows: pd.DataFrame, hits: pd.Series) -> dict[str, float]:
    low, high = pooled_interval(hits.to_numpy(), rows["reader"].to_numpy(), rows["item"].to_numpy())
    counts = {"n": len(hits), "clips": rows["item"].nunique(), "readers": rows["reader"].nunique()}
    return {"value": float(hits.mean()), "low": low, "high": high} | counts


def pooled_interval(hits: np.ndarray, readers: np.ndarray, items: np.ndarray) -> tuple[float, float]:
    """95 % interval of a share over several readers and clips, which are both samples of larger populations.

    The variance of the share is that of two crossed samples (Owen 2007, Annals of Applied Statistics 1:386; Cameron et
    al. 2011). It gives the number of independent answers that would know as much, whose exact interval is taken (Korn &
    Graubard 1998, Survey Methodology 24:193), with t for the variance between few readers. Readers who all answer alike
    have the interval of one of them; for a single reader it is that of Clopper and Pearson.

    Args:
        hits: bool (n,), whether each answer counts.
        readers, items: (n,), who gave it to which clip.
    """
    share, n = float(hits.mean()), len(hits)
    apart = hits - share
    by_item, by_reader, by_answer = (_cluster_variance(apart, groups) for groups in (items, readers, np.arange(n)))
    heads, clips = len(np.unique(readers)), len(np.unique(items))
    by_reader *= heads / max(1, heads - 1)
    total = max(by_item + by_reader - by_answer, by_item, by_reader)
    if total == 0:  # all answers are the same, and a clip that was shown to many readers is one clip
        return _exact(share, clips)
    between = total - by_item
    freedom = (heads - 1) * (total / between) ** 2 if between > 1e-12 else np.inf
    shrink = (stats.norm.ppf(0.975) / stats.t.ppf(0.975, freedom)) ** 2
    return _exact(share, min(n, share * (1 - share) / total * shrink))


def _cluster_variance(apart: np.ndarray, groups: np.ndarray) -> float:
    """Variance of a mean of answers that are independent between groups only."""
    _, place = np.unique(groups, return_inverse=True)
    return float(np.square(np.bincount(place, weights=apart)).sum()) / len(apart) ** 2


def _exact(share: float, n: float) -> tuple[float, float]:
    """Clopper-Pearson interval of a share of `n` answers, which need not be a whole number."""
    hits = share * n
    low = float(stats.beta.ppf(0.025, hits, n - hits + 1)) if share > 0 else 0.0
    high = float(stats.beta.ppf(0.975, hits + 1, n - hits)) if share < 1 else 1.0
    return low, high


def _fleiss(joined: pd.DataFrame, question: str) -> float | None:
    """Fleiss' kappa (1971) over the clips that all readers answered; None without one or if the answers never varied."""
    wide = joined.pivot(index="item", columns="reader", values=question).dropna()
    if wide.empty:
        return None
    counts = wide.apply(pd.Series.value_counts, axis=1).fillna(0).to_numpy()
    heads = wide.shape[1]
    agreed = float(((counts**2).sum(axis=1) - heads).mean() / (heads * (heads - 1)))
    expected = float(np.square(counts.mean(axis=0) / heads).sum())
    return None if expected == 1 else round((agreed - expected) / (1 - expected), 3)


def _kappa(joined: pd.DataFrame, one: str, other: str, question: str) -> float | None:
    """Cohen's kappa, weighted for quality; None without a clip that both answered or if both never varied."""
    wide = joined.pivot(index="item", columns="reader", values=question)[[one, other]].dropna()
    if wide.empty or wide.stack().nunique() < 2:
        return None
    weights = "quadratic" if question == "quality" else None
    return round(float(cohen_kappa_score(wide[one], wide[other], weights=weights)), 3)
