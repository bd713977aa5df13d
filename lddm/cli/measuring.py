"""One thin verb for each rule that measures and reports; imports as in `lddm.cli.pipeline`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lddm.cli.options import (
    Fold,
    Frames,
    Out,
    OutDir,
    Records,
    Results,
    SettingsText,
    Splits,
    State,
    Synthetic,
    open_data,
    option,
)
from lddm.job import job, show_summary
from lddm.settings import ClassificationSettings, DomainNetworkSettings, QualitySettings, ReportSettings
from lddm.settings.build import parse_stage
from lddm.synthesis.leases import gpu_lease

app = typer.Typer()


@app.command()
def train_domain_network(
    settings: SettingsText, frames: Frames, splits: Splits, fold: Fold, state: State, out: Out, record: Records = None
) -> None:
    """Train the video network whose features the domain Fréchet distance uses."""
    seed, section = parse_stage(settings, DomainNetworkSettings)
    about = {"domain_network": section.model_dump(mode="json")}
    with gpu_lease(), job("train_domain_network", record, about, {"fold": fold}) as run:
        from lddm.metrics.domain_network import train_domain_network as work

        work(section, *open_data(frames, splits), fold, seed, state, out, run.metrics)
        run.outputs(out)


@app.command()
def score(
    settings: SettingsText,
    generator: Annotated[str, option("a generator, real or reconstruction")],
    frames: Frames,
    splits: Splits,
    fold: Fold,
    domain_network: Annotated[Path, option("weights made by train-domain-network")],
    weights_dir: Annotated[Path, option("folder of pretrained networks")],
    out: Out,
    copies: Annotated[Path, option("table to write: the nearest training clip of each synthetic video")],
    cache: Annotated[Path | None, option("folder of features that jobs share")] = None,
    synthetic: Synthetic = [],  # noqa: B006 (typer copies it)
    record: Records = None,
) -> None:
    """Score a generator's videos against real ones."""
    seed, section = parse_stage(settings, QualitySettings)
    wildcards = {"fold": fold, "generator": generator}
    with gpu_lease(), job("score", record, {"quality": section.model_dump(mode="json")}, wildcards) as run:
        from lddm.files import write_json, write_table
        from lddm.metrics.score import score as work

        data = open_data(frames, splits)
        rows, found = work(section, generator, *data, fold, domain_network, weights_dir, synthetic, seed, cache)
        write_table(found, copies)
        write_json(out, rows)
        keys = ("source", "metric", "features", "reference")
        named = {"/".join(r[key] for key in keys if r[key]): r["value"] for r in rows}
        run.metrics(0, {name: value for name, value in named.items() if value is not None})
        run.artifacts(out, copies)


@app.command()
def classify(
    settings: SettingsText,
    classifier: Annotated[str, option("network")],
    regime: Annotated[str, option("what it is trained on")],
    frames: Frames,
    splits: Splits,
    fold: Fold,
    state: State,
    out_dir: OutDir,
    synthetic: Synthetic = [],  # noqa: B006
    copies: Annotated[list[Path], option("tables of copies of training videos, which are left out")] = [],  # noqa: B006
    guessed: Annotated[Path | None, option("table of guessed labels, for real+guessed")] = None,
    record: Records = None,
) -> None:
    """Train a classifier on a regime, with several seeds, and test it on held-out patients."""
    seed, section = parse_stage(settings, ClassificationSettings)
    wildcards = {"fold": fold, "classifier": classifier, "regime": regime}
    with gpu_lease(), job("classify", record, {"classification": section.model_dump(mode="json")}, wildcards) as run:
        from lddm.classification.classify import classify as work

        data = open_data(frames, splits)
        paths = work(
            section, classifier, regime, *data, fold, synthetic, copies, guessed, state, out_dir, seed, run.metrics
        )
        run.artifacts(*paths)


@app.command()
def tabulate(
    settings: SettingsText,
    quality: Annotated[list[Path], option("quality JSON files")],
    classification: Annotated[list[Path], option("classification JSON files")],
    out_dir: OutDir,
    sweep: Annotated[list[Path], option("classification JSON files of the sweep")] = [],  # noqa: B006
    record: Records = None,
) -> None:
    """Join the results of all jobs into tables/*.csv."""
    seed, section = parse_stage(settings, ClassificationSettings)
    with job("tabulate", record) as run:
        from lddm.classification.sweep import sweep_tables
        from lddm.classification.table import evaluate
        from lddm.files import write_table
        from lddm.metrics.comparisons import quality_comparisons
        from lddm.report.tables import quality_table

        scored, compared = evaluate(classification, section, seed)
        swept, swept_comparisons = sweep_tables(sweep, section, seed)
        tables = {
            "quality": quality_table(quality),
            "quality_comparisons": quality_comparisons(quality),
            "classification": scored,
            "comparisons": compared,
            "sweep": swept,
            "sweep_comparisons": swept_comparisons,
        }
        run.artifacts(*(write_table(table, out_dir / f"{name}.csv") for name, table in tables.items()))


@app.command()
def figures(settings: SettingsText, results: Results, out_dir: OutDir, record: Records = None) -> None:
    """Draw curves, strips, loops and plots from the result files."""
    _, section = parse_stage(settings, ReportSettings)
    with job("figures", record) as run:
        from lddm.report.figures import figures as work

        run.artifacts(*work(section, results, out_dir))


@app.command()
def page(settings: SettingsText, results: Results, out: Out, record: Records = None) -> None:
    """Write report.html, which opens from disk."""
    _, section = parse_stage(settings, ReportSettings)
    with job("page", record) as run:
        from lddm.report.page import page as work

        work(section, results, out)
        run.artifacts(out)


@app.command()
def summarize(
    settings: SettingsText,
    results: Results,
    out: Out,
    config: Annotated[str, option("the whole config as JSON, for provenance.json beside the summary")] = "{}",
    record: Records = None,
) -> None:
    """Write summary.json, provenance.json and the pipeline's summary run in MLflow."""
    _, section = parse_stage(settings, ReportSettings)
    with job("summarize", record) as run:
        import json

        from lddm.report.provenance import write_provenance
        from lddm.report.summary import summary as work

        write_provenance(results, json.loads(config), out.with_name("provenance.json"))
        work(section, results, out)
        run.artifacts(out, out.with_name("provenance.json"))
    show_summary(out)
