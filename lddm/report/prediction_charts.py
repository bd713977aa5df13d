"""Charts of predictions: confusion matrices for classes, agreement of predicted and true values for targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lddm.report.fonts import class_names, legible, use_fonts
from lddm.report.style import colour, in_order, label, subplots
from lddm.task import Task

DARK = 0.55  # share above which the text of a cell is white
LIMITS = 1.96


def confusion_chart(table: pd.DataFrame, classes: list[str]) -> Figure:
    """One matrix per classifier (rows) and regime (columns), with true classes as rows and predicted classes as columns.

    Args:
        table: tables/confusion.csv.
        classes: class names, in order.
    """
    classifiers, regimes = list(dict.fromkeys(table["classifier"])), in_order(table["regime"].tolist())
    names = class_names(classes)
    use_fonts(*names)
    side = 0.62 * len(classes) + 0.9
    figure, grid = subplots(
        len(classifiers), len(regimes), figsize=(side * len(regimes) + 0.8, (side + 0.3) * len(classifiers) + 0.3),
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for line, classifier in zip(grid, classifiers, strict=True):
        for place, (axes, regime) in enumerate(zip(line, regimes, strict=True)):
            part = table[(table["classifier"] == classifier) & (table["regime"] == regime)]
            if part.empty:
                axes.axis("off")
                continue
            _matrix(axes, part, classes, names if place == 0 else [""] * len(names))
            axes.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=7.5)
            axes.set_title(f"{legible(classifier)}: {label(regime)}", fontsize=8.5)
    figure.supxlabel("predicted class (videos, mean over seeds)", fontsize=9)
    figure.supylabel("true class", fontsize=9)
    return figure


def _matrix(axes: Axes, part: pd.DataFrame, classes: list[str], names: list[str]) -> None:
    share = part.pivot(index="class_name", columns="predicted", values="share").loc[classes, classes].to_numpy()
    videos = part.pivot(index="class_name", columns="predicted", values="videos").loc[classes, classes].to_numpy()
    axes.imshow(np.nan_to_num(share), cmap="Greys", vmin=0, vmax=1)
    for i, j in np.ndindex(*share.shape):
        ink = "white" if share[i, j] > DARK else "black"
        axes.text(
            j, i, f"{round(videos[i, j], 1):g}\n{share[i, j]:.0%}", ha="center", va="center", color=ink, fontsize=7
        )
    axes.set_yticks(range(len(names)), names, fontsize=7.5)


def agreement_chart(runs: list[dict[str, Any]], task: Task) -> Figure:
    """One column per classifier and regime: predicted over true values, and Bland-Altman plot (Bland & Altman 1986).

    The Bland-Altman plot shows differences over means, with bias and limits of agreement. Each point is a test video, with
    its prediction averaged over seeds.

    Args:
        runs: content of seed-<s>.json.
        task: a regression task.
    """
    cells: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for run in runs:
        table = pd.DataFrame(run["predictions"]).assign(fold=run["fold"])
        cells.setdefault((run["classifier"], run["regime"]), []).append(table)
    classifiers = list(dict.fromkeys(classifier for classifier, _ in cells))
    order = [(c, r) for c in classifiers for r in in_order([regime for name, regime in cells if name == c])]
    figure, grid = subplots(
        2, max(1, len(order)), figsize=(2.3 * max(1, len(order)) + 0.6, 5), squeeze=False, sharex=True, sharey="row",
        layout="constrained",
    )  # fmt: skip
    use_fonts(task.name, task.unit)
    what = legible(f"{task.name} [{task.unit}]" if task.unit else task.name)
    for place, (classifier, regime) in enumerate(order):
        table = pd.concat(cells[classifier, regime]).groupby(["fold", "id"])[["label", "prediction"]].mean()
        true, predicted = table["label"].to_numpy(), table["prediction"].to_numpy()
        above, below = grid[0, place], grid[1, place]
        above.plot([task.low, task.high], [task.low, task.high], color="#999999", linewidth=0.8)
        above.plot(true, predicted, "o", color=colour(regime), markersize=2.5, alpha=0.6, markeredgewidth=0)
        above.set_title(f"{classifier}:\n{label(regime)}", fontsize=8.5)
        difference = predicted - true
        below.plot(
            (predicted + true) / 2, difference, "o", color=colour(regime), markersize=2.5, alpha=0.6, markeredgewidth=0
        )
        bias, spread = difference.mean(), LIMITS * difference.std()
        for height, style in ((bias, "-"), (bias - spread, ":"), (bias + spread, ":")):
            below.axhline(height, color="#333333", linewidth=0.9, linestyle=style)
        below.set_xlabel(f"true (top), mean of both\n(bottom): {what}", fontsize=8)
    grid[0, 0].set_ylabel(f"predicted {what}", fontsize=8)
    grid[1, 0].set_ylabel(f"predicted − true [{legible(task.unit)}]" if task.unit else "predicted − true", fontsize=8)
    return figure
