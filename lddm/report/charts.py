"""Charts of generator scores and of the ablation; all numbers come from the tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lddm.report.metric_names import CHANCE, primary, shown
from lddm.report.style import UNITS, colour, empty, in_order, label, span, subplots

# metric, source of the videos, reference, title
PANELS = (
    ("fvd", "heldout", "heldout", "FVD (Kinetics-400 I3D)"),
    ("frechet_video", "heldout", "heldout", "Fréchet video distance\n(domain network)"),
    ("frechet_frame", "heldout", "heldout", "Fréchet frame distance\n(EfficientNet-Lite0)"),
    ("flow_magnitude", "heldout", "heldout", "Optical flow, distance of\ndistributions"),
    ("flicker", "heldout", "heldout", "Flicker, distance of\ndistributions"),
    ("ssim", "heldout", "same x0", "SSIM to the true video"),
    ("diversity", "heldout", "", "Diversity of samples"),
)
SWEPT = ("real_videos", "synthetic_share")
SWEPT_LABELS = {"real_videos": "real training videos", "synthetic_share": "share of synthetic clips in a batch"}
ABREAST = 4  # panels per row
LOG_RATIO = 30  # ratio of values above which a chart has a logarithmic axis


def quality_chart(quality: pd.DataFrame) -> Figure:
    """One panel per metric and one bar per generator (mean over folds); intervals of single folds as lines."""
    panels = [panel for panel in PANELS if (quality["metric"] == panel[0]).any()]
    names = in_order(quality["generator"].tolist())
    lines = max(1, -(-len(panels) // ABREAST))
    columns = max(1, -(-len(panels) // lines))
    height = lines * (0.25 * len(names) + 1.5)
    figure, grid = subplots(lines, columns, figsize=(2.4 * columns + 1.2, height), squeeze=False, layout="constrained")
    if not panels:
        empty(grid[0, 0], "no scores")
    for place, axes in enumerate(grid.flat):
        if place >= len(panels):
            axes.axis("off")
            continue
        metric, source, reference, title = panels[place]
        rows = quality[(quality["metric"] == metric) & (quality["reference"].fillna("") == reference)]
        rows = rows[(rows["source"] == source) | (rows["generator"] == "real")]
        _bars(axes, rows, names)
        better = rows["better"].iloc[0] if len(rows) else "lower"
        axes.set_title(f"{title}\n{better} is better", fontsize=8.5)
        unit = UNITS.get(metric, "no unit")
        interval = ", 95 % interval" if rows["ci_low"].notna().any() else ""
        axes.set_xlabel(f"{unit}\nn = {span(rows['n_synthetic'])}{interval}", fontsize=8.5)
        axes.set_yticks(range(len(names)), [label(name) for name in names] if place % columns == 0 else [])
        axes.set_ylim(len(names) - 0.4, -0.6)  # the same in all panels, even if the first or last bar is missing
    return figure


def _bars(axes: Axes, rows: pd.DataFrame, names: list[str]) -> None:
    positive = rows["value"][rows["value"] > 0]
    log = len(positive) > 1 and positive.max() / positive.min() > LOG_RATIO
    for place, name in enumerate(names):
        mine = rows[rows["generator"] == name]
        if mine.empty:
            axes.text(0.02, place, "–", transform=axes.get_yaxis_transform(), va="center", color="#999999")
            continue
        axes.barh(place, mine["value"].mean(), color=colour(name), height=0.65)
        for _, row in mine.dropna(subset=["ci_low", "ci_high"]).iterrows():
            low = max(row["ci_low"], positive.min() / 3) if log else row["ci_low"]
            for ink, width in (("white", 2.4), ("#333333", 1)):  # also visible on a black bar
                axes.plot([low, row["ci_high"]], [place, place], color=ink, linewidth=width)
    if log:
        axes.set_xscale("log")


def sweep_chart(table: pd.DataFrame) -> Figure:
    """One panel per classifier and varied setting: the primary metric of each regime against the setting, with interval."""
    metric = primary(table)
    rows = table[table["metric"] == metric]
    usual = {axis: rows[axis].mode().iloc[0] for axis in SWEPT}
    panels = [
        (classifier, axis, mine)
        for classifier, part in rows.groupby("classifier", sort=False)
        for axis, other in ((SWEPT[0], SWEPT[1]), (SWEPT[1], SWEPT[0]))
        if (mine := part[part[other] == usual[other]])[axis].nunique() > 1
    ]
    figure, grid = subplots(
        1, max(1, len(panels)), figsize=(4.4 * max(1, len(panels)), 3.4), squeeze=False, layout="constrained"
    )
    if not panels:
        empty(grid[0, 0], "no sweep")
    for axes, (classifier, axis, mine) in zip(grid[0], panels, strict=False):
        for regime in in_order(mine["regime"].tolist()):
            line = mine[mine["regime"] == regime].sort_values(axis)
            axes.plot(line[axis], line["mean"], "o-", color=colour(regime), label=label(regime))
            axes.fill_between(
                line[axis], line["ci_low"], line["ci_high"], color=colour(regime), alpha=0.15, linewidth=0
            )
        axes.axhline(CHANCE[metric], color="#cccccc", linewidth=0.8)
        if axis == SWEPT[0]:
            axes.set_xscale("log", base=2)
            axes.set_xticks(sorted(mine[axis].unique()), [str(n) for n in sorted(mine[axis].unique())])
        axes.set_xlabel(SWEPT_LABELS[axis])
        axes.set_ylabel(_what(metric, mine))
        axes.set_title(f"classifier: {classifier}")
    grid[0, 0].legend(fontsize=8)
    return figure


def _what(metric: str, rows: pd.DataFrame) -> str:
    return f"{shown(metric)} on {span(rows['n_test'])} test videos, 95 % interval"


def ablation_chart(table: pd.DataFrame) -> Figure:
    """One panel per classifier: the primary metric of each regime with interval, and a line at the value of `real`."""
    metric = primary(table)
    rows = table[table["metric"] == metric]
    classifiers = list(dict.fromkeys(rows["classifier"]))
    regimes = in_order(rows["regime"].tolist())
    width, height = 4.2 * max(1, len(classifiers)), 0.42 * len(regimes) + 1.4
    figure, grid = subplots(
        1, max(1, len(classifiers)), figsize=(width, height), squeeze=False, sharey=True, layout="constrained"
    )
    for axes, classifier in zip(grid[0], classifiers, strict=True):
        mine = rows[rows["classifier"] == classifier].set_index("regime")
        for place, regime in enumerate(regimes):
            if regime not in mine.index:
                continue
            row = mine.loc[regime]
            axes.plot([row["ci_low"], row["ci_high"]], [place, place], color=colour(regime), linewidth=2)
            axes.plot(row["mean"], place, "o", color=colour(regime))
            if pd.notna(row["p_value"]) and row["p_value"] < 0.05:
                axes.annotate("*", (row["ci_high"], place), xytext=(4, -4), textcoords="offset points", fontsize=12)
        if "real" in mine.index:
            axes.axvline(mine.loc["real", "mean"], color="#000000", linewidth=0.8, linestyle=":")
        axes.axvline(CHANCE[metric], color="#cccccc", linewidth=0.8)
        axes.set_title(f"classifier: {classifier}")
        axes.set_xlabel(f"{_what(metric, mine)}\n*: p < 0.05 against real")
        axes.set_yticks(np.arange(len(regimes)), [label(regime) for regime in regimes])
    grid[0, 0].invert_yaxis()
    return figure
