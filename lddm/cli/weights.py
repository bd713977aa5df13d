"""`lddm weights`: the pretrained feature networks; what they are, which are there, and getting them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lddm.errors import LddmError
from lddm.job import set_up_logging

app = typer.Typer(no_args_is_help=True)

Folder = Annotated[Path, typer.Option("--weights-dir", help="the folder of the config key weights_dir")]
Names = Annotated[list[str], typer.Argument(help="names as `lddm weights list` shows them; none = all")]


@app.command("list")
def show(weights_dir: Folder = Path("weights")) -> None:
    """Show what each network is, its licence, and whether its file is there."""
    from rich.console import Console
    from rich.table import Column, Table

    from lddm.metrics.weights import REGISTRY, state

    table = Table("name", "file", "state", "licence", "what it is", Column("where from", overflow="fold"))
    for name, entry in REGISTRY.items():
        where = entry.url or "by hand"
        table.add_row(name, entry.file, state(name, weights_dir), entry.licence, entry.source, where)
    Console(width=None if Console().is_terminal else 200).print(table)


@app.command()
def fetch(names: Names = [], weights_dir: Folder = Path("weights")) -> None:  # noqa: B006 (typer copies it)
    """Download what is absent and check its digest."""
    set_up_logging()
    from lddm.metrics.weights import WeightsAbsent, find

    failed = []
    for name in _known(names):
        try:
            typer.echo(f"{name}: {find(name, weights_dir, again=True)}")
        except WeightsAbsent as reason:
            failed.append(str(reason))
    if failed:
        raise LddmError(
            "\n".join(["some weights could not be downloaded:", *failed]),
            "download them elsewhere and put them into weights_dir; metrics without weights are reported absent",
        )


@app.command()
def verify(names: Names = [], weights_dir: Folder = Path("weights")) -> None:  # noqa: B006
    """Check the digests of the files that are there."""
    from lddm.metrics.weights import state

    states = {name: state(name, weights_dir) for name in _known(names)}
    for name, found in states.items():
        typer.echo(f"{name}: {found}")
    damaged = [name for name, found in states.items() if found.startswith(("damaged", "cannot"))]
    if damaged:
        raise LddmError(f"damaged or unreadable: {', '.join(damaged)}", "remove the files and run `lddm weights fetch`")


def _known(names: list[str]) -> list[str]:
    from lddm.metrics.weights import REGISTRY

    unknown = [name for name in names if name not in REGISTRY]
    if unknown:
        raise LddmError(f"unknown weights '{unknown[0]}'", f"expected one of {', '.join(REGISTRY)}")
    return names or list(REGISTRY)
