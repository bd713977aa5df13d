"""`lddm track`: create the MLflow store, and send records later."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from lddm.errors import LddmError
from lddm.job import set_up_logging, tracking_uri

app = typer.Typer(no_args_is_help=True)


@app.command()
def init() -> None:
    """Create the MLflow store before the first job, so that parallel jobs do not race for it."""
    set_up_logging()
    uri = tracking_uri()
    if uri is None:
        return
    from lddm.tracking.address import check_uri

    check_uri(uri)  # an invalid address stops the pipeline before its first job
    try:
        from lddm.tracking.mlflow_view import init_store

        init_store(uri)
    except LddmError as error:  # an unreachable server or a missing MLflow does not
        typer.echo(f"warning: {error}", err=True)


@app.command()
def sync(
    results: Annotated[Path, typer.Argument(help="results/<experiment>")],
    uri: Annotated[str, typer.Option(help="tracking URI [default: as for jobs]")] = "",
) -> None:
    """Send the records that MLflow lacks; repeated calls send nothing twice."""
    set_up_logging()
    chosen = uri or tracking_uri()
    if chosen is None:
        typer.echo("tracking is off (LDDM_TRACKING=off)")
        return
    from lddm.tracking.address import hide_secrets
    from lddm.tracking.mlflow_view import sync as work

    count = work(results, chosen)
    typer.echo(f"{count} records of {os.fspath(results)} sent to {hide_secrets(chosen)}")
