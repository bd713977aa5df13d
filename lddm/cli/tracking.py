"""`lddm track`: the store of MLflow, made once, and records brought in later."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from lddm.job import set_up_logging, tracking_uri

app = typer.Typer(no_args_is_help=True)


@app.command()
def init() -> None:
    """Make the store before the first job, so that jobs that start together do not race for it."""
    set_up_logging()
    uri = tracking_uri()
    if uri is None:
        return
    from lddm.tracking.mlflow_view import init_store

    try:
        init_store(uri)
    except Exception as error:  # a server that is down must not stop the pipeline
        typer.echo(f"warning: MLflow at {uri}: {error}; records stay on disk", err=True)


@app.command()
def sync(
    results: Annotated[Path, typer.Argument(help="results/<experiment>")],
    uri: Annotated[str, typer.Option(help="tracking server; default as for jobs")] = "",
) -> None:
    """Bring records that MLflow has not seen into it; running it twice doubles nothing."""
    set_up_logging()
    chosen = uri or tracking_uri()
    if chosen is None:
        typer.echo("tracking is off (LDDM_TRACKING=off)")
        return
    from lddm.tracking.mlflow_view import sync as work

    count = work(results, chosen)
    typer.echo(f"{count} records of {os.fspath(results)} brought into {chosen}")
