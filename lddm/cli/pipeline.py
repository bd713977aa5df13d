"""One thin command per rule that produces data, models or videos.

Packages are imported inside the commands, so that `lddm --help` and light jobs do not import torch. Commands that use a GPU
lease one, if any exists: concurrent jobs on one machine use distinct GPUs.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Annotated

import typer

from lddm.cli.options import (
    DataRoot,
    Fold,
    Frames,
    Motion,
    Out,
    OutDir,
    Records,
    SettingsFile,
    Splits,
    State,
    Workers,
    open_data,
    open_model_data,
    open_motion,
    option,
)
from lddm.generators.registry import GENERATORS, find_generator
from lddm.job import job
from lddm.settings import (
    AutoencoderSettings,
    IndexSettings,
    PreprocessSettings,
    PseudoLabelSettings,
    SplitSettings,
    SynthesisSettings,
)
from lddm.settings.build import section_type
from lddm.settings.stages import KEYS, parse_stage
from lddm.synthesis.leases import gpu_lease

app = typer.Typer()


@app.command()
def index(settings: SettingsFile, data_root: DataRoot, out: Out, record: Records = None) -> None:
    """List the raw files of the sources with patient, class and other metadata."""
    seed, section = parse_stage(settings, IndexSettings)
    with job("index", record, {"index": section.model_dump(mode="json")}) as run:
        from lddm.data.index import build_index, write_index

        table = build_index(section, data_root, seed)
        write_index(table, out)
        run.metrics(0, {"files": len(table), "excluded": int(table["excluded"].notna().sum())})
        run.outputs(out)


@app.command()
def preprocess(
    settings: SettingsFile,
    index: Annotated[Path, option("table written by index")],
    data_root: DataRoot,
    out_dir: OutDir,
    workers: Workers = 1,
    record: Records = None,
) -> None:
    """Decode, check and resample the files; cut clips."""
    seed, sources, section = parse_stage(settings, IndexSettings, PreprocessSettings)
    with job("preprocess", record, {"preprocess": section.model_dump(mode="json")}) as run:
        from lddm.data.preprocess import preprocess as work
        from lddm.data.sources.base import COLUMNS
        from lddm.files import read_table

        table = read_table(index, "index", COLUMNS)
        work(table, sources, section, data_root, out_dir, seed, workers)
        run.outputs(*(out_dir / name for name in ("frames.npy", "videos.parquet", "clips.parquet", "meta.json")))


@app.command()
def split(
    settings: SettingsFile,
    frames: Frames,
    out: Out,
    stills: Annotated[bool, option("reject folds without a still image of each class")] = False,
    record: Records = None,
) -> None:
    """Split patients and duplicate clusters into folds."""
    seed, section = parse_stage(settings, SplitSettings)
    with job("split", record, {"split": section.model_dump(mode="json")}) as run:
        from lddm.data.frames import FrameStore
        from lddm.data.splits import check_no_leak, check_stills, make_splits
        from lddm.files import atomic_path

        store = FrameStore.open(frames)
        table = make_splits(store.videos, section, seed, len(store.meta["classes"]))
        check_no_leak(table)
        if stills:
            check_stills(table, section.folds_to_run)
        with atomic_path(out) as temporary:
            table.to_parquet(temporary, index=False)
        run.outputs(out)


@app.command()
def measure_motion(
    settings: SettingsFile, frames: Frames, out: Out, workers: Workers = 1, record: Records = None
) -> None:
    """Measure the optical flow of all clips, for decoder warp."""
    _, section = parse_stage(settings, AutoencoderSettings)
    about = {"autoencoder": section.model_dump(mode="json", include=set(KEYS["motion"]))}
    with job("measure_motion", record, about, {}) as run:
        from lddm.autoencoder.measured import measure_store
        from lddm.data.frames import FrameStore

        measured = measure_store(section, FrameStore.open(frames).at_model_size(), processes=workers)
        measured.save(out)
        run.metrics(0, {"clips": len(measured.row)})
        run.outputs(out)


@app.command()
def train_autoencoder(
    settings: SettingsFile,
    frames: Frames,
    splits: Splits,
    fold: Fold,
    state: State,
    out: Out,
    motion: Motion = None,
    weights_dir: Annotated[Path, option("folder of pretrained networks, for the perceptual loss")] = Path("weights"),
    record: Records = None,
) -> None:
    """Stage 1: train the autoencoder on the training clips of a fold."""
    seed, section = parse_stage(settings, AutoencoderSettings)
    about = {"autoencoder": section.model_dump(mode="json")}
    with gpu_lease(), job("train_autoencoder", record, about, {"fold": fold}) as run:
        from lddm.autoencoder.train import train_autoencoder as work

        measured = open_motion(motion)
        perceptual = None
        if section.uses_perceptual_network:
            from lddm.metrics.paired import perceptual_loss

            perceptual = perceptual_loss(weights_dir)
        kept = work(
            section, *open_model_data(frames, splits), fold, seed, state, out, run.metrics, measured, perceptual
        )
        run.metrics(section.training.steps, {f"kept/{name}": value for name, value in kept.items()})
        run.outputs(out)


@app.command()
def encode(
    settings: SettingsFile,
    autoencoder: Annotated[Path, option("weights of stage 1")],
    frames: Frames,
    splits: Splits,
    fold: Fold,
    out: Out,
    motion: Motion = None,
    record: Records = None,
) -> None:
    """Encode the train and val clips of a fold into latents."""
    parse_stage(settings)
    with gpu_lease(), job("encode", record, {}, {"fold": fold}) as run:
        from lddm.autoencoder.encode import encode_clips

        data = open_model_data(frames, splits)
        run.metrics(0, {"latents": encode_clips(autoencoder, *data, fold, out, open_motion(motion))})
        run.outputs(out)


@app.command()
def pseudo_label(
    settings: SettingsFile,
    frames: Frames,
    splits: Splits,
    fold: Fold,
    state: State,
    out: Out,
    record: Records = None,
) -> None:
    """Pseudo-label the unlabelled training videos with classifiers trained on the labelled ones."""
    seed, section = parse_stage(settings, PseudoLabelSettings)
    with (
        gpu_lease(),
        job("pseudo_label", record, {"pseudo_labels": section.model_dump(mode="json")}, {"fold": fold}) as run,
    ):
        from lddm.classification.ensemble import remove_ensemble_state
        from lddm.classification.pseudo_labels import pseudo_label as work
        from lddm.data.frames import is_named
        from lddm.files import atomic_path

        table = work(section, *open_data(frames, splits), fold, state, seed, run.metrics)
        run.metrics(0, {"pseudo_labelled": int((~table["given"] & is_named(table["label"])).sum())})
        with atomic_path(out) as temporary:
            table.to_parquet(temporary, index=False)
        remove_ensemble_state(state)
        run.outputs(out)


@app.command()
def train_generator(
    name: Annotated[str, typer.Argument(help=", ".join(GENERATORS))],
    settings: SettingsFile,
    autoencoder: Annotated[Path, option("weights of stage 1")],
    latents: Annotated[Path, option("latents written by encode")],
    frames: Frames,
    splits: Splits,
    fold: Fold,
    state: State,
    out_dir: OutDir,
    pseudo_labels: Annotated[Path | None, option("table of pseudo-labels of unlabelled clips")] = None,
    attribute: Annotated[
        Path | None, option("measured attribute of the clips, the condition instead of labels")
    ] = None,
    record: Records = None,
) -> None:
    """Stage 2: train a generator and package it with stage 1."""
    names = [section for section in [find_generator(name).section] if section]
    seed, *sections = parse_stage(settings, *(section_type(section) for section in names))
    about = {section: values.model_dump(mode="json") for section, values in zip(names, sections, strict=True)}
    with gpu_lease(), job("train_generator", record, about, {"fold": fold, "generator": name}) as run:
        from lddm.synthesis.train_generator import train_generator as work

        store, _ = open_model_data(frames, splits)
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
            pseudo_labels,
            attribute,
        )
        parts = ("bundle.json", "generator.safetensors", "autoencoder.safetensors", "MODEL_CARD.md")
        run.outputs(*(out_dir / part for part in parts))


@app.command()
def synthesize(
    settings: SettingsFile,
    generator: Annotated[str, option("a generator, or reconstruction")],
    bundle: Annotated[Path, option("model package")],
    frames: Frames,
    splits: Splits,
    fold: Fold,
    source: Annotated[str, option("heldout or stills")],
    shard: Annotated[int, option("index of the shard")],
    shards: Annotated[int, option("number of shards")],
    out: Out,
    motion: Motion = None,
    record: Records = None,
) -> None:
    """Animate one shard of first frames."""
    seed, section = parse_stage(settings, SynthesisSettings)
    wildcards = {"fold": fold, "generator": generator, "source": source, "shard": shard}
    with gpu_lease(), job("synthesize", record, {"synthesis": section.model_dump(mode="json")}, wildcards) as run:
        from lddm.synthesis.synthesize import synthesize as work

        data = open_data(frames, splits)
        count = work(section, generator, bundle, *data, fold, source, shard, shards, seed, out, motion)
        run.metrics(0, {"videos": count})
        run.outputs(out, out.with_suffix(".parquet"))


@app.command(
    hidden=True,
    context_settings={"allow_extra_args": True, "allow_interspersed_args": False, "ignore_unknown_options": True},
)
def with_gpus(
    count: Annotated[int, typer.Argument(help="number of GPUs", min=1)],
    command: Annotated[list[str], typer.Argument(help="command to run")],
) -> None:
    """Run a command with a lease on several GPUs, e.g. torchrun for distributed training."""
    with gpu_lease(count=count):
        raise SystemExit(subprocess.run(command).returncode)
