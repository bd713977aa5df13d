"""Comparison of conditions of the generator: paired tests of the same regimes across experiments on the same patients.

    python -m benchmarks.condition results/phantom_strict results/phantom_strict_soft --out results/condition.md

The first experiment is the reference: its regimes keep their names, and the `real+lddm` of the others is compared with its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lddm.classification.comparisons import Runs
from lddm.classification.measures import primary_of
from lddm.classification.table import common_task, evaluate_cells, read_cells
from lddm.errors import LddmError
from lddm.files import atomic_path
from lddm.settings import Settings, planned
from lddm.settings.stages import parse

Cells = dict[str, dict[str, Runs]]


def gathered(folders: list[Path]) -> tuple[Cells, Settings]:
    """Runs of all experiments (classifier -> regime -> runs), and the settings of the first experiment.

    Regimes without a generator are included once. Regimes of further experiments have their condition in brackets.

    Raises:
        LddmError: two experiments have the same condition.
    """
    settings = [parse(str(folder / "settings/whole.yaml")) for folder in folders]
    names = [one.condition.attribute or "label" for one in settings]
    if len(set(names)) < len(names):
        raise LddmError(
            f"conditions are compared, got {', '.join(names)}", "pass an experiment for each condition.attribute"
        )
    cells: Cells = {}
    for place, (folder, one, name) in enumerate(zip(folders, settings, names, strict=True)):
        for classifier, regimes in read_cells([folder / path for path in planned.classification_files(one)]).items():
            for regime, runs in regimes.items():
                if place and regime in ("real", "real+aug", "real+pseudo", "real+static"):
                    continue  # independent of the condition
                cells.setdefault(classifier, {})[f"{regime} ({name})" if place else regime] = runs
    return cells, settings[0]


def page(folders: list[Path]) -> str:
    """Markdown table: primary metric per regime, and its differences to `real` and to `real+lddm` of the first experiment."""
    cells, settings = gathered(folders)
    metric = primary_of(common_task(cells))
    values, tests = evaluate_cells(cells, settings.classification, settings.seed)
    values = values[values["metric"] == metric]
    lines = [
        f"| classifier | training videos | {metric} | against real | real+lddm against it |",
        "|---|---|---|---|---|",
    ]
    for row in values.itertuples():
        mine = tests[tests["classifier"] == row.classifier]
        first = mine[(mine["regime"] == row.regime) & (mine["against"] == "real")]
        second = mine[(mine["regime"] == "real+lddm") & (mine["against"] == row.regime) & (row.regime != "real")]
        cells_of = [_difference(found.iloc[0], metric) if len(found) else "" for found in (first, second)]
        shown = f"{row.mean:.3f} ({row.ci_low:.3f}, {row.ci_high:.3f})"
        lines.append(f"| {row.classifier} | {row.regime} | {shown} | {cells_of[0]} | {cells_of[1]} |")
    return "\n".join(lines) + "\n"


def _difference(row, metric: str) -> str:
    """Format a row of comparisons.csv."""
    value, low, high = row[f"delta_{metric}"], row["ci_low"], row["ci_high"]
    return f"{value:+.3f} ({low:+.3f}, {high:+.3f}), Holm p {row['p_holm']:.2g}, {row['runs_better']} of {row['n_runs']} runs"


def main(
    folders: Annotated[list[Path], typer.Argument(help="results/<experiment>, the reference first")],
    out: Annotated[Path, typer.Option(help="Markdown file to write")] = Path("results/condition.md"),
) -> None:
    """Compare the conditions of several experiments and write a Markdown table."""
    text = page(folders)
    with atomic_path(out) as temporary:
        temporary.write_text(text)
    typer.echo(f"{text}\nMade {out}")


if __name__ == "__main__":
    typer.run(main)
