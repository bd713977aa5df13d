"""What every command shares: logging, the error people see, the record on disk and its view in MLflow."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lddm.errors import LddmError
from lddm.tracking.address import hide_in_logs, hide_secrets
from lddm.tracking.record import Record

logger = logging.getLogger(__name__)

# Importing MLflow takes seconds: `summarize` sends the records of all jobs of the workflow that took less than this.
SENT_AT_ONCE = 60.0  # seconds

DISK_HINTS = {
    errno.ENOSPC: "free space on the disk of results/ (du -sh results/*), then run the same command again",
    errno.EDQUOT: "your quota is used up: free space, then run the same command again",
    errno.EROFS: "results/ is on a read-only disk: run in a folder that can be written",
    errno.EACCES: "check who owns the folder and what its permissions are",
}


class Job:
    """The running job: where metrics go, and which files it made."""

    def __init__(self, record: Record | None):
        self.record = record

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of a step; also the `on_log` of the training loop."""
        if self.record is not None:
            self.record.metrics(dict(values), step)

    def outputs(self, *paths: str | Path) -> None:
        """Files that the job made: recorded with size and SHA-256."""
        for path in paths:
            if not Path(path).exists():
                raise LddmError(f"{path} was not made", "this is a defect of lddm; please report it with the log")
            if self.record is not None:
                self.record.output(path)

    def artifacts(self, *paths: str | Path) -> None:
        """Outputs that MLflow shall show (figures, tables, pages)."""
        self.outputs(*paths)
        if self.record is not None:
            for path in paths:
                self.record.artifact(path)


@contextlib.contextmanager
def job(
    rule: str,
    records: Path | None,
    settings: Mapping[str, Any] | None = None,
    wildcards: Mapping[str, Any] | None = None,
) -> Iterator[Job]:
    """Run one command as a job.

    Args:
        rule: its name, as in the workflow.
        records: folder of the experiment's records; None (by hand) keeps none.
        settings: what it was asked to do, JSON values.
        wildcards: which of the rule's jobs this is, e.g. {"fold": 0}.

    A record is sent to MLflow when its job ends; that of a job of the workflow that took less than a minute, by `summarize`, the
    last job of a run.

    The environment, set by the workflow, adds LDDM_EXPERIMENT, LDDM_PIPELINE and LDDM_TRACKING (a tracking URI, "" for
    the default store, "off" for none).
    """
    set_up_logging()
    if records is None or os.environ.get("RANK", "0") != "0":  # of processes that train together the first keeps it
        yield Job(None)
        return
    experiment = os.environ.get("LDDM_EXPERIMENT", "lddm")
    pipeline = os.environ.get("LDDM_PIPELINE", "by-hand")
    record_dir: Path | None = None
    began = time.monotonic()
    try:
        with Record.start(
            records, rule, dict(wildcards or {}), dict(settings or {}), experiment=experiment, pipeline=pipeline
        ) as record:
            record_dir = record.path
            yield Job(record)
    finally:
        if record_dir is not None and (not in_workflow() or time.monotonic() - began >= SENT_AT_ONCE):
            _show(record_dir, experiment)


def _show(record_dir: Path, experiment: str) -> None:
    """Bring the record into MLflow; a tracking server that does not answer never fails the job."""
    uri = tracking_uri()
    if uri is None:
        return
    try:
        from lddm.tracking.mlflow_view import push

        push(record_dir, uri, experiment)
    except Exception as error:  # whatever the client raises: the record is on disk and can be sent later
        said = (
            f"{error.message} ({error.hint})"
            if isinstance(error, LddmError)
            else hide_secrets(f"MLflow at {uri}: {error}", uri)
        )
        logger.warning("%s; the record stays on disk, and the end of the run or `lddm track sync` sends it", said)


def in_workflow() -> bool:
    """Whether Snakemake runs this job; then `lddm track sync` follows the last one."""
    return "LDDM_PIPELINE" in os.environ


def tracking_uri() -> str | None:
    """Where MLflow is: MLFLOW_TRACKING_URI, else LDDM_TRACKING, else results/mlflow.db; None = tracking is off."""
    chosen = os.environ.get("LDDM_TRACKING", "")
    if chosen == "off":
        return None
    default = Path("results/mlflow.db")
    # A URI cannot hold a path with "?": what follows would be parameters. The path below the working folder has none.
    path = default if "?" in str(default.resolve()) else default.resolve()
    return os.environ.get("MLFLOW_TRACKING_URI") or chosen or f"sqlite:///{path}"


def set_up_logging() -> None:
    """One plain line a message on standard error, which the workflow keeps as the job's log."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"
    )
    hide_in_logs("")
    for noisy in ("mlflow", "alembic", "matplotlib", "PIL", "httpx", "filelock"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


@contextlib.contextmanager
def readable_errors() -> Iterator[None]:
    """Show an `LddmError` as its message and hint, without a traceback, and exit with 1."""
    try:
        yield
    except LddmError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        hint = DISK_HINTS.get(error.errno or 0)
        if hint is None:
            raise
        print(f"error: {error.strerror}: {error.filename or ''}\nHint: {hint}", file=sys.stderr)
        raise SystemExit(1) from None


def show_results(results: Path) -> None:
    """Send what MLflow does not show yet of an experiment, records and summary; a server that does not answer fails nothing."""
    uri = tracking_uri()
    if uri is None:
        return
    try:
        from lddm.tracking.mlflow_view import sync

        sync(results, uri)
    except Exception as error:
        said = (
            f"{error.message} ({error.hint})"
            if isinstance(error, LddmError)
            else hide_secrets(f"MLflow at {uri}: {error}", uri)
        )
        logger.warning("%s; the end of the run or `lddm track sync` sends the records", said)
