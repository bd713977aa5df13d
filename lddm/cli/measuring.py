"""One thin command per rule of evaluation and reporting; local imports as in `lddm.cli.pipeline`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lddm.cli.options import (
    Fold,
    Frames,
    Motion,
    Out,
    OutDir,
    Records,
    Results,
    SettingsFile,
    Shards,
    Splits,
    State,
    Synthetic,
    WholeConfig,
    open_data,
    option,
    shard_files,
)
from lddm.job import job, show_results
from lddm.settings import ClassificationSettings, ConditionSettings, DomainNetworkSettings, QualitySettings
from lddm.settings.build import at_classifier
from lddm.settings.stages import STAGES, parse, parse_stage
from lddm.synthesis.leases import gpu_lease

app = typer.Typer()


@app.command()
def train_domain_network(
    settings: SettingsFile, frames: Frames, splits: Splits, fold: Fold, state: State, out: Out, record: Records = None
) -> None:
    """Train the domain-specific video network used by the Fréchet distance."""
    seed, section = parse_stage(settings, DomainNetworkSettings)
    about = {"domain_network": section.model_dump(mode="json")}
    with gpu_lease(), job("train_domain_network", record, about, {"fold": fold}) as run:
        from lddm.metrics.domain_network import train_domain_network as work

        work(section, *open_data(frames, splits), fold, seed, state, out, run.metrics)
        run.outputs(out)


@app.command()
def measure_attribute(
    settings: SettingsFile,
    frames: Frames,
    splits: Splits,
    fold: Fold,
    state: State,
    out: Out,
    motion: Motion = None,
    domain_network: Annotated[Path | None, option("weights written by train-domain-network, for features")] = None,
    pseudo_labels: Annotated[Path | None, option("table of pseudo-labels, for soft_label")] = None,
    record: Records = None,
) -> None:
    """Measure an attribute of the clips of a fold, and its distribution given the label."""
    seed, section = parse_stage(settings, ConditionSettings)
    about = {"condition": section.model_dump(mode="json")}
    with gpu_lease(), job("measure_attribute", record, about, {"fold": fold}) as run:
        from lddm.attribute.measure import Measuring
        from lddm.attribute.measure import measure_attribute as work
        from lddm.classification.cross_fit import remove_cross_fit_state
        from lddm.data.attribute import save_attribute

        data = open_data(frames, splits)
        given = Measuring(section, *data, fold, seed, state, run.metrics, motion, domain_network, pseudo_labels)
        attribute, values = work(given)
        save_attribute(out, attribute, values)
        about_values = {"clips": len(values), "mean": attribute.mean, "std": attribute.std}
        run.metrics(0, about_values | {"labelled": len(attribute.prior.values)})
        remove_cross_fit_state(state)
        run.outputs(out)


@app.command()
def fetch_weights(
    weights_dir: Annotated[Path, option("folder of pretrained networks")],
    planned: Annotated[str, option("digest of the files present when the run was planned")],
    out: Out,
    record: Records = None,
) -> None:
    """Download the available pretrained networks and record which files are present."""
    with job("fetch_weights", record) as run:
        from lddm.metrics.present import note_weights

        note_weights(weights_dir, planned, out)
        run.outputs(out)


@app.command()
def score(
    settings: SettingsFile,
    generator: Annotated[str, option("a generator, real, or reconstruction")],
    frames: Frames,
    splits: Splits,
    fold: Fold,
    domain_network: Annotated[Path, option("weights written by train-domain-network")],
    weights_dir: Annotated[Path, option("folder of pretrained networks")],
    out: Out,
    copies: Annotated[Path, option("table to write: nearest training clip of each synthetic video")],
    cache: Annotated[Path | None, option("folder of cached features, shared by jobs")] = None,
    synthetic: Synthetic = [],  # noqa: B006 (typer copies it)
    shards: Shards = None,
    bundle: Annotated[
        Path | None, option("model bundle: of lddm for membership inference, of any for the controls of reconstruction")
    ] = None,
    motion: Motion = None,
    record: Records = None,
) -> None:
    """Score the videos of a generator against real videos."""
    seed, section = parse_stage(settings, QualitySettings)
    wildcards = {"fold": fold, "generator": generator}
    with gpu_lease(), job("score", record, {"quality": section.model_dump(mode="json")}, wildcards) as run:
        from lddm.files import write_json, write_table
        from lddm.metrics.score import score as work

        data = open_data(frames, splits)
        files = shard_files(synthetic, shards)
        known: dict[str, Any] = {}
        if bundle is not None and generator == "reconstruction":
            from lddm.synthesis.memorised import memorised_clips

            known["memorised"] = memorised_clips(bundle, *data, fold, motion, seed)
        elif bundle is not None:
            from lddm.synthesis.membership import membership_attack

            known["attacks"] = membership_attack(bundle, data[0].at_model_size(), data[1], fold, motion, seed)
        rows, found = work(section, generator, *data, fold, domain_network, weights_dir, files, seed, cache, **known)
        write_table(found, copies)
        write_json(out, rows)
        keys = ("source", "metric", "features", "reference")
        named = {"/".join(r[key] for key in keys if r[key]): r["value"] for r in rows}
        run.metrics(0, {name: value for name, value in named.items() if value is not None})
        run.artifacts(out, copies)


@app.command()
def classify(
    settings: SettingsFile,
    classifier: Annotated[str, option("network")],
    regime: Annotated[str, option("training regime")],
    frames: Frames,
    splits: Splits,
    fold: Fold,
    state: State,
    out_dir: OutDir,
    synthetic: Synthetic = [],  # noqa: B006
    shards: Shards = None,
    copies: Annotated[list[Path], option("tables of copies of training videos, which are excluded")] = [],  # noqa: B006
    pseudo_labels: Annotated[Path | None, option("table of pseudo-labels, for real+pseudo")] = None,
    tested_on: Annotated[
        list[Path], option("folder of animated test clips for which predictions are also made, with --shards")
    ] = [],  # noqa: B006
    cache: Annotated[Path | None, option("folder of cached inputs, shared by jobs")] = None,
    record: Records = None,
) -> None:
    """Train a classifier under one training regime with several seeds, and test it on held-out patients."""
    seed, section = parse_stage(settings, ClassificationSettings)
    section = at_classifier(section, classifier)
    wildcards = {"fold": fold, "classifier": classifier, "regime": regime}
    with gpu_lease(), job("classify", record, {"classification": section.model_dump(mode="json")}, wildcards) as run:
        from lddm.classification.classify import classify as work

        data = open_data(frames, splits)
        paths = work(
            section, classifier, regime, *data, fold, shard_files(synthetic, shards), copies, pseudo_labels, state, out_dir,
            seed, run.metrics, cache, shard_files(tested_on, shards),
        )  # fmt: skip
        run.artifacts(*paths)


@app.command()
def tabulate(settings: SettingsFile, results: Results, out_dir: OutDir, record: Records = None) -> None:
    """Join the results of all planned jobs into tables/*.csv."""
    whole = parse(settings, STAGES["tables"])
    with job("tabulate", record) as run:
        from lddm.classification.comparisons import one_family
        from lddm.classification.confusion import confusion_table
        from lddm.classification.sweep import sweep_tables
        from lddm.classification.table import evaluate
        from lddm.classification.transfer import transfer_table
        from lddm.files import write_table
        from lddm.metrics.comparisons import quality_comparisons
        from lddm.report.memorisation import memorisation_table
        from lddm.report.tables import quality_table
        from lddm.settings import planned

        section, seed = whole.classification, whole.seed
        quality_files = [results / path for path in planned.quality_files(whole)]
        cells = [results / path for path in planned.classification_files(whole)]
        scored, compared = evaluate(cells, section, seed)
        swept, swept_comparisons = sweep_tables([results / path for path in planned.sweep_files(whole)], section, seed)
        one_family((scored, compared), (swept, swept_comparisons))  # shown on the page
        tables = {
            "quality": quality_table(quality_files),
            "quality_comparisons": quality_comparisons(quality_files),
            "memorisation": memorisation_table(quality_files),
            "classification": scored,
            "comparisons": compared,
            "transfer": transfer_table(cells, section, seed),
            "sweep": swept,
            "sweep_comparisons": swept_comparisons,
        }
        if (confusion := confusion_table(cells)) is not None:
            tables["confusion"] = confusion
        run.artifacts(*(write_table(table, out_dir / f"{name}.csv") for name, table in tables.items()))


@app.command()
def figures(settings: WholeConfig, results: Results, out_dir: OutDir, record: Records = None) -> None:
    """Draw curves, film strips, loops and plots from the result files."""
    whole = parse(settings)
    with job("figures", record) as run:
        from lddm.report.figures import figures as work

        run.artifacts(*work(whole, results, out_dir))


@app.command()
def page(settings: WholeConfig, results: Results, out: Out, record: Records = None) -> None:
    """Write report.html, a page that works without a server."""
    whole = parse(settings)
    with job("page", record) as run:
        from lddm.report.page import page as work

        work(whole, results, out)
        run.artifacts(out)


@app.command()
def summarize(settings: WholeConfig, results: Results, out: Out, record: Records = None) -> None:
    """Write summary.json, provenance.json, scorecard.html and the pipeline's summary run in MLflow."""
    whole = parse(settings)
    with job("summarize", record) as run:
        from lddm.report.scorecard import scorecard
        from lddm.report.summary import summarize as work

        run.artifacts(*work(whole, results, out))
        card = out.with_name("scorecard.html")
        scorecard(whole, results, card)
        run.artifacts(card)
    show_results(results)
