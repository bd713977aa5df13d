"""summary.json: machine-readable headline numbers, also for MLflow's comparison of pipelines."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lddm.files import write_json
from lddm.report.headline import headline_scores
from lddm.report.metric_names import delta_column, primary
from lddm.report.provenance import write_provenance
from lddm.report.results import Results, flat
from lddm.report.verdicts import sentences
from lddm.settings import Settings
from lddm.settings.stages import whole


def summarize(settings: Settings, results: Path, out: Path) -> tuple[Path, Path]:
    """Write summary.json and, beside it, provenance.json, which contains its checksum.

    Args:
        settings: the whole config.
        results: results/<experiment>.
        out: summary.json.

    Returns:
        Both files.
    """
    provenance = out.with_name("provenance.json")
    summary(settings, results, out)
    write_provenance(results, settings, provenance)
    return out, provenance


def summary(settings: Settings, results: Path, out: Path) -> None:
    """Write the summary of an experiment; `headline` is a flat mapping: name -> mean over folds."""
    found = Results(results, settings)
    quality, ablation, compared = found.quality(), found.classification(), found.comparisons()
    videos = found.videos()
    usable = videos[videos["excluded"].isna()]
    write_json(
        out,
        {
            "title": settings.report.title,
            "experiment": settings.experiment,
            "pipeline": found.pipeline(),
            "data": {
                "videos": int((usable["kind"] == "video").sum()),
                "stills": int((usable["kind"] == "image").sum()),
                "patients": int(usable["patient_id"].nunique()),
                "excluded": int(videos["excluded"].notna().sum()),
                "folds": found.folds(),
            },
            "headline": headline(quality, ablation, compared),
            "sentences": sentences(quality, ablation, compared),
            "absent_metrics": found.absent_metrics(),
            "settings": flat(whole(settings)),
        },
    )


def headline(quality: pd.DataFrame, ablation: pd.DataFrame, compared: pd.DataFrame) -> dict[str, float]:
    """Headline numbers by name.

    quality/<generator>/<metric>; classification/<classifier>/<regime>/auc and .../delta_auc (or the tested metric in place of
    auc); classification/<classifier>/motion_delta_auc, the difference between LDDM and repeated stills.
    """
    numbers: dict[str, float] = {}
    for metric, generator, rows in headline_scores(quality):
        numbers[f"quality/{generator}/{metric}"] = round(float(rows["value"].mean()), 6)
    tested, delta = primary(ablation), delta_column(compared)
    for row in ablation[ablation["metric"] == tested].itertuples():
        numbers[f"classification/{row.classifier}/{row.regime}/{tested}"] = round(float(row.mean), 6)
        if pd.notna(row.delta_vs_real):
            numbers[f"classification/{row.classifier}/{row.regime}/{delta}"] = round(float(row.delta_vs_real), 6)
    motion = compared[(compared["regime"] == "real+lddm") & (compared["against"] == "real+static")]
    for row in motion.itertuples():
        numbers[f"classification/{row.classifier}/motion_{delta}"] = round(float(getattr(row, delta)), 6)
    return numbers
