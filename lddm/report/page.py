"""report.html: one page that opens from disk and needs no network."""

from __future__ import annotations

import base64
import html
import math
from pathlib import Path

import pandas as pd

from lddm.files import atomic_path
from lddm.report.results import Results
from lddm.report.style import in_order, label
from lddm.report.verdicts import ablation_sentences, motion_sentences, quality_sentences, verdict
from lddm.settings.evaluation import ReportSettings

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-size: 0.86rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.7rem; text-align: right; border-bottom: 1px solid #8884; vertical-align: top; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 2px solid #888; }
td small { display: block; opacity: 0.65; } .wide { overflow-x: auto; }
img { max-width: 100%; height: auto; background: #fff; }
.note { border-left: 4px solid #d55e00; padding: 0.3rem 0.9rem; } footer { margin-top: 3rem; opacity: 0.75; font-size: 0.85rem; }
"""
UNITS = {"l1": "0..1", "psnr": "dB", "flow_magnitude": "px/frame", "copy_rate": "share of videos"}


def page(section: ReportSettings, results: Path, out: Path) -> None:
    """Write the page from the result files and figures of an experiment."""
    found = Results(results)
    quality, ablation = found.quality(), found.classification()
    figures = results / "figures"
    loops = sorted(figures.glob("loop-*.webp"))
    parts = [
        f"<h1>{html.escape(section.title)}</h1>",
        '<p class="note">Videos marked “synthetic” were made by a computer from one still image. They show what tissue '
        "might do, not what it did, and are not for diagnosis.</p>",
        "<h2>What came out</h2>",
        _list(quality_sentences(quality) + ablation_sentences(ablation) + motion_sentences(found.comparisons())),
        "<h2>Videos</h2>",
        "<p>The same first frame x0 of test patients, animated by each generator; the leftmost is what really followed.</p>",
        *(_image(path, "real and synthetic videos, moving") for path in loops),
        _image(figures / "strips.png", "film strips and M-mode of real and synthetic videos"),
        "<h2>Scores of the videos</h2>",
        "<p>Against real videos of test patients. “real” compares real videos of other patients with them: the floor at "
        "this number of videos. Small: 95 % interval over patients; fold means where there are several folds. "
        "Generators know x0, so their frames are near those of the reference; “stills” are other patients’ images.</p>",
        _image(figures / "quality.png", "scores by generator"),
        *(_quality_table(quality, source) for source in ("heldout", "stills")),
        _absent(found.absent_metrics()),
        "<h2>What the videos are worth for a classifier</h2>",
        f"<p>{_ablation_note(found)}</p>",
        _image(figures / "ablation.png", "classifier performance by regime"),
        _ablation_table(ablation),
        "<h3>Pairs of regimes</h3>",
        "<p>On the same test videos. p: the larger one of a bootstrap over patients and seeds and of DeLong’s test, "
        "corrected by Holm over the pairs of a classifier. LDDM against repeated stills is what only motion can explain.</p>",
        _comparison_table(found.comparisons()),
        _sweep(found, figures),
        "<h2>Training</h2>",
        _image(figures / "curves.png", "training curves"),
        "<h2>Data</h2>",
        _data_table(found),
        f"<footer>Pipeline {html.escape(found.pipeline())}. Tables: tables/quality.csv, tables/classification.csv. "
        "Jobs, settings and checksums: records/, and the MLflow view of them.</footer>",
    ]
    document = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(section.title)}</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )
    with atomic_path(out) as temporary:
        temporary.write_text(document, encoding="utf-8")


def _image(path: Path, text: str) -> str:
    """An image inside the page."""
    if not path.is_file():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    kind = {".png": "image/png", ".webp": "image/webp"}[path.suffix]
    return f'<p><img alt="{html.escape(text)}" src="data:{kind};base64,{data}"></p>'


def _list(sentences: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences) + "</ul>"


def _table(head: list[str], rows: list[list[str]]) -> str:
    """Cells are HTML already."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def number(value: float | None) -> str:
    """Three significant digits; a dash for what is absent."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _quality_table(quality: pd.DataFrame, source: str) -> str:
    """Metrics down, generators across."""
    rows = quality[(quality["source"] == source) | (quality["generator"] == "real")]
    rows = rows.assign(reference=rows["reference"].fillna(""))
    if rows[rows["generator"] != "real"].empty:
        return ""
    names = in_order(rows["generator"].tolist())
    lines = []
    for (metric, reference, features), part in rows.groupby(["metric", "reference", "features"], sort=True):
        if set(part["generator"]) == {"real"} and source != "heldout":
            continue
        unit = f" [{UNITS[metric]}]" if metric in UNITS else ""
        against = f", against {reference}" if reference else ""
        first = part.iloc[0]
        counts = f"n = {_span(part['n_synthetic'])} videos" + (
            f", {_span(part['n_real'])} real" if part["n_real"].any() else ""
        )
        about = f"{html.escape(features + against)}; {counts}"
        name = f"{html.escape(metric + unit)} ({first['better']} is better)<small>{about}</small>"
        lines.append([name, *(_cell(part[part["generator"] == generator]) for generator in names)])
    title = {"heldout": "First frames of test patients", "stills": "Labelled still images"}[source]
    return f"<h3>{title}</h3>" + _table(["", *map(label, names)], lines)


def _span(counts: pd.Series) -> str:
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low}–{high}"


def _cell(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "–"
    text = number(rows["value"].mean())
    if len(rows) == 1 and pd.notna(rows["ci_low"].iloc[0]):
        text += f"<small>{number(rows['ci_low'].iloc[0])} to {number(rows['ci_high'].iloc[0])}</small>"
    elif len(rows) > 1:
        text += f"<small>folds {number(rows['value'].min())} to {number(rows['value'].max())}</small>"
    return text


def _absent(reasons: dict[str, str]) -> str:
    if not reasons:
        return ""
    items = "".join(
        f"<li>{html.escape(metric)}: {html.escape(reason)}</li>" for metric, reason in sorted(reasons.items())
    )
    return f"<details><summary>Metrics that could not be computed, and why ({len(reasons)})</summary><ul>{items}</ul></details>"


def _ablation_note(found: Results) -> str:
    """How many videos the classifiers had."""
    runs = found.classification_runs()
    if not runs:
        return ""
    real = sorted({run["n_real_videos"] for run in runs if run["regime"] == "real"})
    added = sorted({run["n_added"] for run in runs if run["n_added"]})
    steps = sorted({run["steps"] for run in runs})
    return (
        f"Real training videos of a classifier: {', '.join(map(str, real)) or '–'}; added synthetic ones: "
        f"{', '.join(map(str, added)) or '–'}; optimiser steps in every regime: {', '.join(map(str, steps))}. The threshold "
        "comes from validation patients. p-values: paired bootstrap over patients and seeds, corrected by Holm over the regimes. "
        "The generators have seen all training videos of the fold with their labels, a classifier only those counted here."
    )


def _ablation_table(ablation: pd.DataFrame) -> str:
    lines = []
    for (classifier, metric), part in ablation.groupby(["classifier", "metric"], sort=False):
        if metric not in ("auc", "balanced_accuracy", "ece"):
            continue
        for regime in in_order(part["regime"].tolist()):
            row = part[part["regime"] == regime].iloc[0]
            lines.append(
                [
                    html.escape(f"{classifier}: {label(regime)}"),
                    html.escape(metric),
                    f"{number(row['mean'])}<small>{number(row['ci_low'])} to {number(row['ci_high'])}</small>",
                    "" if regime == "real" else f"{row['delta_vs_real']:+.3f}<small>{row['delta_ci_low']:+.3f} to "
                    f"{row['delta_ci_high']:+.3f}</small>",
                    "" if regime == "real" else number(row["p_value"]),
                    "" if regime == "real" else verdict(row),
                ]
            )  # fmt: skip
    return _table(["training videos", "metric", "value", "difference to real", "p", "verdict"], lines)


def _comparison_table(table: pd.DataFrame) -> str:
    head = ["pair", "difference of AUC", "p", "better in", "test videos (patients)", "verdict"]
    return _table(
        head,
        [
            [
                html.escape(f"{row.classifier}: {label(row.regime)} against {label(row.against)}"),
                f"{row.delta_auc:+.3f}<small>{row.ci_low:+.3f} to {row.ci_high:+.3f}</small>",
                number(row.p_holm),
                f"{row.runs_better} of {row.n_runs} runs",
                f"{row.n_test} ({row.n_patients})",
                html.escape(row.verdict),
            ]
            for row in table.itertuples()
        ],
    )


def _sweep(found: Results, figures: Path) -> str:
    """The ablation with other amounts, if there was a sweep."""
    table = found.sweep_comparisons()
    if table.empty:
        return ""
    parts = ["<h3>Other amounts</h3>", _image(figures / "sweep.png", "AUC by number of real videos and regime")]
    for (videos, share), part in table.groupby(["real_videos", "synthetic_share"], sort=True):
        count = f"{videos} real videos" if videos else "all real videos"
        parts += [f"<h4>{count}, {share:g} of a batch synthetic</h4>", _comparison_table(part)]
    return "\n".join(parts)


def _data_table(found: Results) -> str:
    """Files, patients and exclusions by source and kind."""
    videos, lines = found.videos(), []
    for (source, kind, name), part in videos.groupby(["source", "kind", "class_name"], dropna=False, sort=True):
        usable = part[part["excluded"].isna()]
        reasons = part["excluded"].dropna().str.split(":").str[0].value_counts()
        why = "; ".join(f"{html.escape(str(reason))}: {count}" for reason, count in reasons.items())
        cells = [f"{source}, {kind}, {name}", len(part), len(usable), usable["patient_id"].nunique(), why or "–"]
        lines.append([html.escape(str(cell)) if place < 4 else cell for place, cell in enumerate(cells)])
    meta = found.meta()
    text = f"<p>{meta['size']} x {meta['size']} pixels, {meta['fps']:g} Hz, clips of x0 and {meta['clip_length']} frames.</p>"
    return text + _table(["source, kind, class", "files", "used", "patients", "excluded"], lines)
