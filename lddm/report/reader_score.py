"""Scores of a reader study: accuracy with intervals, agreement between readers, and misjudged clips."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from lddm.errors import LddmError
from lddm.statistics.auc import area_under_curve
from lddm.statistics.readers import chance_p_value, obuchowski_rockette, pooled_interval

ANSWERS = {"study", "reader", "item", "origin", "diagnosis", "quality"}
TWO_ARMS = {"study", "reader", "item", "diagnosis", "certainty"}  # columns of the answers in a study of two arms
ARMS = ("still", "video")  # the still alone; the still with its synthetic video


def read_answers(files: list[Path], key: Path) -> pd.DataFrame:
    """Answers joined with the truth: one row per reader and clip, without unanswered ones.

    Raises:
        LddmError: wrong columns, answers of another study, a reader with two files, or no answers.
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
    """Results of a study.

    Returns:
        readers: accuracy of each reader for real or synthetic and for the diagnosis, with 95 % Clopper-Pearson intervals and the
        exact test against chance;
        sources: shares of the clips of each source that were called real and that were diagnosed correctly, with 95 % intervals
        over clips and readers, and their mean quality; agreement: Cohen's kappa of each pair of readers, and Fleiss' kappa of
        all; fooled: synthetic clips called real and real clips called synthetic, with the readers.
    """
    guess = 1 / max(2, joined["class_name"].nunique())
    readers = {
        reader: {"real or synthetic": _share(part["told"]), "diagnosis": _share(part["right"], guess)}
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


def score_arms(joined: pd.DataFrame) -> dict[str, Any]:
    """Compare the diagnostic accuracy of readers in two arms: the still alone, and the still with its synthetic video.

    Args:
        joined: answers of a study of two arms, from `read_arms`; only cases that all readers read in both arms are used.

    Returns:
        readers: AUC of the rating, sensitivity, specificity and accuracy of each reader and arm (95 % Clopper-Pearson
        intervals, exact test against chance); arms: mean AUC over readers, difference (video minus still) and p-value
        (Obuchowski and Rockette); agreement: Fleiss' kappa of each arm; cases: number of cases used.

    Raises:
        LddmError: fewer than two readers, or too few cases read by all of them.
    """
    wide = joined.pivot_table(index="case", columns=["arm", "reader"], values="rating").dropna()
    names = sorted(joined["reader"].unique())
    truth = joined.drop_duplicates("case").set_index("case").loc[wide.index]
    labels = (truth["class_name"] == sorted(joined["class_name"].unique())[-1]).to_numpy().astype(int)
    ratings = np.array([[wide[arm, name].to_numpy() for name in names] for arm in ARMS if arm in wide])
    try:
        found = obuchowski_rockette(ratings, labels, truth["patient_id"].to_numpy())
    except (ValueError, KeyError) as error:
        raise LddmError(
            f"the arms cannot be compared: {error}", "all readers read the same cases in both arms"
        ) from error
    kept = joined[joined["case"].isin(wide.index)]
    positive = kept["class_name"] == sorted(joined["class_name"].unique())[-1]
    readers: dict[str, Any] = {}
    for (reader, arm), part in kept.groupby(["reader", "arm"], sort=True):
        is_positive = positive[part.index]
        readers.setdefault(str(reader), {})[str(arm)] = {
            "auc": area_under_curve(is_positive.to_numpy(), part["rating"].to_numpy()),
            "sensitivity": _share(part.loc[is_positive, "right"]),
            "specificity": _share(part.loc[~is_positive, "right"]),
            "accuracy": _share(part["right"]),
        }
    arms = {
        arm: {"auc": float(found.auc[i].mean()), "low": float(found.limits[i, 0]), "high": float(found.limits[i, 1])}
        for i, arm in enumerate(ARMS)
    }
    difference = {"auc": found.value, "low": found.low, "high": found.high, "p": found.p}
    agreement = {arm: _fleiss(kept[kept["arm"] == arm], "diagnosis") for arm in ARMS} if len(names) > 1 else {}
    return {
        "readers": readers, "arms": arms, "difference": difference, "agreement": agreement, "cases": len(wide),
    }  # fmt: skip


def read_arms(files: list[Path], key: Path) -> pd.DataFrame:
    """Answers of a study of two arms joined with its key: one row per reader, case and arm.

    `rating` is the certainty that the case belongs to the last class, from -5 (certainly not) to 5.

    Raises:
        LddmError: wrong columns, more than two classes, or two answers of a reader for the same case and arm.
    """
    truth = pd.read_csv(key, dtype={"item": str})
    if "arm" not in truth or truth["class_name"].nunique() != 2:
        raise LddmError(f"{key} is no key of a study of two arms with two classes", "make one with reader-study --arms")
    tables = [pd.read_csv(path, dtype=str, keep_default_na=False) for path in files]
    for path, table in zip(files, tables, strict=True):
        if not set(table.columns) >= TWO_ARMS:
            raise LddmError(f"{path}: expected the columns {', '.join(sorted(TWO_ARMS))}", "export from the page")
    answers = pd.concat(tables, ignore_index=True)
    joined = answers[answers["diagnosis"] != ""].merge(truth, on="item", validate="many_to_one")
    joined = joined.rename(columns={"clip_id": "case"}).reset_index(drop=True)
    twice = joined[joined.duplicated(["reader", "case", "arm"])]
    if len(twice):
        raise LddmError(
            f"reader {twice['reader'].iloc[0]} answered a case twice", "give each reader a name of their own"
        )
    last = sorted(truth["class_name"].unique())[-1]
    sure = pd.to_numeric(joined["certainty"])
    joined["rating"] = np.where(joined["diagnosis"] == last, sure, -sure)
    joined["right"] = joined["diagnosis"] == joined["class_name"]
    return joined


def _share(hits: pd.Series, chance: float = 0.5) -> dict[str, float]:
    interval = stats.binomtest(int(hits.sum()), len(hits)).proportion_ci()
    return {
        "value": float(hits.mean()), "low": float(interval.low), "high": float(interval.high), "n": len(hits),
        "p_guessing": chance_p_value(int(hits.sum()), len(hits), chance),
    }  # fmt: skip


def _pooled_share(rows: pd.DataFrame, hits: pd.Series) -> dict[str, float]:
    low, high = pooled_interval(hits.to_numpy(), rows["reader"].to_numpy(), rows["item"].to_numpy())
    counts = {"n": len(hits), "clips": rows["item"].nunique(), "readers": rows["reader"].nunique()}
    return {"value": float(hits.mean()), "low": low, "high": high} | counts


def _fleiss(joined: pd.DataFrame, question: str) -> float | None:
    """Fleiss' kappa (1971) over clips answered by all readers; None without such clips or if all answers are the same."""
    wide = joined.pivot(index="item", columns="reader", values=question).dropna()
    if wide.empty:
        return None
    counts = wide.apply(pd.Series.value_counts, axis=1).fillna(0).to_numpy()
    heads = wide.shape[1]
    agreed = float(((counts**2).sum(axis=1) - heads).mean() / (heads * (heads - 1)))
    expected = float(np.square(counts.mean(axis=0) / heads).sum())
    return None if expected == 1 else round((agreed - expected) / (1 - expected), 3)


def _kappa(joined: pd.DataFrame, one: str, other: str, question: str) -> float | None:
    """Cohen's kappa, weighted for quality; None without clips answered by both, or if both always gave the same answer."""
    wide = joined.pivot(index="item", columns="reader", values=question)[[one, other]].dropna()
    if wide.empty or wide.stack().nunique() < 2:
        return None
    weights = "quadratic" if question == "quality" else None
    return round(float(cohen_kappa_score(wide[one], wide[other], weights=weights)), 3)
