"""One thin verb for each rule of the workflow.

Rooms are imported inside the verbs, so that `lddm --help` and the light jobs do not pay for torch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from lddm.job import job, show_summary
from lddm.settings import (
    AutoencoderSettings,
    CinnSettings,
    ClassificationSettings,
    DiffusionSettings,
    DomainNetworkSettings,
    IndexSettings,
    PixelSettings,
    PreprocessSettings,
    QualitySettings,
    ReportSettings,
    SplitSettings,
    SynthesisSettings,
)
from lddm.settings.build import parse_stage


def _option(text: str, *names: str) -> Callable:
    return typer.Option(*names, help=text)


app = typer.Typer()

SettingsText = Annotated[str, _option('JSON: {"seed": 0, "<section>": {...}}', "--settings")]
DataRoot = Annotated[Path, _option("folder of the raw data")]
Frames = Annotated[Path, _option("folder made by preprocess")]
Splits = Annotated[Path, _option("table made by split")]
Fold = Annotated[int, _option("fold number, from 0")]
State = Annotated[Path, _option("folder of the resumable state")]
Out = Annotated[Path, _option("file to write")]
OutDir = Annotated[Path, _option("folder to write")]
Synthetic = Annotated[list[Path], _option("synthetic shards (manifest or array); may be repeated")]
Results = Annotated[Path, _option("results/<experiment>")]
Records = Annotated[Path | None, typer.Option("--record", hidden=True)]
Workers = Annotated[int, _option("processes")]


def _data(frames: Path, splits: Path):
    """The store and the splits table."""
    import pandas as pd

    from lddm.data.frames import FrameStore

    return FrameStore.open(frames), pd.read_parquet(splits)


@app.command()
def index(settings: SettingsText, data_root: DataRoot, out: Out, record: Records = None) -> None:
    """List the raw files of the sources and what they show."""
    seed, section = parse_stage(settings, IndexSettings)
    with job("index", record, {"index": section.model_dump(mode="json")}) as run:
        from lddm.data.index import build_index, write_index

        table = build_index(section, data_root, seed)
        write_index(table, out)
        run.metrics(0, {"files": len(table), "excluded": int(table["excluded"].notna().sum())})
        run.outputs(out)


@app.command()
def preprocess(
    settings: SettingsText,
    index: Annotated[Path, _option("table made by index")],
    data_root: DataRoot,
    out_dir: OutDir,
    workers: Workers = 1,
    record: Records = None,
) -> None:
    """Decode, check and resample the files; cut clips."""
    seed, sources, section = parse_stage(settings, IndexSettings, PreprocessSettings)
    with job("preprocess", record, {"preprocess": section.model_dump(mode="json")}) as run:
        import pandas as pd

        from lddm.data.preprocess import preprocess as work

        work(pd.read_parquet(index), sources, section, data_root, out_dir, seed, workers)
        run.outputs(*(out_dir / name for name in ("frames.npy", "videos.parquet", "clips.parquet", "meta.json")))


@app.command()
def split(settings: SettingsText, frames: Frames, out: Out, record: Records = None) -> None:
    """Divide patients and duplicate clusters into folds."""
    seed, section = parse_stage(settings, SplitSettings)
    with job("split", record, {"split": section.model_dump(mode="json")}) as run:
        from lddm.data.frames import FrameStore
        from lddm.data.splits import check_no_leak, make_splits
        from lddm.files import atomic_path

        table = make_splits(FrameStore.open(frames).videos, section, seed)
        check_no_leak(table)
        with atomic_path(out) as temporary:
            table.to_parquet(temporary, index=False)
        run.outputs(out)


@app.command()
def train_autoencoder(
    settings: SettingsText,
    frames: Frames,
    splits: Splits,
    fold: Fold,
    state: State,
    out: Out,
    weights_dir: Annotated[Path, _option("folder of pretrained networks, for the perceptual loss")] = Path("weights"),
    record: Records = None,
) -> None:
    """Stage 1: train E and D on the fold's training clips."""
    seed, section = parse_stage(settings, AutoencoderSettings)
    with job("train_autoencoder", record, {"autoencoder": section.model_dump(mode="json")}, {"fold": fold}) as run:
        from lddm.autoencoder.train import train_autoencoder as work

        perceptual = None
        if section.perceptual_weight > 0:
            from lddm.metrics.paired import perceptual_loss

            perceptual = perceptual_loss(weights_dir)
        kept = work(section, *_data(frames, splits), fold, seed, state, out, run.metrics, perceptual)
        run.metrics(section.training.steps, {f"kept/{name}": value for name, value in kept.items()})
        run.outputs(out)


@app.command()
def encode(
    settings: SettingsText,
    autoencoder: Annotated[Path, _option("weights of stage 1")],
    frames: Frames,
    splits: Splits,
    fold: Fold,
    out: Out,
    record: Records = None,
) -> None:
    """Encode the fold's train and val clips into latents."""
    parse_stage(settings)
    with job("encode", record, {}, {"fold": fold}) as run:
        from lddm.autoencoder.encode import encode_clips

        run.metrics(0, {"latents": encode_clips(autoencoder, *_data(frames, splits), fold, out)})
        run.outputs(out)


@app.command()
def train_generator(
    name: Annotated[str, typer.Argument(help="lddm, cinn, motion_transfer, static or pixel")],
    settings: SettingsText,
    autoencoder: Annotated[Path, _option("weights of stage 1")],
    latents: Annotated[Path, _option("latents made by encode")],
    frames: Frames,
    splits: Splits,
    fold: Fold,
    state: State,
    out_dir: OutDir,
    record: Records = None,
) -> None:
    """Stage 2: train a generator of z and bundle it with stage 1."""
    section = {"lddm": (DiffusionSettings,), "cinn": (CinnSettings,), "pixel": (PixelSettings,)}.get(name, ())
    seed, *sections = parse_stage(settings, *section)
    about = {{"lddm": "diffusion"}.get(name, name): s.model_dump(mode="json") for s in sections}
    with job("train_generator", record, about, {"fold": fold, "generator": name}) as run:
        from lddm.synthesis.train_generator import train_generator as work

        store, _ = _data(frames, splits)
        work(
            name,
            sections[0] if sections else None,
            autoencoder,
            latents,
            store,
            fold,
            seed,
            state,
            out_dir,
            run.metrics,
        )
        run.outputs(out_dir / "bundle.json", out_dir / "generator.safetensors")


@app.command()
def synthesize(
    settings: SettingsText,
    generator: Annotated[str, _option("a generator, or reconstruction")],
    bundle: Annotated[Path, _option("model bundle")],
    frames: Frames,
    splits: Splits,
    fold: Fold,
    source: Annotated[str, _option("heldout or stills")],
    shard: Annotated[int, _option("which part of the first frames")],
    shards: Annotated[int, _option("how many parts")],
    out: Out,
    record: Records = None,
) -> None:
    """Animate one shard of first frames, holding one GPU if there are any."""
    seed, section = parse_stage(settings, SynthesisSettings)
    wildcards = {"fold": fold, "generator": generator, "source": source, "shard": shard}
    with job("synthesize", record, {"synthesis": section.model_dump(mode="json")}, wildcards) as run:
        from lddm.synthesis.leases import gpu_lease

        with gpu_lease():
            from lddm.synthesis.synthesize import synthesize as work

            data = _data(frames, splits)
            count = work(section, generator, bundle, *data, fold, source, shard, shards, seed, out)
        run.metrics(0, {"videos": count})
        run.outputs(out, out.with_suffix(".parquet"))


@app.command()
def train_domain_network(
    settings: SettingsText, frames: Frames, splits: Splits, fold: Fold, state: State, out: Out, record: Records = None
) -> None:
    """Train the video network whose features the domain Fréchet distance uses."""
    seed, section = parse_stage(settings, DomainNetworkSettings)
    with job(
        "train_domain_network", record, {"domain_network": section.model_dump(mode="json")}, {"fold": fold}
    ) as run:
        from lddm.metrics.domain_network import train_domain_network as work

        work(section, *_data(frames, splits), fold, seed, state, out, run.metrics)
        run.outputs(out)


@app.command()
def score(
    settings: SettingsText,
    generator: Annotated[str, _option("a generator, real or reconstruction")],
    frames: Frames,
    splits: Splits,
    fold: Fold,
    domain_network: Annotated[Path, _option("weights made by train-domain-network")],
    weights_dir: Annotated[Path, _option("folder of pretrained networks")],
    out: Out,
    copies: Annotated[Path, _option("table to write: the nearest training clip of each synthetic video")],
    cache: Annotated[Path | None, _option("folder of features that jobs share")] = None,
    synthetic: Synthetic = [],  # noqa: B006 (typer copies it)
    record: Records = None,
) -> None:
    """Score a generator's videos against real ones."""
    seed, section = parse_stage(settings, QualitySettings)
    wildcards = {"fold": fold, "generator": generator}
    with job("score", record, {"quality": section.model_dump(mode="json")}, wildcards) as run:
        from lddm.files import write_json, write_table
        from lddm.metrics.score import score as work

        data = _data(frames, splits)
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
    classifier: Annotated[str, _option("network")],
    regime: Annotated[str, _option("what it is trained on")],
    frames: Frames,
    splits: Splits,
    fold: Fold,
    state: State,
    out_dir: OutDir,
    synthetic: Synthetic = [],  # noqa: B006
    copies: Annotated[list[Path], _option("tables of copies of training videos, which are left out")] = [],  # noqa: B006
    record: Records = None,
) -> None:
    """Train a classifier on a regime, with several seeds, and test it on held-out patients."""
    seed, section = parse_stage(settings, ClassificationSettings)
    wildcards = {"fold": fold, "classifier": classifier, "regime": regime}
    with job("classify", record, {"classification": section.model_dump(mode="json")}, wildcards) as run:
        from lddm.classification.classify import classify as work

        data = _data(frames, splits)
        paths = work(section, classifier, regime, *data, fold, synthetic, copies, state, out_dir, seed, run.metrics)
        run.artifacts(*paths)


@app.command()
def tabulate(
    settings: SettingsText,
    quality: Annotated[list[Path], _option("quality JSON files")],
    classification: Annotated[list[Path], _option("classification JSON files")],
    out_dir: OutDir,
    sweep: Annotated[list[Path], _option("classification JSON files of the sweep")] = [],  # noqa: B006
    record: Records = None,
) -> None:
    """Join the results of all jobs into tables/*.csv."""
    seed, section = parse_stage(settings, ClassificationSettings)
    with job("tabulate", record) as run:
        from lddm.classification.comparisons import comparisons
        from lddm.classification.sweep import sweep_tables
        from lddm.classification.table import classification_table
        from lddm.files import write_table
        from lddm.report.tables import quality_table

        swept, swept_comparisons = sweep_tables(sweep, section, seed)
        tables = {
            "quality": quality_table(quality),
            "classification": classification_table(classification, section, seed),
            "comparisons": comparisons(classification, section, seed),
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
    config: Annotated[str, _option("the whole config as JSON, for provenance.json beside the summary")] = "{}",
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
