"""`lddm models`: list, show, export, import and publish trained models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lddm.job import set_up_logging

app = typer.Typer(no_args_is_help=True)

Model = Annotated[str, typer.Argument(help="a name from `lddm models list`, a folder, or hf:OWNER/NAME")]


@app.command("list")
def show_all() -> None:
    """List the shipped and the imported models."""
    from rich.console import Console
    from rich.table import Table

    from lddm.synthesis.model_store import megabytes, model_folders, packaged_models, read_about, trained_on

    table = Table("name", "from", "generator", "trained on", "frames", "data licence", "MB")
    for name, folder in model_folders().items():
        about = read_about(folder)
        origin = "package" if folder.parent == packaged_models() else "imported"
        frames = f"{about['frames']} at {about['fps']:g} Hz, {about['size']} px"
        licences = ", ".join(about.get("licences") or ["not stated"])
        row = (about["generator"], trained_on(about), frames, licences, f"{megabytes(folder):.1f}")
        table.add_row(name, origin, *row)
    Console(width=None if Console().is_terminal else 200).print(table)


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="a name from `lddm models list`, a folder, or hf:OWNER/NAME")] = "",
) -> None:
    """Show model card, provenance and checksums of a model [default: the shipped model]."""
    import json

    from lddm.synthesis.model_store import DEFAULT, checksums, find_model, read_about

    folder = find_model(model or DEFAULT)
    about = read_about(folder)
    typer.echo((folder / "MODEL_CARD.md").read_text(encoding="utf-8"))
    typer.echo(f"folder: {folder}")
    typer.echo(f"provenance: {json.dumps(about.get('provenance') or 'not stated')}")
    for name, digest in checksums(folder).items():
        typer.echo(f"{digest}  {name}")


@app.command()
def export(
    results: Annotated[Path, typer.Argument(help="results/<experiment> of a finished run")],
    name: Annotated[str, typer.Option(help="name of the model")],
    out: Annotated[Path, typer.Option(help="parent folder of the exported model")] = Path("models"),
    fold: Annotated[int, typer.Option(min=0, help="fold number, from 0")] = 0,
    generator: Annotated[str, typer.Option(help="name of the generator")] = "lddm",
    baseline: Annotated[
        list[str] | None, typer.Option(help="baseline to include; may be repeated [default: motion_transfer]")
    ] = None,
    trained_on: Annotated[
        str, typer.Option(help="short description of the training data [default: number of clips and sources]")
    ] = "",
) -> None:
    """Export a trained generator with half-precision weights, model card and provenance."""
    set_up_logging()
    from lddm.synthesis.export import export_model
    from lddm.synthesis.model_store import megabytes

    folder = export_model(results, name, out, fold, generator, tuple(baseline or ["motion_transfer"]), trained_on)
    typer.echo(f"wrote {folder}: {megabytes(folder):.1f} MB; try `lddm animate STILL --model {folder}`")


@app.command("import")
def import_(
    source: Annotated[str, typer.Argument(help="a folder with bundle.json, a .zip of one, or hf:OWNER/NAME")],
    name: Annotated[str, typer.Option(help="name of the imported model [default: name of the folder or file]")] = "",
) -> None:
    """Check a model and copy it to your folder of models ($LDDM_MODELS, or a subfolder of your cache)."""
    set_up_logging()
    from lddm.synthesis.model_store import import_model

    folder = import_model(source, name)
    typer.echo(f"imported {folder.name} into {folder.parent}; try `lddm animate STILL --model {folder.name}`")


@app.command()
def push(
    repo: Annotated[str, typer.Argument(help="OWNER/NAME on the Hugging Face Hub, or on $HF_ENDPOINT")],
    model: Annotated[str, typer.Option(help="model to upload [default: the shipped model]")] = "",
    private: Annotated[bool, typer.Option("--private", help="make a new repository private")] = False,
) -> None:
    """Upload a model; `lddm animate STILL --model hf:OWNER/NAME` downloads it."""
    set_up_logging()
    from lddm.synthesis.hub import HUB
    from lddm.synthesis.hub import push as upload
    from lddm.synthesis.model_store import DEFAULT, find_model, read_about

    repo = repo.removeprefix(HUB)
    folder = find_model(model or DEFAULT)
    typer.echo(
        f"pushed {folder.name} to {upload(folder, repo, read_about(folder), private)}; others use --model {HUB}{repo}"
    )
