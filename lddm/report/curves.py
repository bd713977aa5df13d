"""Training curves of all networks, from the records."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lddm.report.results import Results
from lddm.report.style import empty, subplots

# title, part of the record names, [(column, line style, legend)], axis label
PANELS = (
    ("Stage 1: reconstruction", "train_autoencoder",
     [("val/l1", "-", "held out"), ("val/l1_static", ":", "x0 repeated")], "L1, share of grey range"),
    ("Stage 2: diffusion", "generator-lddm", [("lddm/loss", "--", "train"), ("val/loss", "-", "held out")], "weighted v-loss"),
    ("Stage 2: cINN", "generator-cinn",
     [("cinn/loss", "--", "train"), ("val/nll_per_dim", "-", "held out")], "NLL per dimension"),
    ("Domain network", "train_domain_network", [("accuracy", "--", "train"), ("val/accuracy", "-", "held out")], "accuracy"),
)  # fmt: skip


def curves(results: Results) -> Figure:
    """One panel per network, one line per fold."""
    logs = results.training_logs()
    figure, grid = subplots(1, len(PANELS), figsize=(3.1 * len(PANELS), 2.6), layout="constrained")
    for axes, (title, wanted, columns, ylabel) in zip(grid, PANELS, strict=True):
        chosen = {key: log for key, log in logs.items() if wanted in key}
        axes.set_title(title)
        if not any(column in log for log in chosen.values() for column, _, _ in columns):
            empty(axes, "no record of this training")
            continue
        for number, log in enumerate(chosen.values()):
            for column, style, legend in columns:
                _line(axes, log, column, style, legend if number == 0 else None, f"C{number}")
        axes.set_xlabel("step")
        axes.set_ylabel(ylabel)
        axes.legend(fontsize=8)
    return figure


def _line(axes: Axes, log: pd.DataFrame, column: str, style: str, legend: str | None, colour: str) -> None:
    if column in log:
        seen = log[["step", column]].dropna()
        axes.plot(seen["step"], seen[column], style, label=legend, color=colour, marker="." if len(seen) < 12 else None)
