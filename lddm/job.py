"""Context of a command: logging, error display, the record on disk and its copy in MLflow."""

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

# Importing MLflow takes seconds. Workflow jobs shorter than this leave it to `summarize` to send their records.
SENT_AT_ONCE = 60.0  # seconds

DISK_HINTS = {
    errno.ENOSPC: "free space on the disk of results/ (du -sh results/*), then run the same command again",
    errno.EDQUOT: "your quota is used up: free space, then run the same command again",
    errno.EROFS: "results/ is on a read-only disk: run in a writable folder",
    errno.EACCES: "check owner and permissions of the folder",
}


class Job:
    """The running job: logs metrics and records output files."""

    def __init__(self, record: Record | None):
        self.record = record

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values of a step; also serves as `on_log` of the training loop."""
        if self.record is not None:
            self.record.metrics(dict(values), step)

    def outputs(self, *paths: str | Path) -> None:
        """Record output files of the job with size and SHA-256."""
        for path in paths:
            if not Path(path).exists():
                raise LddmError(f"{path} was not written", "this is a bug in lddm; please report it with the log")
            if self.record is not None:
                self.record.output(path)

    def artifacts(self, *paths: str | Path) -> None:
        """Outputs to be shown in MLflow (figures, tables, pages)."""
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
        rule: name of the rule in the workflow.
        records: folder of the records of the experiment; None = keep no record.
        settings: settings of the job, JSON values.
        wildcards: wildcards of the job, e.g. {"fold": 0}.

    A record is sent to MLflow when its job ends. Records of workflow jobs shorter than a minute are sent by `summarize`, the
    last job of a run.

    The workflow sets the environment variables LDDM_EXPERIMENT, LDDM_PIPELINE and LDDM_TRACKING (a tracking URI, "" = the
    default store, "off" = no tracking).
    """
    set_up_logging()
    # in distributed training only the first process keeps a record
    if records is None or os.environ.get("RANK", "0") != "0":
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
    """Send the record to MLflow; an unreachable tracking server does not fail the job."""
    uri = tracking_uri()
    if uri is None:
        return
    try:
        from lddm.tracking.mlflow_view import push

        push(record_dir, uri, experiment)
    except Exception as error:  # any error of the client: the record is on disk and can be sent later
        said = (
            f"{error.message} ({error.hint})"
            if isinstance(error, LddmError)
            else hide_secrets(f"MLflow at {uri}: {error}", uri)
        )
        logger.warning("%s; the record stays on disk, and the end of the run or `lddm track sync` sends it", said)


def in_workflow() -> bool:
    """Whether Snakemake runs this job; `lddm track sync` then follows the last job."""
    return "LDDM_PIPELINE" in os.environ


def tracking_uri() -> str | None:
    """Tracking URI: MLFLOW_TRACKING_URI, else LDDM_TRACKING, else results/mlflow.db; None = tracking is off."""
    chosen = os.environ.get("LDDM_TRACKING", "")
    if chosen == "off":
        return None
    default = Path("results/mlflow.db")
    # A path with "?" would be parsed as URI parameters, hence a path relative to the working folder.
    path = default if "?" in str(default.resolve()) else default.resolve()
    return os.environ.get("MLFLOW_TRACKING_URI") or chosen or f"sqlite:///{path}"


def set_up_logging() -> None:
    """Log one plain line per message to standard error, which the workflow stores as the log of the job."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"
    )
    hide_in_logs("")
    for noisy in ("mlflow", "alembic", "matplotlib", "PIL", "httpx", "filelock"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


@contextlib.contextmanager
def readable_errors() -> Iterator[None]:
    """Print an `LddmError` as message and hint, without a traceback, and exit with status 1."""
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
    """Send unsent records and the summary of an experiment to MLflow; an unreachable server does not fail the job."""
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
