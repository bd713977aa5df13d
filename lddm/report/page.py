"""report.html: a single page that opens from disk, needs no network, and can be printed."""

from __future__ import annotations

import html
from pathlib import Path

from lddm.files import atomic_path
from lddm.report.fonts import class_names, legible
from lddm.report.html import SCRIPT, STYLE, bullets, image
from lddm.report.page_origin import data_table, leaks, provenance, settings_and_jobs
from lddm.report.page_tables import (
    ablation_note,
    ablation_table,
    absent,
    comparison_table,
    copies_table,
    quality_table,
    sweep,
    transfer_table,
)
from lddm.report.results import Results
from lddm.report.verdicts import sentences
from lddm.settings import Settings

PREDICTIONS = {
    "confusion.png": "confusion matrices: true and predicted class of test videos",
    "agreement.png": "predicted and true numbers of test videos, and their differences (Bland-Altman)",
}


def page(settings: Settings, results: Path, out: Path) -> None:
    """Write the report page from the result files and figures of an experiment.

    Args:
        settings: the whole config; outputs of earlier settings are not shown.
        results: results/<experiment>.
        out: the file to write.
    """
    found = Results(results, settings)
    title = settings.report.title
    parts = {
        "Results": _verdicts(found),
        "Videos": _videos(found),
        "Scores": _scores(found),
        "Classification": _classification(found),
        "Training": [image(found.root / "figures/curves.png", "training curves")],
        "Data": [data_table(found), leaks(found)],
        "Settings and provenance": [provenance(found), settings_and_jobs(found)],
    }
    names = {heading: heading.lower().replace(" ", "-") for heading in parts}
    body = [
        f"<h1>{html.escape(title)}</h1>",
        '<p class="note">Videos marked “synthetic” were generated from a single still image. They show possible tissue motion, '
        "not measured motion, and are not for diagnosis.</p>",
        "<nav>" + "".join(f'<a href="#{name}">{heading}</a>' for heading, name in names.items()) + "</nav>",
    ]
    for heading, content in parts.items():
        body += [f'<section id="{names[heading]}"><h2>{heading}</h2>', *filter(None, content), "</section>"]
    document = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(body)
        + f"\n<script>{SCRIPT}</script></body></html>\n"
    )
    with atomic_path(out) as temporary:
        temporary.write_text(document, encoding="utf-8")


def _verdicts(found: Results) -> list[str]:
    return [bullets(sentences(found.quality(), found.classification(), found.comparisons()))]


def _videos(found: Results) -> list[str]:
    figures, classes = found.root / "figures", found.meta()["classes"]
    drawn = class_names(classes)
    replaced = [(short, name) for short, name in zip(drawn, classes, strict=True) if short not in legible(name)]
    named = ", ".join(f"{short} is {name}" for short, name in replaced)
    return [
        f"<p>In the figures, {html.escape(named)}: no installed font has these letters.</p>" if named else "",
        "<p>The same first frame x0 of test patients, animated by each generator; “real” is the recorded video.</p>",
        *(
            image(path, "real and synthetic videos, moving", "loop")
            for path in sorted(figures.glob("loops/loop-*.webp"))
        ),
        image(figures / "strips.png", "film strips and M-mode of real and synthetic videos", "strips"),
        "<p>Times are relative to x0. M-mode: the central column of the image over time.</p>",
        "<h3>Failures of LDDM, selected by rule</h3>",
        "<p>From the test patients of the first fold: the LDDM video with the largest change between two frames, the one with "
        "the smallest mean change, the one furthest from the real video, and the one nearest to a training clip.</p>",
        image(figures / "failures.png", "the most abrupt, stillest, worst and least original video of LDDM", "strips"),
        copies_table(found),
    ]


def _scores(found: Results) -> list[str]:
    quality = found.quality()
    return [
        "<p>“Against heldout”: videos of half of the test patients against real videos of the other half, averaged over "
        "several splits into halves; “real” is real against real on the same halves. “Against heldout, same x0” shares "
        "patients and first frames with the videos, so it has no such reference. Metrics that do not get worse for frozen or "
        "shuffled videos are marked as blind to motion. Small print: 95 % interval over patients, or the range of fold means "
        "if there are several folds. Click a heading to sort. Differences between generators: "
        "tables/quality_comparisons.csv. The “control: ...” rows of copy_rate show the result of the search for sets with a "
        "known answer.</p>",
        image(found.root / "figures/quality.png", "scores by generator"),
        *(quality_table(quality, source) for source in ("heldout", "stills")),
        absent(found.absent_metrics()),
    ]


def _drawn(found: Results, name: str) -> bool:
    task = found.task()
    return task.is_regression if name == "agreement.png" else not (task.is_regression or task.kind == "binary")


def _tests(found: Results) -> str:
    bootstrap = "a bootstrap over patients and seeds"
    return f"the larger of {bootstrap} and DeLong’s test" if found.task().kind == "binary" else bootstrap


def _classification(found: Results) -> list[str]:
    return [
        f"<p>{ablation_note(found)}</p>",
        image(found.root / "figures/ablation.png", "classifier performance by regime"),
        *(image(found.root / "figures" / name, text) for name, text in PREDICTIONS.items() if _drawn(found, name)),
        ablation_table(found.classification()),
        "<h3>Pairs of regimes</h3>",
        f"<p>On the same test videos. p: {_tests(found)}, with Holm’s correction over all pairs on this page. Only motion can "
        "explain a difference between LDDM and repeated stills.</p>",
        comparison_table(found.comparisons()),
        transfer_table(found.transfer()),
        sweep(found, found.root / "figures"),
    ]
