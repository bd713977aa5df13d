"""`lddm models`: trained models by name, and moving them between machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lddm.job import set_up_logging

app = typer.Typer(no_args_is_help=True)

Model = Annotated[str, typer.Argument(help="a name that `lddm models list` shows, a folder, or hf:OWNER/NAME")]


@app.command("list")
def show_all() -> None:
    """List the models of the package and the imported ones."""
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
    model: Annotated[str, typer.Argument(help="as in `lddm models list`; a folder or hf:OWNER/NAME")] = "",
) -> None:
    """Show the model card, the provenance and the checksums of a model [default: the model of the package]."""
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
    out: Annotated[Path, typer.Option(help="folder that gets the folder of the model")] = Path("models"),
    fold: Annotated[int, typer.Option(min=0, help="fold number, from 0")] = 0,
    generator: Annotated[str, typer.Option(help="which generator")] = "lddm",
    baseline: Annotated[
        list[str] | None, typer.Option(help="baselines that go with it; may be repeated [default: motion_transfer]")
    ] = None,
    trained_on: Annotated[str, typer.Option(help="what the data show [default: number of clips and sources]")] = "",
) -> None:
    """Export a trained generator with half-precision weights, card and provenance."""
    set_up_logging()
    from lddm.synthesis.export import export_model
    from lddm.synthesis.model_store import megabytes

    folder = export_model(results, name, out, fold, generator, tuple(baseline or ["motion_transfer"]), trained_on)
    typer.echo(f"wrote {folder}: {megabytes(folder):.1f} MB; try `lddm animate STILL --model {folder}`")


@app.command("import")
def import_(
    source: Annotated[str, typer.Argument(help="a folder with bundle.json, a .zip of one, or hf:OWNER/NAME")],
    name: Annotated[str, typer.Option(help="its name from now on [default: that of the folder or file]")] = "",
) -> None:
    """Check a model and copy it into your folder of models ($LDDM_MODELS, else below your cache)."""
    set_up_logging()
    from lddm.synthesis.model_store import import_model

    folder = import_model(source, name)
    typer.echo(f"imported {folder.name} into {folder.parent}; try `lddm animate STILL --model {folder.name}`")


@app.command()
def push(
    repo: Annotated[str, typer.Argument(help="OWNER/NAME on the Hugging Face Hub, or on $HF_ENDPOINT")],
    model: Annotated[str, typer.Option(help="which model [default: the model of the package]")] = "",
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
