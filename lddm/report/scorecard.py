"""scorecard.html: results for each of the seven criteria of synthetic medical data, including those not measured.

The criteria are those of Zamzmi et al. (2025, Communications Engineering, "Scorecard for synthetic medical data evaluation"):
congruence, coverage, constraint, completeness, compliance, comprehension and consistency. All numbers come from tables/.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lddm.files import atomic_path
from lddm.report.memorisation import KINDS, controls_hold
from lddm.report.metric_names import delta_column, primary, shown
from lddm.report.names import label
from lddm.report.page_tables import memory_table
from lddm.report.render import template
from lddm.report.results import Results
from lddm.report.style import span
from lddm.settings import Settings

GENERATOR = "lddm"
MANIFEST = ("sample_id", "x0_id", "label", "seed", "generator")


@dataclass(frozen=True)
class Line:
    """One line of the card.

    Attributes:
        what: name of the quantity.
        value: value with unit; empty if not measured.
        interval: 95 % interval; empty for counts.
        n: sample, e.g. the number of videos.
        compared: reference value (real-vs-real, controls, ...).
        source: table with the value.
        reason: reason why it was not measured.
    """

    what: str
    value: str = ""
    interval: str = ""
    n: str = ""
    compared: str = ""
    source: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Criterion:
    """A criterion: its name, its question and its lines."""

    name: str
    question: str
    lines: list[Line]


def scorecard(settings: Settings, results: Path, out: Path) -> None:
    """Write the scorecard of an experiment from its tables.

    Args:
        settings: the whole config.
        results: results/<experiment>.
        out: the file to write.
    """
    found = Results(results, settings)
    memory = found.memorisation()
    text = template("scorecard.html").render(
        title=settings.report.title,
        experiment=settings.experiment,
        generator=label(GENERATOR),
        criteria=criteria(found),
        memory=memory_table(memory).rows,
    )
    with atomic_path(out) as temporary:
        temporary.write_text(text, encoding="utf-8")


def criteria(found: Results) -> list[Criterion]:
    """All seven criteria, in the order of the paper."""
    quality = found.quality()
    return [
        Criterion(
            "Congruence", "Do synthetic videos have the distribution of real ones?",
            [_score(quality, "fvd", "FVD"), _score(quality, "frechet_video", "Fréchet distance, domain network"),
             _score(quality, "precision", "precision"), _score(quality, "flow_magnitude", "speed of motion, Wasserstein-1")],
        ),
        Criterion(
            "Coverage", "Do they show the variety of real ones?",
            [_score(quality, "recall", "recall"), _score(quality, "coverage", "coverage"),
             _score(quality, "retrieval", "real videos that are a nearest neighbour"),
             _score(quality, "diversity", "difference between samples of one still", "")],
        ),
        Criterion(
            "Constraint", "Do they respect anatomy and physics?",
            [_score(quality, "strain_error", "error of the strain map", "same x0"),
             _score(quality, "acceleration", "change of motion between steps, Wasserstein-1"),
             Line("anatomical plausibility", reason="needs clinicians: `lddm reader-study` makes the page for them")],
        ),
        Criterion("Completeness", "Is everything there that was asked for?", list(_completeness(found))),
        Criterion("Compliance", "Do they protect the patients of the training data?", list(_compliance(found.memorisation()))),
        Criterion(
            "Comprehension", "Can one find out how they were made, and can readers judge them?",
            [_records(found),
             Line("diagnoses by readers", reason="no answers of readers; `lddm reader-study --arms` makes their page")],
        ),
        Criterion("Consistency", "Do results hold for other seeds, patients and uses?", list(_consistency(found))),
    ]  # fmt: skip


def _score(quality: pd.DataFrame, metric: str, what: str, reference: str = "heldout") -> Line:
    """A score of the generator with its real-vs-real reference."""
    rows = quality[
        (quality["metric"] == metric) & (quality["generator"] == GENERATOR) & (quality["source"] == "heldout")
    ]
    rows = rows[rows["reference"].fillna("") == reference]
    if rows.empty:
        return Line(what, reason="not computed; the report page lists absent metrics with reasons")
    better = f"{rows['better'].iloc[0]} is better"
    floor = rows["floor"].dropna()
    return Line(
        what,
        f"{rows['value'].mean():.3g}",
        _interval(rows),
        f"{span(rows['n_synthetic'])} videos",
        f"real against real {floor.mean():.3g}; {better}" if len(floor) else better,
        "quality.csv",
    )


def _interval(rows: pd.DataFrame, low: str = "ci_low", high: str = "ci_high", form: str = ".3g") -> str:
    """The interval for a single row; for several folds, their range, labelled as such."""
    if len(rows) > 1:
        return f"{rows['value'].min():{form}} to {rows['value'].max():{form}} over {len(rows)} folds"
    if pd.isna(rows[low].iloc[0]):
        return ""
    return f"{rows[low].iloc[0]:{form}} to {rows[high].iloc[0]:{form}}"


def _completeness(found: Results) -> Iterator[Line]:
    plan = found.plan
    for source in plan.sources(GENERATOR) if GENERATOR in plan.scored else []:
        folders = [found.root / f"fold-{fold}/synthetic/{GENERATOR}/{source}" for fold in plan.folds]
        paths = [folder / f"shard-{shard}.parquet" for folder in folders for shard in plan.shards]
        tables = [pd.read_parquet(path) for path in paths if path.is_file()]
        what = f"videos of {'test patients' if source == 'heldout' else 'stills'} with first frame, label and seed"
        if not tables:
            yield Line(what, reason="the videos are no longer there")
            continue
        table = pd.concat(tables)
        whole = table[list(MANIFEST)].notna().all(axis=1)
        yield Line(what, f"{int(whole.sum())} of {len(table)}", n=f"{len(table)} videos", source="manifests")
    videos = found.videos()
    left = int(videos["excluded"].notna().sum())
    yield Line(
        "input files that were used", f"{len(videos) - left} of {len(videos)}", n=f"{len(videos)} files", source="index"
    )


COMPLIANCE = {
    "copy_rate": "copies of training videos",
    "motion_copy_rate": "copies of the motion of training videos",
    "authenticity": "authentic videos",
    "data_copying_relative": "data-copying test, relative to held-out videos (Z)",
    "membership_auc": "membership inference (AUC)",
}


def _compliance(memory: pd.DataFrame) -> Iterator[Line]:
    for metric, what in COMPLIANCE.items():
        rows = memory[(memory["metric"] == metric) & (memory["kind"] == KINDS[0]) & (memory["videos"] == GENERATOR)]
        rows = rows[rows["source"] == "heldout"]
        known = rows.dropna(subset=["value"])
        if known.empty:
            reasons = rows["reason"].dropna()
            yield Line(what, reason=reasons.iloc[0] if len(reasons) else "not computed")
            continue
        held, count = controls_hold(memory, metric)
        floor = known["floor"].dropna()
        compared = f"{held} of {count} controls hold" + (f"; without memory {floor.mean():.3g}" if len(floor) else "")
        yield Line(
            what, f"{known['value'].mean():.3g}", _interval(known), f"{span(known['n_synthetic'])} videos or clips", compared,
            "memorisation.csv",
        )  # fmt: skip


def _records(found: Results) -> Line:
    jobs = found.jobs()
    if not jobs:
        return Line("jobs with settings, version and checksums", reason="the folder has no records")
    return Line(
        "jobs with settings, version and checksums", str(len(jobs)), n=f"{len(jobs)} jobs", source="provenance.json"
    )


def _consistency(found: Results) -> Iterator[Line]:
    ablation, compared = found.classification(), found.comparisons()
    name = primary(ablation)
    for row in ablation[(ablation["metric"] == name) & (ablation["regime"] == f"real+{GENERATOR}")].itertuples():
        yield Line(
            f"{shown(name)} of classifier {row.classifier} with LDDM videos", f"{row.mean:.3f}",
            f"{row.ci_low:.3f} to {row.ci_high:.3f}", f"{row.n_test} test videos",
            f"seeds: {row.n_seeds}; folds: {row.n_folds}", "classification.csv",
        )  # fmt: skip
    delta = delta_column(compared)
    pairs = compared[(compared["regime"] == f"real+{GENERATOR}") & (compared["against"] == "real+static")]
    for row in pairs.itertuples():
        yield Line(
            f"its difference to repeated stills ({row.classifier})", f"{getattr(row, delta):+.3f}",
            f"{row.ci_low:+.3f} to {row.ci_high:+.3f}", f"{row.n_test} test videos, {row.n_patients} patients",
            f"better in {row.runs_better} of {row.n_runs} runs; {row.verdict}", "comparisons.csv",
        )  # fmt: skip
    yield Line("other trainings of the generator", reason="one training of each generator in this pipeline")
    if len(found.folds()) == 1:
        yield Line("other test patients", reason="one fold was run (split.folds_to_run)")
