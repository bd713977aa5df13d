"""The paper's tables in LaTeX (booktabs): quality by generator, classification by network and regime."""

from __future__ import annotations

import pandas as pd

from lddm.report.label_counts import label_counts
from lddm.report.metric_names import LATEX, LATEX_DELTA, primary
from lddm.report.results import Results
from lddm.report.style import in_order, label, span

# metric, reference, heading; the first four are the paper's
QUALITY = (
    ("fvd", "heldout", r"FVD $\downarrow$"),
    ("dt_fvd", "heldout", r"DT-FVD $\downarrow$"),
    ("lpips_vgg", "same x0", r"LPIPS $\downarrow$"),
    ("fid", "heldout", r"FID $\downarrow$"),
    ("frechet_video", "heldout", r"Fr\'echet video$^a$ $\downarrow$"),
    ("flow_magnitude", "heldout", r"Flow$^b$ $\downarrow$"),
    ("temporal_difference", "heldout", r"$\Delta t^b$ $\downarrow$"),
    ("ssim", "same x0", r"SSIM $\uparrow$"),
    ("diversity", "", r"Diversity $\uparrow$"),
)
NOTE = (
    "$^a$ features of the domain network; $^b$ Wasserstein-1 distance. Held-out patients, {n} videos per generator; "
    "95\\,\\% intervals over patients, or ranges over folds if there are several. Dash: not computed."
)
BLIND = " $^c$ blind to motion: a frozen video has the same score or a better one."


def tables(found: Results) -> str:
    """Both tables as LaTeX source."""
    return quality_latex(found.quality()) + "\n" + classification_latex(found.classification(), label_counts(found))


def quality_latex(table: pd.DataFrame) -> str:
    """One row per generator, one column per metric; metrics without any value are omitted."""
    rows = table[(table["source"] == "heldout") | (table["generator"] == "real")]
    rows = rows.assign(reference=rows["reference"].fillna(""))
    columns = [
        (heading if part["sees_motion"].iloc[0] else heading.replace(" $", "$^c$ $", 1), part)
        for metric, reference, heading in QUALITY
        if len(part := rows[(rows["metric"] == metric) & (rows["reference"] == reference)])
    ]
    body = []
    for generator in in_order(rows["generator"].tolist()):
        cells = [_quality_cell(part[part["generator"] == generator]) for _, part in columns]
        body.append(" & ".join([escape(label(generator)), *cells]))
    made = [part[part["generator"] != "real"].groupby("generator")["n_synthetic"].sum() for _, part in columns]
    counts = pd.concat(made) if made else pd.Series(dtype=int)
    note = NOTE.format(n=span(counts) if len(counts) else 0)
    if any(not part["sees_motion"].iloc[0] for _, part in columns):
        note += BLIND
    return _tabular("Quality of the videos.", "tab:quality", ["", *(heading for heading, _ in columns)], body, note)


def _quality_cell(part: pd.DataFrame) -> str:
    if part.empty:
        return "--"
    low, high = part["ci_low"].iloc[0], part["ci_high"].iloc[0]
    if len(part) > 1:
        low, high = part["value"].min(), part["value"].max()
    interval = "" if pd.isna(low) else rf" {{\scriptsize [{low:.3g}, {high:.3g}]}}"
    return f"{part['value'].mean():.3g}{interval}"


def classification_latex(table: pd.DataFrame, labels: str) -> str:
    """One row per network and regime, one column per metric; the primary metric with interval and difference from `real`.

    Args:
        labels: number of labels used by the classifiers, for the note.
    """
    body, tested = [], primary(table)
    columns = LATEX[tested]
    for classifier, part in table.groupby("classifier", sort=False):
        for place, regime in enumerate(in_order(part["regime"].unique().tolist())):
            rows = part[part["regime"] == regime].set_index("metric")
            cells = [f"{rows.loc[metric, 'mean']:.3f}" for metric in columns]
            cells[0] += rf" {{\scriptsize [{rows.loc[tested, 'ci_low']:.3f}, {rows.loc[tested, 'ci_high']:.3f}]}}"
            delta, p = rows.loc[tested, "delta_vs_real"], rows.loc[tested, "p_value"]
            change = "--" if pd.isna(delta) else f"${delta:+.3f}$ ({'$<$0.001' if p < 0.001 else f'{p:.3f}'})"
            name = escape(classifier) if place == 0 else ""
            body.append(" & ".join([name, escape(label(regime)), *cells, change]))
        body[-1] += r" \\ \addlinespace"
    head = ["Network", "Training videos", *columns.values(), rf"$\Delta${LATEX_DELTA[tested]} ($p$)"]
    first = table.iloc[0]
    note = (
        f"{first['n_test']} test videos, {first['n_folds']} fold(s), {first['n_seeds']} seeds; 95\\,\\% intervals over patients "
        f"and seeds; $p$ against real videos, paired, Holm-corrected over all pairs of a network. Labels used: {escape(labels)}."
    )
    return _tabular("Classification.", "tab:classification", head, body, note)


def _tabular(caption: str, name: str, head: list[str], body: list[str], note: str) -> str:
    lines = [line if line.endswith(r"\addlinespace") else line + r" \\" for line in body]
    columns = "l" * (2 if head[0] == "Network" else 1) + "r" * (len(head) - (2 if head[0] == "Network" else 1))
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}\label{{{name}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(head) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            rf"\par\smallskip{{\footnotesize {note}}}",
            r"\end{table}",
            "",
        ]
    )


def escape(text: str) -> str:
    """Escape the special characters of LaTeX."""
    return "".join({"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "+": "+"}.get(letter, letter) for letter in text)
