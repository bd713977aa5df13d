"""Sentences that summarise the tables, generated from their numbers."""

from __future__ import annotations

import pandas as pd

from lddm.report.effects import motion_sentences
from lddm.report.metric_names import primary, shown
from lddm.report.style import in_order, label, span

ALPHA = 0.05


def verdict(row: pd.Series) -> str:
    """Compare a row of classification.csv with `real`: better, worse, not distinguishable, or not tested (no p-value).

    Only the primary metric of the task is tested (the AUC for two classes); other metrics have intervals only.
    """
    if pd.isna(row["p_value"]):
        return "not tested"
    if row["p_value"] >= ALPHA:
        return "not distinguishable"
    return "better" if row["delta_vs_real"] > 0 else "worse"


def sentences(quality: pd.DataFrame, ablation: pd.DataFrame, comparisons: pd.DataFrame) -> list[str]:
    """All summary sentences: the primary comparison, then classification, then quality."""
    return motion_sentences(comparisons) + ablation_sentences(ablation) + quality_sentences(quality)


def ablation_sentences(table: pd.DataFrame) -> list[str]:
    """Sentences on the primary metric of each classifier and regime."""
    said, metric = [], primary(table)
    for classifier, rows in table[table["metric"] == metric].groupby("classifier", sort=False):
        by_regime = rows.set_index("regime")
        if "real" not in by_regime.index:
            continue
        told = [
            f"{label(regime)} {_with_interval(by_regime.loc[regime])} ({verdict(by_regime.loc[regime])})"
            for regime in in_order(list(by_regime.index))
            if regime != "real"
        ]
        said.append(
            f"Classifier {classifier}: {shown(metric)} {_with_interval(by_regime.loc['real'])} on real videos; "
            f"{', '.join(told)}. In brackets: 95 % interval; n = {span(rows['n_test'])} test videos."
        )
    return said


def _with_interval(row: pd.Series) -> str:
    return f"{row['mean']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"


def quality_sentences(quality: pd.DataFrame) -> list[str]:
    """Sentences on reconstruction error relative to repeated x0, ranking of generators by distance, and copies."""
    said = []
    held_out = quality[quality["source"] == "heldout"]
    l1 = held_out[(held_out["metric"] == "l1") & (held_out["reference"] == "same x0")]
    rebuilt, still = (l1[l1["generator"] == name] for name in ("reconstruction", "static"))
    if len(rebuilt) and len(still):
        ratio = rebuilt["value"].mean() / still["value"].mean()
        said.append(
            f"Reconstructions of held-out videos have {ratio:.2f} of the L1 error of repeating the first frame: "
            f"{_score(rebuilt)} and {_score(still)} of the grey-level range; n = {span(rebuilt['n_synthetic'])} videos."
        )
    for metric, name in (("fvd", "FVD"), ("frechet_video", "Fréchet video distance in features of the domain network")):
        rows = held_out[(held_out["metric"] == metric) & (held_out["reference"] == "heldout")]
        means = rows.groupby("generator")["value"].mean().sort_values()
        if len(means):
            order = ", ".join(f"{label(str(name))} {_score(rows[rows['generator'] == name])}" for name in means.index)
            said.append(f"{name}, lower is better: {order}; n = {span(rows['n_synthetic'])} videos.")
    return said + copy_sentences(held_out)


NO_ANONYMISATION = (
    "Animating a real still is no anonymisation: its first frame is the real image of a real patient, and every frame shows that "
    "patient's tissue. These numbers say whether videos repeat other patients' training videos, not whether the patient who was "
    "animated can be recognised."
)


def copy_sentences(held_out: pd.DataFrame) -> list[str]:
    """Share of LDDM videos that copy training videos, with the controls of the search."""
    rates = held_out[held_out["metric"] == "copy_rate"]
    copies = rates[(rates["generator"] == "lddm") & (rates["reference"] == "train")]
    if copies.empty:
        return []
    sentence = (
        f"LDDM videos that copy a training video: {_score(copies, '.1%')}; n = {span(copies['n_synthetic'])} videos."
    )
    control = "control: "
    known = rates[rates["reference"].astype(str).str.startswith(control)]
    if len(known):
        listed = ", ".join(
            f"{str(name).removeprefix(control)} {rows['value'].mean():.0%}"
            for name, rows in known.groupby("reference", sort=False)
        )
        sentence += f" Controls of the search (unseen clips should be near 0 %, memorised ones near 100 %): {listed}."
    moved = held_out[(held_out["metric"] == "motion_copy_rate") & (held_out["generator"] == "lddm")]
    moved = moved[moved["reference"] == "train"]
    if len(moved):
        sentence += f" LDDM videos that move as a training video does: {_score(moved, '.1%')}."
    return [sentence, NO_ANONYMISATION]


def _score(rows: pd.DataFrame, form: str = ".3g") -> str:
    """Mean over folds, with the interval (one fold) or the range (several folds)."""
    if len(rows) == 1:
        low, high = rows["ci_low"].iloc[0], rows["ci_high"].iloc[0]
    else:
        low, high = rows["value"].min(), rows["value"].max()
    interval = "" if pd.isna(low) else f" [{low:{form}}, {high:{form}}]"
    return f"{rows['value'].mean():{form}}{interval}"
