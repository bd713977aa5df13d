"""Tables of the page: scores and comparisons."""

from __future__ import annotations

import pandas as pd

from lddm.report.effects import p_text
from lddm.report.failures import flagged
from lddm.report.label_counts import label_counts
from lddm.report.memorisation import KINDS
from lddm.report.metric_names import NAMES, delta_column, primary, shown
from lddm.report.parts import Cell, Table, interval, number
from lddm.report.results import Results
from lddm.report.style import UNITS, in_order, label, span
from lddm.report.verdicts import verdict
from lddm.statistics.primary import VERSUS_REST

SOURCES = {"heldout": "First frames of test patients", "stills": "Labelled still images"}


def quality_table(quality: pd.DataFrame, source: str) -> Table | None:
    """One row per metric, one column per generator; None if no videos of this source were scored."""
    rows = quality[(quality["source"] == source) | (quality["generator"] == "real")]
    rows = rows.assign(reference=rows["reference"].fillna(""))
    if rows[rows["generator"] != "real"].empty:
        return None
    names = in_order(rows["generator"].tolist())
    lines: list[list[Cell | str]] = []
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
        name = Cell(f"{metric}{unit} ({first['better']} is better)", f"{features}{against}; {counts}{blind}")
        lines.append([name, *(_score(part[part["generator"] == generator]) for generator in names)])
    return Table(SOURCES[source], ["metric", *map(label, names)], lines)


def _score(rows: pd.DataFrame) -> Cell:
    if rows.empty:
        return Cell("–")
    text = number(rows["value"].mean())
    if len(rows) > 1:
        return Cell(text, f"folds {interval(rows['value'].min(), rows['value'].max())}")
    low, high = rows["ci_low"].iloc[0], rows["ci_high"].iloc[0]
    return Cell(text, interval(low, high) if pd.notna(low) else "")


def copies_table(found: Results) -> Table | None:
    """All LDDM videos flagged as copies, with the nearest training clip of each; None without a copy search."""
    copies, searched = flagged(found)
    if not searched:
        return None
    lines: list[list[Cell | str]] = [
        [f"fold {row.fold}, {row.source}: {row.sample_id}", str(row.features), str(row.nearest), number(row.share)]
        for row in copies.itertuples()
    ]
    videos = len(copies.drop_duplicates(["fold", "source", "sample_id"]))
    head = ["LDDM video", "features", "nearest training clip", "distance / threshold"]
    return Table(f"Flagged as copies of a training clip: {videos} of {searched} LDDM videos", head, lines)


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


def _difference(row: pd.Series) -> Cell:
    """Difference to real videos with its interval; empty for real videos themselves."""
    if pd.isna(row["delta_vs_real"]):
        return Cell("")
    return Cell(f"{row['delta_vs_real']:+.3f}", interval(row["delta_ci_low"], row["delta_ci_high"], signed=True))


def ablation_table(ablation: pd.DataFrame) -> Table:
    """All metrics of each classifier and regime."""
    lines: list[list[Cell | str]] = []
    for (classifier, metric), part in ablation.groupby(["classifier", "metric"], sort=False):
        if metric not in NAMES and not metric.startswith(VERSUS_REST):
            continue
        for regime in in_order(part["regime"].tolist()):
            row = part[part["regime"] == regime].iloc[0]
            lines.append(
                [
                    f"{classifier}: {label(regime)}",
                    shown(metric),
                    str(int(row["n_test"])),
                    Cell(number(row["mean"]), interval(row["ci_low"], row["ci_high"])),
                    _difference(row),
                    "" if regime == "real" or pd.isna(row["p_value"]) else number(row["p_value"]),
                    "" if pd.isna(row["delta_vs_real"]) else verdict(row),
                ]
            )
    head = ["training videos", "metric", "test videos", "value", "difference to real", "p", "verdict"]
    return Table("Metrics of the classifiers", head, lines)


def comparison_table(compared: pd.DataFrame) -> Table:
    """Differences between pairs of regimes on the same test videos."""
    delta = delta_column(compared)
    metric = shown(delta.removeprefix("delta_"))
    head = ["pair", f"difference of {metric}", "p", "better in", "test videos (patients)", "verdict"]
    lines: list[list[Cell | str]] = [
        [
            f"{row.classifier}: {label(row.regime)} against {label(row.against)}",
            Cell(f"{getattr(row, delta):+.3f}", interval(row.ci_low, row.ci_high, signed=True)),
            p_text(row.p_holm, row.p_sign),
            f"{row.runs_better} of {row.n_runs} runs",
            f"{row.n_test} ({row.n_patients})",
            row.verdict,
        ]
        for row in compared.itertuples()
    ]
    return Table("Pairs of regimes", head, lines)


def transfer_table(transfer: pd.DataFrame) -> Table | None:
    """Classifiers trained on real and tested on synthetic videos, and the reverse; None without such rows."""
    if transfer.empty:
        return None
    lines: list[list[Cell | str]] = [
        [
            f"{row['classifier']}: {row['scheme']}",
            label(row["trained_on"]),
            label(row["tested_on"]),
            Cell(number(row["mean"]), interval(row["ci_low"], row["ci_high"])),
            _difference(row),
            str(row["n_test"]),
        ]
        for _, row in transfer.iterrows()
    ]
    name = shown(transfer["metric"].iloc[0])
    head = ["classifier", "trained on", "tested on", name, "difference to real on real", "test videos"]
    return Table("Real and synthetic, trained and tested", head, lines)


def sweep_tables(found: Results) -> list[Table]:
    """The comparisons of each point of a sweep; none without a sweep."""
    compared = found.sweep_comparisons()
    if compared.empty:
        return []
    tables = []
    for (videos, share), part in compared.groupby(["real_videos", "synthetic_share"], sort=True):
        count = f"{videos} real videos" if videos else "all real videos"
        table = comparison_table(part)
        tables.append(Table(f"{count}, {share:g} of a batch synthetic", table.head, table.rows))
    return tables


def memory_table(memory: pd.DataFrame) -> Table:
    """memorisation.csv: each metric for the generators and its controls."""
    rows: list[list[Cell | str]] = []
    for row in memory.itertuples():
        control, known = row.kind != KINDS[0], pd.notna(row.value)
        rows.append(
            [
                row.metric,
                f"{row.kind}: {row.videos}" if control else f"{label(row.videos)}, {row.source}",
                number(row.value) if known else "not measured",
                interval(row.ci_low, row.ci_high) if known and pd.notna(row.ci_low) else "",
                f"{int(row.n_synthetic)}; {int(row.n_real)} real" if known else "",
                "" if pd.isna(row.floor) else number(row.floor),
                (row.expected if control else "") if known else str(row.reason),
                {"True": "holds", "False": "does not hold"}.get(str(row.holds), ""),
            ]
        )
    head = ["measure", "videos", "value", "interval", "n", "without memory", "expected, or reason", "control"]
    return Table("Memorisation, with controls", head, rows)
