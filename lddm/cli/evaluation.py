"""Commands for the evaluation of results: comparisons, checksums, tables and the reader study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lddm.errors import LddmError

app = typer.Typer()

FOOLED = 10  # clips listed on the terminal

Folder = Annotated[Path, typer.Argument(help="results/<experiment>")]


@app.command()
def compare(folders: Annotated[list[Path], typer.Argument(help="results/<experiment>, two or more")]) -> None:
    """Compare the results of several experiments, and the settings in which they differ."""
    if len(folders) < 2:
        raise LddmError("expected at least two experiments, got one", "lddm compare results/a results/b")
    from rich.console import Console
    from rich.table import Table

    from lddm.report.compare import compare as work

    numbers, settings = work(folders)
    console = Console() if Console().is_terminal else Console(width=60 + 45 * len(folders))
    shown = Table("number", "better", *numbers.columns, title="Value [95 % interval or range over folds] (n)")
    for (what, better), row in numbers.iterrows():
        shown.add_row(what, better, *row)
    console.print(shown)
    differences = Table("setting", *settings.columns, title="Settings that differ")
    for key, row in settings.iterrows():
        differences.add_row(key, *map(str, row))
    console.print(differences if len(settings) else "The recorded settings are the same.")


@app.command()
def verify(
    results: Folder,
    data_root: Annotated[Path | None, typer.Option(help="folder of the raw files, to check them, too")] = None,
) -> None:
    """Verify the checksums of the outputs of an experiment, and optionally of its raw files."""
    from lddm.report.provenance import repair_hint
    from lddm.report.provenance import verify as work

    differing = work(results)
    for path, what in differing.items():
        typer.echo(f"{what}: {results / path}")
    if differing:
        raise LddmError(
            f"{len(differing)} outputs of {results} differ from provenance.json", repair_hint(results, differing)
        )
    typer.echo(f"All outputs of {results} match their checksums")
    if data_root is None:
        return
    import pandas as pd

    from lddm.data.index import changed_files

    differing = changed_files(pd.read_parquet(results / "data/index.parquet"), data_root)
    for path, what in differing.items():
        typer.echo(f"{what}: {path}")
    if differing:
        raise LddmError(
            f"{len(differing)} raw files below {data_root} differ from those used for {results}",
            "restore them, or run the rule index again: --forcerun index",
        )
    typer.echo(f"All raw files below {data_root} match those used for {results}")


@app.command()
def tables(
    results: Folder,
    latex: Annotated[bool, typer.Option("--latex", help="as LaTeX (booktabs) instead of CSV")] = False,
    out: Annotated[Path | None, typer.Option(help="file to write; default: the terminal")] = None,
) -> None:
    """Print the tables of the paper (quality per generator; classification per network and regime)."""
    from lddm.files import atomic_path
    from lddm.report.latex import tables as work
    from lddm.report.results import Results

    found = Results(results)
    text = (
        work(found)
        if latex
        else found.quality().to_csv(index=False) + "\n" + found.classification().to_csv(index=False)
    )
    if out is None:
        typer.echo(text)
        return
    with atomic_path(out) as temporary:
        temporary.write_text(text)
    typer.echo(f"Wrote {out}")


@app.command()
def scorecard(
    results: Folder,
    out: Annotated[Path | None, typer.Option(help="page to write; default: scorecard.html there")] = None,
) -> None:
    """Write a page with what was measured for each criterion of synthetic medical data, and what was not."""
    from lddm.report.results import Results
    from lddm.report.scorecard import scorecard as work

    path = out or results / "scorecard.html"
    work(Results.saved(results).plan.settings, results, path)
    typer.echo(f"Made {path}")


@app.command("reader-study")
def reader_study(
    results: Folder,
    out: Annotated[Path, typer.Option(help="page for the readers")] = Path("reader_study/study.html"),
    key: Annotated[Path, typer.Option(help="CSV of the answers; keep it private")] = Path("reader_study_key/key.csv"),
    clips: Annotated[int, typer.Option(min=4, help="number of clips; half of them are real")] = 40,
    generators: Annotated[list[str], typer.Option("--generator", help="generator; may be repeated")] = ["lddm"],  # noqa: B006
    seed: Annotated[int, typer.Option(help="random seed of the study")] = 0,
    arms: Annotated[
        bool, typer.Option("--arms", help="show each patient as a still, then as the still with its synthetic video")
    ] = False,
) -> None:
    """Build a web page for a blinded reader study: real or synthetic, diagnosis, quality."""
    from lddm.report.reader_study import reader_study as work

    count = work(results, out, key, clips, generators, seed, arms)
    typer.echo(f"Wrote {out} ({count} clips) for the readers and {key} for you; score with lddm reader-study-score")


@app.command("reader-study-score")
def reader_study_score(
    answers: Annotated[list[Path], typer.Argument(help="CSV files exported by the readers")],
    key: Annotated[Path, typer.Option(help="key of the study")] = Path("reader_study_key/key.csv"),
    out: Annotated[Path | None, typer.Option(help="JSON file to write in addition")] = None,
) -> None:
    """Score a reader study: accuracy, inter-reader agreement, and the clips that deceived readers."""
    import pandas as pd

    from lddm.files import write_json
    from lddm.report.reader_score import read_answers, read_arms, score, score_arms

    if key.is_file() and "arm" in pd.read_csv(key, nrows=0):
        arms = score_arms(read_arms(answers, key))
        for arm, auc in arms["arms"].items():
            typer.echo(f"{arm}: mean AUC of the readers {auc['auc']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}]")
        gain = arms["difference"]
        typer.echo(
            f"video minus still: {gain['auc']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}], p = {gain['p']:.2g}; "
            f"{len(arms['readers'])} readers, {arms['cases']} patients (Obuchowski and Rockette)"
        )
        for arm, kappa in arms["agreement"].items():
            typer.echo(f"{arm}: inter-reader agreement (Fleiss' kappa) {kappa}")
        if out is not None:
            write_json(out, arms)
            typer.echo(f"Wrote {out}")
        return
    found = score(read_answers(answers, key))

    def said(share: dict) -> str:
        return f"{share['value']:.2f} [{share['low']:.2f}, {share['high']:.2f}] (n = {share['n']})"

    for reader, shares in found["readers"].items():
        typer.echo(f"reader {reader}: " + "; ".join(f"{name} {said(share)}" for name, share in shares.items()))
    for source, shares in found["sources"].items():
        told = "; ".join(f"{name} {said(shares[name])}" for name in ("called real", "diagnosed rightly"))
        typer.echo(f"{source}: {told}; mean quality {shares['mean quality']}")
    for pair, kappas in found["agreement"].items():
        typer.echo(f"agreement of {pair} (kappa): " + ", ".join(f"{name} {kappa}" for name, kappa in kappas.items()))
    for clip in found["fooled"][:FOOLED]:
        typer.echo(f"deceived {', '.join(clip['by'])}: {clip['clip_id']} ({clip['generator']})")
    if (more := len(found["fooled"]) - FOOLED) > 0:
        typer.echo(f"and {more} more clips that deceived a reader; --out FILE lists all")
    if out is not None:
        write_json(out, found)
        typer.echo(f"Wrote {out}")
