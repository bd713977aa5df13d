"""Tables of docs/results.md and docs/results/phantom.md, and the forest plot, from docs/results/effects.csv and a run.

    python -m benchmarks.findings                         # first page: table and plot from effects.csv
    python -m benchmarks.findings --run results/phantom   # first update the numbers from a finished `make run`

Tables are placed between markers; tests/contract checks that the first page agrees with effects.csv.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from lddm.errors import LddmError
from lddm.files import atomic_path, write_table
from lddm.version import __version__

ROOT = Path(__file__).resolve().parents[1]
EFFECTS = Path("docs/results/effects.csv")
PAGE, PHANTOM = Path("docs/results.md"), Path("docs/results/phantom.md")
PLOT = Path("docs/images/findings.png")
# regime and its reference in tables/comparisons.csv, for the rows measured by `make run`
OF_A_RUN = {
    "LDDM − repeated stills": ("real+lddm", "real+static"),
    "LDDM − cINN": ("real+lddm", "real+cinn"),
    "LDDM − motion transfer": ("real+lddm", "real+motion_transfer"),
    "repeated stills − real videos alone": ("real+static", "real"),
}
GENERATORS = ("real", "reconstruction", "lddm", "cinn", "motion_transfer", "static")
# title, metric and reference in tables/quality.csv
MEASURES = (
    ("Fréchet video, domain network", "frechet_video", "heldout"),
    ("Fréchet frame, EfficientNet-Lite0", "frechet_frame", "heldout"),
    ("optical flow, W1 (px/frame)", "flow_magnitude", "heldout"),
    ("flicker, W1", "flicker", "heldout"),
    ("temporal difference, W1", "temporal_difference", "heldout"),
    ("temporal spectrum (dB)", "temporal_spectrum", "heldout"),
    ("L1 to the true video", "l1", "same x0"),
    ("SSIM to the true video", "ssim", "same x0"),
    ("strain error to the true video", "strain_error", "same x0"),
    ("diversity (L1)", "diversity", ""),
    ("copy rate, thumbnails", "copy_rate", "train"),
)


def updated(effects: pd.DataFrame, comparisons: pd.DataFrame) -> pd.DataFrame:
    """Replace the effects of `make run` by the comparisons of the strain classifier of a finished run.

    Raises:
        LddmError: a comparison is missing.
    """
    effects = effects.copy()
    strain = comparisons[comparisons["classifier"] == "strain"].set_index(["regime", "against"])
    for index in effects.index[effects["command"] == "make run"]:
        regimes = OF_A_RUN[effects.at[index, "comparison"]]
        if regimes not in strain.index:
            raise LddmError(f"no comparison of {regimes[0]} with {regimes[1]}", "finish `make run` first")
        found = strain.loc[[regimes]].iloc[0]
        for name, column in (
            ("difference", "delta_auc"),
            ("ci_low", "ci_low"),
            ("ci_high", "ci_high"),
            ("p_holm", "p_holm"),
        ):
            effects.at[index, name] = round(float(found[column]), 3)
        effects.at[index, "patients"] = int(found["n_patients"])
        effects.at[index, "runs"], effects.at[index, "version"] = f"{found['n_runs']} seeds", __version__
    return effects


def effects_table(effects: pd.DataFrame) -> str:
    """Markdown table with one row per comparison."""
    lines = [
        "| setting | comparison | difference in AUC (95 % interval) | p (Holm) | patients, runs | version | command |",
        "|---|---|---|---|---|---|---|",
    ]
    before = None
    for row in effects.itertuples():
        setting = f"[{row.setting}](results/{row.page})" if row.setting != before else ""
        before = row.setting
        numbers = f"{row.difference:+.3f} ({row.ci_low:+.3f}, {row.ci_high:+.3f})"
        cells = (setting, row.comparison, numbers, f"{row.p_holm:.2g}", f"{row.patients}, {row.runs}", row.version)
        lines.append(f"| {' | '.join(map(str, cells))} | `{row.command}` |")
    return "\n".join(lines)


def quality_table(quality: pd.DataFrame) -> str:
    """Markdown table of the held-out videos with one row per measure and one column per generator."""
    quality = quality[(quality["source"] == "heldout") | (quality["generator"] == "real")]
    lines = ["| | real (floor) | autoencoder | LDDM | cINN | motion transfer | x0 repeated |", "|---" * 7 + "|"]
    for title, metric, reference in MEASURES:
        rows = quality[(quality["metric"] == metric) & (quality["reference"].fillna("") == reference)]
        cells = [_interval(rows[rows["generator"] == name]) for name in GENERATORS]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _interval(rows: pd.DataFrame) -> str:
    if rows.empty or pd.isna(rows["value"].iloc[0]):
        return "–"
    value, low, high = (rows[name].iloc[0] for name in ("value", "ci_low", "ci_high"))
    return f"{value:.3g}" if pd.isna(low) else f"{value:.3g} ({low:.3g}, {high:.3g})"


def classifier_table(classification: pd.DataFrame, comparisons: pd.DataFrame) -> str:
    """Markdown table of the AUC per classifier and training set, and of its difference to real videos alone."""
    lines = ["| classifier | training videos | AUC | difference to real | p, Holm |", "|---" * 5 + "|"]
    to_real = comparisons[comparisons["against"] == "real"].set_index(["classifier", "regime"])
    for row in classification[classification["metric"] == "auc"].itertuples():
        cells = [row.classifier, row.regime, f"{row.mean:.3f} ({row.ci_low:.3f}, {row.ci_high:.3f})", "", ""]
        if (row.classifier, row.regime) in to_real.index:
            other = to_real.loc[(row.classifier, row.regime)]
            cells[3] = f"{other['delta_auc']:+.3f} ({other['ci_low']:+.3f}, {other['ci_high']:+.3f})"
            cells[4] = f"{other['p_bootstrap']:.3f}, {other['p_holm']:.2f}"
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def between(page: str, name: str, text: str) -> str:
    """Return the page with the text between the named markers replaced.

    Raises:
        LddmError: a marker is missing.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if begin not in page or end not in page:
        raise LddmError(f"the page has no markers {begin} and {end}", "add them at the position of the table")
    return f"{page.split(begin)[0]}{begin}\n{text}\n{end}{page.split(end)[1]}"


def forest_plot(effects: pd.DataFrame, path: Path) -> None:
    """Draw one line per comparison with its interval; the marker is filled if the interval excludes zero."""
    from lddm.report.style import save, subplots

    figure, axes = subplots(figsize=(8.2, 0.42 * len(effects) + 1.0), layout="constrained")
    names, before = [], None
    for place, row in enumerate(effects.itertuples()):
        apart = row.ci_low > 0 or row.ci_high < 0
        colour, fill = ("#D55E00", "full") if apart else ("#606060", "none")
        axes.plot([row.ci_low, row.ci_high], [place, place], color=colour, linewidth=1.6)
        axes.plot(row.difference, place, "o", color=colour, fillstyle=fill)
        names.append(row.comparison if row.setting == before else f"{row.setting}\n{row.comparison}")
        before = row.setting
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.invert_yaxis()
    axes.axvline(0, color="#000000", linewidth=0.6)
    axes.set_xlabel("difference in test AUC, 95 % interval; filled: the interval excludes zero")
    save(figure, path)


def main(
    run: Annotated[Path | None, typer.Option(help="results/<experiment> of a finished `make run`")] = None,
) -> None:
    """Write the tables and the forest plot; with --run, update the numbers from that run first."""
    effects, pages = pd.read_csv(ROOT / EFFECTS), {}
    if run is not None:
        names = ("quality", "classification", "comparisons")
        quality, classification, comparisons = (pd.read_csv(run / "tables" / f"{name}.csv") for name in names)
        effects = updated(effects, comparisons)
        write_table(effects, ROOT / EFFECTS)
        phantom = between((ROOT / PHANTOM).read_text(encoding="utf-8"), "quality", quality_table(quality))
        pages[PHANTOM] = between(phantom, "classifiers", classifier_table(classification, comparisons))
    pages[PAGE] = between((ROOT / PAGE).read_text(encoding="utf-8"), "findings", effects_table(effects))
    for page, text in pages.items():
        with atomic_path(ROOT / page) as temporary:
            temporary.write_text(text, encoding="utf-8")
    forest_plot(effects, ROOT / PLOT)
    typer.echo(f"{', '.join(map(str, pages))}, {PLOT}: {len(effects)} comparisons")


if __name__ == "__main__":
    typer.run(main)
