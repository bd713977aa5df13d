"""Entry point of the command `lddm`."""

from __future__ import annotations

from typing import Annotated

import typer

from lddm import __version__
from lddm.cli import evaluation, measuring, models, people, pipeline, raw_data, tracking, weights
from lddm.job import readable_errors


class _App(typer.Typer):
    """Typer app that prints an LddmError as message and hint instead of a traceback."""

    def __call__(self, *args, **kwargs):
        with readable_errors():
            return super().__call__(*args, **kwargs)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lddm {__version__}")
        raise typer.Exit


app = _App(no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="show the version")
    ] = False,
) -> None:
    """LDDM: generate plausible ultrasound videos from still images, and evaluate them."""


app.add_typer(people.app, rich_help_panel="Interactive use")
app.add_typer(evaluation.app, rich_help_panel="Interactive use")
app.add_typer(raw_data.app, rich_help_panel="Interactive use")
app.add_typer(pipeline.app, rich_help_panel="Workflow rules")
app.add_typer(measuring.app, rich_help_panel="Workflow rules")
app.add_typer(models.app, name="models", help="Trained models: list, show, export, import, push.")
app.add_typer(weights.app, name="weights", help="Pretrained feature networks: list, fetch, verify.")
app.add_typer(tracking.app, name="track", help="Records on disk and their copy in MLflow.")
