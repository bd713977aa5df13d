"""Common style of all figures: names, colours, order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

from lddm.files import atomic_path
from lddm.report.names import label

if TYPE_CHECKING:
    import pandas as pd

# Colours of Okabe & Ito (2008) with a darker grey; distinguishable with colour vision deficiency (tested).
COLOURS = {
    "real": "#000000",
    "reconstruction": "#56B4E9",
    "lddm": "#D55E00",
    "cinn": "#0072B2",
    "gaussian": "#F0E442",
    "motion_transfer": "#009E73",
    "pixel": "#CC79A7",
    "static": "#606060",
    "real+aug": "#CC79A7",
    "real+pseudo": "#56B4E9",
    "real+static": "#606060",
    "real+motion_transfer": "#009E73",
    "real+gaussian": "#F0E442",
    "real+cinn": "#0072B2",
    "real+pixel": "#603000",
    "real+lddm": "#D55E00",
    "lddm_only": "#E69F00",
}
__all__ = ["colour", "empty", "in_order", "label", "save", "span", "subplots"]
OTHER = "#C0C0C0"  # generators and regimes that are not in the list
ORDER = tuple(COLOURS)
FOLDS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")
# Units of the numbers in quality.csv; the others have none.
UNITS = {
    "fvd": "squared features",
    "frechet_video": "squared features",
    "frechet_frame": "squared features",
    "l1": "share of grey range",
    "psnr": "dB",
    "flow_magnitude": "px/frame",
    "acceleration": "px/frame²",
    "flow_direction": "share of motion",
    "precision": "share of synthetic videos",
    "recall": "share of real videos",
    "coverage": "share of real videos",
    "retrieval": "share of real videos",
    "temporal_difference": "share of grey range",
    "flicker": "share of energy",
    "temporal_spectrum": "dB",
    "diversity": "share of grey range",
    "copy_rate": "share of videos",
    "motion_copy_rate": "share of videos",
    "authenticity": "share of videos",
    "nearer_to_train": "share of comparisons; 0.5 = no memory",
}
DPI = 150

matplotlib.rcParams.update(
    {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10,
        "axes.prop_cycle": cycler(color=FOLDS),
        "legend.frameon": False,
        "svg.hashsalt": "lddm",
    }
)


def colour(name: str) -> str:
    """The colour of a generator or regime."""
    return COLOURS.get(name, OTHER)


def span(counts: pd.Series) -> str:
    """Range of counts as text, e.g. 240 or 240–480."""
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low}–{high}"


def in_order(names: list[str]) -> list[str]:
    """Sort generators or regimes in the order of all figures and tables; unknown ones last."""
    return sorted(dict.fromkeys(names), key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def subplots(
    lines: int = 1,
    columns: int = 1,
    *,
    figsize: tuple[float, float],
    layout: Literal["constrained"] | None = None,
    **grid: Any,
) -> tuple[Figure, Any]:
    """A figure and its axes, like `pyplot.subplots`, but without global state and with a faster import."""
    figure = Figure(figsize=figsize, layout=layout)
    return figure, figure.subplots(lines, columns, **grid)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure without a date, so that equal results give identical files."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI, bbox_inches="tight", metadata={"Software": None})
    return path


def empty(axes: Axes, text: str) -> None:
    """Show the reason for a missing plot in its place."""
    axes.axis("off")
    axes.text(0.5, 0.5, text, ha="center", va="center", wrap=True, color="#666666")
