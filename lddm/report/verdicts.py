"""What the tables say, in plain words. Sentences follow from the numbers; none is written beforehand."""

from __future__ import annotations

import pandas as pd

from lddm.report.style import in_order, label, span

ALPHA = 0.05


def verdict(row: pd.Series) -> str:
    """better, worse or not distinguishable from `real`, for a row of classification.csv."""
    if pd.isna(row["p_value"]) or row["p_value"] >= ALPHA:
        return "not distinguishable"
    lower_is_better = row["metric"] == "ece"
    return "better" if (row["delta_vs_real"] > 0) != lower_is_better else "worse"


def ablation_sentences(table: pd.DataFrame, metric: str = "auc") -> list[str]:
    """What each regime does to each classifier."""
    sentences = []
    for classifier, rows in table[table["metric"] == metric].groupby("classifier", sort=False):
        by_regime = rows.set_index("regime")
        if "real" not in by_regime.index:
            continue
        told = [
            f"{label(regime)} {_with_interval(by_regime.loc[regime])} ({verdict(by_regime.loc[regime])})"
            for regime in in_order(list(by_regime.index))
            if regime != "real"
        ]
        sentences.append(
            f"Classifier {classifier}: AUC {_with_interval(by_regime.loc['real'])} on real videos; {', '.join(told)}. "
            f"In brackets: 95 % interval; n = {span(rows['n_test'])} test videos."
        )
    return sentences


def _with_interval(row: pd.Series) -> str:
    return f"{row['mean']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"


def motion_sentences(comparisons: pd.DataFrame) -> list[str]:
    """What only motion can explain: LDDM against the same stills without motion."""
    rows = comparisons[(comparisons["regime"] == "real+lddm") & (comparisons["against"] == "real+static")]
    return [
        f"Classifier {row.classifier}: LDDM videos against the same stills repeated without motion: {row.verdict} "
        f"(AUC {row.delta_auc:+.3f}, {row.ci_low:+.3f} to {row.ci_high:+.3f}, p {row.p_holm:.2g}, higher in "
        f"{row.runs_better} of {row.n_runs} runs, {row.n_test} test videos of {row.n_patients} patients). This is the part "
        "that only motion can explain."
        for row in rows.itertuples()
    ]


def quality_sentences(quality: pd.DataFrame) -> list[str]:
    """Reconstruction against the repeated still, and the order of the generators by the motion-sensitive distance."""
    sentences = []
    held_out = quality[quality["source"] == "heldout"]
    l1 = held_out[held_out["metric"] == "l1"].groupby("generator")["value"].mean()
    if {"reconstruction", "static"} <= set(l1.index):
        ratio = l1["reconstruction"] / l1["static"]
        sentences.append(
            f"The autoencoder rebuilds held-out videos with an L1 of {l1['reconstruction']:.4f}, {ratio:.2f} of that of "
            f"repeating the first frame ({l1['static']:.4f}), both as a share of the grey range."
        )
    for metric, name in (("fvd", "FVD"), ("frechet_video", "Fréchet video distance in features of the domain network")):
        rows = held_out[(held_out["metric"] == metric) & (held_out["reference"] == "heldout")]
        means = rows.groupby("generator")["value"].mean().sort_values()
        if len(means):
            order = ", ".join(f"{label(generator)} {value:.3g}" for generator, value in means.items())
            sentences.append(f"{name}, lower is better: {order}; n = {span(rows['n_synthetic'])}, intervals below.")
    copies = held_out[(held_out["metric"] == "copy_rate") & (held_out["generator"] == "lddm")]
    if len(copies):
        listed = ", ".join(f"{row.value:.1%} in {row.features}" for row in copies.itertuples())
        sentences.append(f"LDDM videos nearer to a training video than nearly all held-out real ones: {listed}.")
    return sentences
