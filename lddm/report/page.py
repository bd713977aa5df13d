"""report.html: a single page that opens from disk, needs no network, and can be printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lddm.files import atomic_path
from lddm.report.effects import axis, effects
from lddm.report.failures import failures
from lddm.report.fonts import class_names, legible
from lddm.report.label_counts import label_counts
from lddm.report.page_origin import data_facts, data_table, jobs_table, leaks, provenance, settings_table
from lddm.report.page_tables import (
    ablation_note,
    ablation_table,
    comparison_table,
    copies_table,
    memory_table,
    quality_table,
    sweep_tables,
    transfer_table,
)
from lddm.report.parts import picture
from lddm.report.render import template
from lddm.report.results import Results
from lddm.report.sheet import case
from lddm.report.strips import choose
from lddm.report.verdicts import ablation_sentences, quality_sentences
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
    parts = _answer(found) | _videos(found, settings.report.strips) | _scores(found) | _classification(found)
    parts |= _origin(found)
    with atomic_path(out) as temporary:
        temporary.write_text(template("report.html").render(title=settings.report.title, **parts), encoding="utf-8")


def _answer(found: Results) -> dict[str, Any]:
    """Content of the first screen."""
    ablation = found.classification()
    shown = effects(found.comparisons(), ablation)
    videos = found.videos()
    usable = videos[videos["excluded"].isna()]
    return {
        "experiment": found.plan.settings.experiment,
        "counts": {kind: int((usable["kind"] == kind).sum()) for kind in ("video", "image")},
        "patients": usable["patient_id"].nunique(),
        "folds": len(found.folds()),
        "effects": shown,
        "axis": axis(shown),
        "labels": label_counts(found) if shown else "",
        "sentences": ablation_sentences(ablation) + quality_sentences(found.quality()),
    }


def _videos(found: Results, count: int) -> dict[str, Any]:
    figures, classes, fps = found.root / "figures", found.meta()["classes"], found.meta()["fps"]
    drawn = class_names(classes)
    replaced = [(short, name) for short, name in zip(drawn, classes, strict=True) if short not in legible(name)]
    return {
        "renamed": ", ".join(f"{short} is {name}" for short, name in replaced),
        "cases": [case(title, versions, fps) for title, versions in choose(found, count)],
        "strips": picture(figures / "strips.png", "film strips and M-mode of real and synthetic videos", "strips"),
        "failures": [case(title, versions, fps) for title, versions in failures(found)],
        "failure_strips": picture(
            figures / "failures.png", "the most abrupt, stillest, worst and least original video of LDDM", "strips"
        ),
        "copies": copies_table(found),
    }


def _scores(found: Results) -> dict[str, Any]:
    quality = found.quality()
    tables = [quality_table(quality, source) for source in ("heldout", "stills")]
    return {
        "quality_chart": picture(found.root / "figures/quality.png", "scores by generator"),
        "quality_tables": [table for table in tables if table],
        "absent": found.absent_metrics(),
        "memorisation": memory_table(found.memorisation()),
    }


def _drawn(found: Results, name: str) -> bool:
    task = found.task()
    return task.is_regression if name == "agreement.png" else not (task.is_regression or task.kind == "binary")


def _classification(found: Results) -> dict[str, Any]:
    figures = found.root / "figures"
    return {
        "note": ablation_note(found),
        "is_binary": found.task().kind == "binary",
        "ablation_chart": picture(figures / "ablation.png", "classifier performance by regime"),
        "prediction_charts": [
            picture(figures / name, text) for name, text in PREDICTIONS.items() if _drawn(found, name)
        ],
        "ablation": ablation_table(found.classification()),
        "pairs": comparison_table(found.comparisons()),
        "transfer": transfer_table(found.transfer()),
        "sweeps": sweep_tables(found),
        "sweep_chart": picture(figures / "sweep.png", "classifier performance by number of real videos and regime"),
    }


def _origin(found: Results) -> dict[str, Any]:
    return {
        "curves": picture(found.root / "figures/curves.png", "training curves"),
        "data_facts": data_facts(found),
        "data": data_table(found),
        "leaks": leaks(found),
        "facts": provenance(found),
        "pipeline": found.pipeline(),
        "settings": settings_table(found),
        "jobs": jobs_table(found),
    }
