"""What the readers of a study saw: accuracy with intervals, agreement, and which clips fooled whom."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from lddm.errors import LddmError

ANSWERS = {"study", "reader", "item", "origin", "diagnosis", "quality"}


def read_answers(files: list[Path], key: Path) -> pd.DataFrame:
    """Answers joined with the truth; a row a reader and clip, unanswered ones left out.

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
        sources: how often clips of each source were called real, diagnosed rightly, and their mean quality; agreement:
        Cohen's kappa of each pair of readers; fooled: synthetic clips called real and real ones called synthetic, by whom.
    """
    readers = {
        reader: {"real or synthetic": _share(part["told"]), "diagnosis": _share(part["right"])}
        for reader, part in joined.groupby("reader", sort=True)
    }
    sources = {
        source: {
            "called real": _share(part["origin"] == "real"),
            "diagnosed rightly": _share(part["right"]),
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
    wrong = joined[~joined["told"]]
    fooled = [
        {"item": item, "generator": part["generator"].iloc[0], "clip_id": part["clip_id"].iloc[0], "by": sorted(part["reader"])}
        for item, part in wrong.groupby("item", sort=False)
    ]  # fmt: skip
    fooled.sort(key=lambda clip: (-len(clip["by"]), clip["item"]))
    return {"readers": readers, "sources": sources, "agreement": agreement, "fooled": fooled}


def _share(hits: pd.Series) -> dict[str, float]:
    interval = binomtest(int(hits.sum()), len(hits)).proportion_ci()
    return {"value": float(hits.mean()), "low": float(interval.low), "high": float(interval.high), "n": len(hits)}


def _kappa(joined: pd.DataFrame, one: str, other: str, question: str) -> float | None:
    """Cohen's kappa, weighted for quality; None without a clip that both answered or if both never varied."""
    wide = joined.pivot(index="item", columns="reader", values=question)[[one, other]].dropna()
    if wide.empty or wide.stack().nunique() < 2:
        return None
    weights = "quadratic" if question == "quality" else None
    return round(float(cohen_kappa_score(wide[one], wide[other], weights=weights)), 3)
