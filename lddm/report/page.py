"""report.html: one page that opens from disk, needs no network, and prints."""

from __future__ import annotations

import html
from pathlib import Path

from lddm.files import atomic_path
from lddm.report.html import SCRIPT, STYLE, bullets, image
from lddm.report.page_tables import (
    ablation_note,
    ablation_table,
    absent,
    comparison_table,
    data_table,
    quality_table,
    settings_and_jobs,
    sweep,
)
from lddm.report.results import Results
from lddm.report.verdicts import ablation_sentences, motion_sentences, quality_sentences
from lddm.settings.evaluation import ReportSettings


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
        bullets(quality_sentences(quality) + ablation_sentences(ablation) + motion_sentences(found.comparisons())),
        "<h2>Videos</h2>",
        "<p>The same first frame x0 of test patients, animated by each generator; the leftmost is what really followed.</p>",
        *(image(path, "real and synthetic videos, moving") for path in loops),
        image(figures / "strips.png", "film strips and M-mode of real and synthetic videos"),
        "<h3>Where LDDM fails, chosen by rule</h3>",
        image(figures / "failures.png", "the most abrupt, the stillest and the least original video of LDDM"),
        "<h2>Scores of the videos</h2>",
        "<p>Against real videos of test patients. “real” compares real videos of other patients with them: the floor at "
        "this number of videos. Metrics that a frozen or shuffled video does not make worse are marked as blind to motion. "
        "Small: 95 % interval over patients; fold means where there are several folds. Click a heading to sort. "
        "Generators know x0, so their frames are near those of the reference; “stills” are other patients’ images.</p>",
        image(figures / "quality.png", "scores by generator"),
        *(quality_table(quality, source) for source in ("heldout", "stills")),
        absent(found.absent_metrics()),
        "<h2>What the videos are worth for a classifier</h2>",
        f"<p>{ablation_note(found)}</p>",
        image(figures / "ablation.png", "classifier performance by regime"),
        ablation_table(ablation),
        "<h3>Pairs of regimes</h3>",
        "<p>On the same test videos. p: the larger one of a bootstrap over patients and seeds and of DeLong’s test, "
        "corrected by Holm over the pairs of a classifier. LDDM against repeated stills is what only motion can explain.</p>",
        comparison_table(found.comparisons()),
        sweep(found, figures),
        "<h2>Training</h2>",
        image(figures / "curves.png", "training curves"),
        "<h2>Data</h2>",
        data_table(found),
        "<h2>Settings and jobs</h2>",
        settings_and_jobs(found),
        f"<footer>Pipeline {html.escape(found.pipeline())}. Tables: tables/quality.csv, tables/classification.csv, "
        "tables/comparisons.csv. Checksums of all outputs: provenance.json (lddm verify). Jobs: records/, and the MLflow view "
        'of them, after “make ui” at <a href="http://127.0.0.1:5000">127.0.0.1:5000</a>.</footer>',
    ]
    document = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(section.title)}</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(part for part in parts if part)
        + f"\n<script>{SCRIPT}</script></body></html>\n"
    )
    with atomic_path(out) as temporary:
        temporary.write_text(document, encoding="utf-8")
