"""HTML tables of the page: scores and comparisons."""

from __future__ import annotations

import html
from pathlib import Path

import pandas as pd

from lddm.report.failures import flagged
from lddm.report.html import folded, image, number, table
from lddm.report.label_counts import label_counts
from lddm.report.metric_names import NAMES, delta_column, primary, shown
from lddm.report.results import Results
from lddm.report.style import UNITS, in_order, label, span
from lddm.report.verdicts import p_text, verdict
from lddm.statistics.primary import VERSUS_REST


def quality_table(quality: pd.DataFrame, source: str) -> str:
    """One row per metric, one column per generator."""
    rows = quality[(quality["source"] == source) | (quality["generator"] == "real")]
    rows = rows.assign(reference=rows["reference"].fillna(""))
    if rows[rows["generator"] != "real"].empty:
        return ""
    names = in_order(rows["generator"].tolist())
    lines = []
    # Each fold has its own domain network, with its accuracy in the name: "domain_network (pretext accuracy 0.91)".
    space = rows["features"].str.replace(r" \(.*", "", regex=True).rename("space")
    for (metric, reference, _), part in rows.groupby(["metric", "reference", space], sort=True):
        features = "; ".join(dict.fromkeys(part["features"]))
        if set(part["generator"]) == {"real"} and source != "heldout":
            continue
        unit = f" [{UNITS[metric]}]" if metric in UNITS else ""
        against = f", against {reference}" if reference else ""
        first = part.iloc[0]
        counts = f"n = {span(part['n_synthetic'])} videos" + (
            f", {span(part['n_real'])} real" if part["n_real"].any() else ""
        )
        blind = "" if first["sees_motion"] else "; blind to motion"
        about = f"{html.escape(features + against)}; {counts}{blind}"
        name = f"{html.escape(metric + unit)} ({first['better']} is better)<small>{about}</small>"
        lines.append([name, *(_cell(part[part["generator"] == generator]) for generator in names)])
    title = {"heldout": "First frames of test patients", "stills": "Labelled still images"}[source]
    return f"<h3>{title}</h3>" + table(["metric", *map(label, names)], lines)


def _cell(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "–"
    text = number(rows["value"].mean())
    if len(rows) == 1 and pd.notna(rows["ci_low"].iloc[0]):
        text += f"<small>{number(rows['ci_low'].iloc[0])} to {number(rows['ci_high'].iloc[0])}</small>"
    elif len(rows) > 1:
        text += f"<small>folds {number(rows['value'].min())} to {number(rows['value'].max())}</small>"
    return text


def absent(reasons: dict[str, str]) -> str:
    if not reasons:
        return ""
    items = "".join(
        f"<li>{html.escape(metric)}: {html.escape(reason)}</li>" for metric, reason in sorted(reasons.items())
    )
    later = (
        "<p>To add weights later, put the files into weights_dir (`lddm weights list` names them, `lddm weights fetch` "
        "downloads public ones) and run the same snakemake command; if it finds nothing to do, add --forcerun score.</p>"
    )
    return folded(f"Metrics that were not computed, with reasons ({len(reasons)})", f"<ul>{items}</ul>{later}")


def copies_table(found: Results) -> str:
    """All LDDM videos flagged as copies, with the nearest training clip of each."""
    copies, searched = flagged(found)
    if not searched:
        return ""
    lines = [
        [html.escape(f"fold {row.fold}, {row.source}: {row.sample_id}"), html.escape(str(row.features)),
         html.escape(str(row.nearest)), number(row.share)]
        for row in copies.itertuples()
    ]  # fmt: skip
    videos = len(copies.drop_duplicates(["fold", "source", "sample_id"]))
    head = ["LDDM video", "features", "nearest training clip", "distance / threshold"]
    title = f"Flagged as copies of a training clip: {videos} of {searched} LDDM videos"
    return folded(title, table(head, lines)) if lines else f"<p>{title}.</p>"


def ablation_note(found: Results) -> str:
    """Note on the number of videos and labels of the classifiers."""
    runs = found.classification_runs()
    if not runs:
        return ""
    tested = shown(primary(found.classification()))
    added = sorted({run["n_added"] for run in runs if run["n_added"]})
    steps = sorted({run["steps"] for run in runs})
    return (
        f"Labels used by a classifier: {label_counts(found)}. Added synthetic videos: "
        f"{', '.join(map(str, added)) or '–'}; optimiser steps in every regime: {', '.join(map(str, steps))}. Validation videos "
        f"determine early stopping and, for two classes, the threshold. p-values ({tested} only) are those of the pairs below, "
        "with Holm’s correction over all pairs on this page. "
        "The generators were trained on all labelled training videos of the fold, a classifier only on those counted here."
    )


def ablation_table(ablation: pd.DataFrame) -> str:
    lines = []
    for (classifier, metric), part in ablation.groupby(["classifier", "metric"], sort=False):
        if metric not in NAMES and not metric.startswith(VERSUS_REST):
            continue
        for regime in in_order(part["regime"].tolist()):
            row = part[part["regime"] == regime].iloc[0]
            lines.append(
                [
                    html.escape(f"{classifier}: {label(regime)}"),
                    html.escape(shown(metric)),
                    str(int(row["n_test"])),
                    f"{number(row['mean'])}<small>{number(row['ci_low'])} to {number(row['ci_high'])}</small>",
                    "" if pd.isna(row["delta_vs_real"]) else f"{row['delta_vs_real']:+.3f}<small>{row['delta_ci_low']:+.3f} to "
                    f"{row['delta_ci_high']:+.3f}</small>",
                    "" if regime == "real" or pd.isna(row["p_value"]) else number(row["p_value"]),
                    "" if pd.isna(row["delta_vs_real"]) else verdict(row),
                ]
            )  # fmt: skip
    return table(["training videos", "metric", "test videos", "value", "difference to real", "p", "verdict"], lines)


def comparison_table(compared: pd.DataFrame) -> str:
    """Differences between pairs of regimes on the same test videos."""
    delta = delta_column(compared)
    head = [
        "pair",
        f"difference of {shown(delta.removeprefix('delta_'))}",
        "p",
        "better in",
        "test videos (patients)",
        "verdict",
    ]
    return table(
        head,
        [
            [
                html.escape(f"{row.classifier}: {label(row.regime)} against {label(row.against)}"),
                f"{getattr(row, delta):+.3f}<small>{row.ci_low:+.3f} to {row.ci_high:+.3f}</small>",
                p_text(row.p_holm, row.p_sign),
                f"{row.runs_better} of {row.n_runs} runs",
                f"{row.n_test} ({row.n_patients})",
                html.escape(row.verdict),
            ]
            for row in compared.itertuples()
        ],
    )


def transfer_table(transfer: pd.DataFrame) -> str:
    """Trained on real, tested on synthetic videos, and the reverse."""
    if transfer.empty:
        return ""
    lines = [
        [
            html.escape(f"{row.classifier}: {row.scheme}"),
            html.escape(label(row.trained_on)),
            html.escape(label(row.tested_on)),
            f"{number(row.mean)}<small>{number(row.ci_low)} to {number(row.ci_high)}</small>",
            "" if pd.isna(row.delta_vs_real) else f"{row.delta_vs_real:+.3f}<small>{row.delta_ci_low:+.3f} to "
            f"{row.delta_ci_high:+.3f}</small>",
            str(row.n_test),
        ]
        for row in transfer.itertuples()
    ]  # fmt: skip
    name = shown(transfer["metric"].iloc[0])
    head = ["classifier", "trained on", "tested on", name, "difference to real on real", "test videos"]
    return (
        "<h3>Real and synthetic, trained and tested</h3><p>TRTS: a classifier of real videos reads animated first frames of test "
        "patients. Near real on real: the videos look like the class they were made for, as far as this classifier can tell; "
        "repeated first frames show what is read off the still alone. TSTR: trained on synthetic videos only. No tests, "
        "intervals only.</p>" + table(head, lines)
    )


def sweep(found: Results, figures: Path) -> str:
    """The ablation for other numbers of videos and shares; empty without a sweep."""
    compared = found.sweep_comparisons()
    if compared.empty:
        return ""
    parts = [
        "<h3>Sweep</h3>",
        image(figures / "sweep.png", "classifier performance by number of real videos and regime"),
    ]
    for (videos, share), part in compared.groupby(["real_videos", "synthetic_share"], sort=True):
        count = f"{videos} real videos" if videos else "all real videos"
        parts += [f"<h4>{count}, {share:g} of a batch synthetic</h4>", comparison_table(part)]
    return "\n".join(parts)
