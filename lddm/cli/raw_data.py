"""Commands for raw data: download public data sets, check a folder before a run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from lddm.job import set_up_logging

app = typer.Typer()
MOST_NAMED = 3  # unused files named per reason, unless --list is given


@app.command("check-data")
def check(
    path: Annotated[Path, typer.Argument(help="folder of one data set")],
    patients: Annotated[
        str | None, typer.Option(help="CSV file of patients in that folder (columns file, patient_id)")
    ] = None,
    list_unused: Annotated[bool, typer.Option("--list", help="list all unused files with the reason")] = False,
    csv: Annotated[
        Path | None, typer.Option(help="CSV file to write: all files with patient and reason for exclusion")
    ] = None,
) -> None:
    """Check a folder as the pipeline would read it: files, patients, exclusions, and a suggested config."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from lddm.data.check import check_data
    from lddm.files import write_table

    loggers = [logging.getLogger(name) for name in ("lddm.data", "lddm.io")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)  # the advice summarises the per-file warnings of the readers
    try:
        found = check_data(path, patients)
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    table = Table("kind", "class", "files", "usable", "patients", "reason for exclusion")
    for (kind, name), part in found.videos.groupby(["kind", "class_name"], sort=True):
        usable = part[part["excluded"].isna()]
        reasons = part["excluded"].dropna().str.split(":").str[0].value_counts()
        why = "; ".join(f"{reason} ({count})" for reason, count in reasons.items())
        counts = (str(len(part)), str(len(usable)), str(usable["patient_id"].nunique()))
        table.add_row(kind, escape(name) or "-", *counts, escape(why))
    console = Console() if Console().is_terminal else Console(width=160)

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    say(f"{path} is read as '{found.kind}'.")
    console.print(table)
    say(f"{int(found.clips['excluded'].isna().sum())} clips of x0 and 16 frames at 10 Hz.")
    for sentence in found.advice:
        say(f"- {sentence}")
    say("\nMetadata that could separate the classes without the images (leaks):")
    for sentence in found.leaks.lines():
        say(f"- {sentence}")
    if len(found.unused):
        say(f"\n{len(found.unused)} files are not used" + (":" if list_unused else "; --list shows all of them:"))
        for reason, names in found.unused_by_reason(None if list_unused else MOST_NAMED):
            say(f"  {reason}: {names}")
    if csv is not None:
        write_table(found.files(), csv)
        say(f"Wrote {csv}")
    say(f"\nSuggested config, e.g. config/my.yaml:\n\n{found.config}")


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="busi, pocus or busv")],
    data_root: Annotated[Path, typer.Option(help="folder of the raw data")] = Path("data"),
    url: Annotated[str | None, typer.Option(help="alternative URL of the archive, e.g. a mirror")] = None,
    sha256: Annotated[str | None, typer.Option(help="expected SHA-256 of the archive")] = None,
) -> None:
    """Download an open data set to the folder where the pipeline expects it, or explain how to request it."""
    set_up_logging()
    from lddm.data.fetch import DATASETS
    from lddm.data.fetch import fetch as work

    folder = work(name, data_root, url, sha256)
    typer.echo(f"Wrote {folder} (licence: {DATASETS[name].licence}); check it with `lddm check-data {folder}`")
