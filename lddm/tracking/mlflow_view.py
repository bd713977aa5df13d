"""The records on disk as MLflow runs: flat, one for each job attempt, and one summary run for each pipeline.

The records are the truth and MLflow is their view, so everything here can be done again: a record that is already
whole in MLflow is left alone, one that was cut off half-way is sent anew.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# A job waits for its tracking server for seconds, not for the minutes of MLflow's defaults, and asks for nothing twice:
# where only the answer was lost, a second request would make a second run. What is missing comes with the next sync.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

from filelock import FileLock
from mlflow.entities import Metric, Param, Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from lddm.errors import LddmError
from lddm.files import read_json
from lddm.tracking.record import all_records, has_successor, is_alive, load_record
from lddm.tracking.saved_view import TAG, saved_view

logger = logging.getLogger(__name__)

BATCH = 1000  # metrics of a request, MLflow's limit
PARAMS = 100  # parameters of a request, MLflow's limit
LONGEST = 500  # characters of a parameter's value; the whole text is in the artifact record.json


def init_store(uri: str) -> None:
    """Make the store, once: processes that find a fresh sqlite file at the same time crash in its migrations."""
    _client(uri).search_experiments(max_results=1)


def push(record_dir: Path, uri: str, experiment: str) -> bool:
    """Show one record as a run.

    Args:
        record_dir: folder with record.json.
        uri: tracking URI.
        experiment: name of the MLflow experiment.

    Returns:
        False if it was there already.
    """
    about, lines = load_record(record_dir)
    client = _client(uri)
    experiment_id = _experiment(client, uri, experiment)
    with FileLock(record_dir / ".mlflow.lock"):
        shown = False
        for run in _runs(client, experiment_id, f"tags.`lddm.record` = '{about['record']}'"):
            if run.data.tags.get("lddm.complete") == "true":
                shown = True
            else:
                client.delete_run(run.info.run_id)  # cut off half-way: metrics sent twice would be doubled
        if not shown:
            run_id = _send(client, experiment_id, about, lines)
            _send_files(client, run_id, record_dir, about)
            client.set_terminated(run_id, _status(about), _milliseconds(about["ended"]))
            client.set_tag(run_id, "lddm.complete", "true")
    _supersede(client, experiment_id, about)
    return not shown


def push_summary(summary: Path, uri: str, experiment: str, pipeline: str) -> None:
    """Make or replace the summary run of a pipeline: its headline numbers as metrics and its settings as parameters, so that
    two pipelines are two rows that line up; and the view that charts them."""
    content = read_json(summary)
    client = _client(uri)
    experiment_id = _experiment(client, uri, experiment)
    with FileLock(summary.parent / ".mlflow-summary.lock"):
        earlier = _runs(client, experiment_id, f"tags.`lddm.kind` = 'summary' and tags.`lddm.pipeline` = '{pipeline}'")
        tags = {"lddm.kind": "summary", "lddm.pipeline": pipeline, "mlflow.user": "lddm"}
        run = client.create_run(experiment_id, tags=tags, run_name=f"summary {pipeline}")
        run_id, now = run.info.run_id, run.info.start_time
        metrics = [Metric(_name(k), float(v), now, 0) for k, v in content["headline"].items() if v is not None]
        client.log_batch(run_id, metrics=metrics[:BATCH])
        _log_params(client, run_id, content.get("settings", {}))
        client.log_artifact(run_id, str(summary))
        client.set_terminated(run_id)
        for old in earlier:
            client.delete_run(old.info.run_id)
        client.set_experiment_tag(experiment_id, TAG, saved_view([metric.key for metric in metrics], now))


def sync(results: Path, uri: str) -> int:
    """Send all records of an experiment that MLflow does not show yet, and its summary.

    Args:
        results: results/<experiment>.
        uri: tracking URI.

    Returns:
        How many records were sent.

    Raises:
        LddmError: the server does not answer.
    """
    sent, newest = 0, None
    for folder in all_records(results / "records"):
        about, _ = load_record(folder)
        newest = about
        if about["status"] == "RUNNING" and is_alive(about) and not has_successor(folder, about):
            continue
        try:
            sent += push(folder, uri, about["experiment"])
        except (MlflowException, OSError) as error:  # one that MLflow does not take must not keep the others back
            logger.warning("%s is not in MLflow: %s", folder, error)
            _check_answers(uri)
    summary = results / "summary.json"
    if newest is not None and summary.is_file():
        push_summary(summary, uri, newest["experiment"], newest["pipeline"])
    return sent


def _check_answers(uri: str) -> None:
    """Raise where the server does not answer at all: to wait for it once for each record would take hours."""
    try:
        _client(uri).search_experiments(max_results=1)
    except (MlflowException, OSError) as error:
        hint = "the records stay on disk: run `lddm track sync` on the results' folder when it does"
        raise LddmError(f"MLflow at {uri} does not answer: {error}", hint) from error


def _client(uri: str) -> MlflowClient:
    """A client; a sqlite store is opened under a lock, and keeps its journal in WAL mode (concurrent writers wait less)."""
    path = _sqlite_path(uri)
    if path is None:
        return MlflowClient(tracking_uri=uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(path.name + ".lock")):
        fresh = not path.is_file()
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
        if fresh:
            with sqlite3.connect(path) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
    return client


def _sqlite_path(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _experiment(client: MlflowClient, uri: str, name: str) -> str:
    """The experiment's id; artifacts of a sqlite store lie beside it, not below the working directory."""
    found = client.get_experiment_by_name(name)
    if found is None:
        path = _sqlite_path(uri)
        location = None if path is None else (path.parent / "mlartifacts" / name).resolve().as_uri()
        try:
            return client.create_experiment(name, artifact_location=location)
        except MlflowException:  # another job made it in the meantime
            found = client.get_experiment_by_name(name)
    if found is None:
        raise MlflowException(f"experiment {name} cannot be made")
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def _runs(client: MlflowClient, experiment_id: str, query: str) -> list[Run]:
    return list(client.search_runs([experiment_id], query, max_results=1000))


def _send(client: MlflowClient, experiment_id: str, about: dict[str, Any], lines: list[dict[str, Any]]) -> str:
    """Create the run with its tags, parameters and metrics."""
    job = job_name(about)
    tags = {
        "lddm.kind": "job",
        "lddm.record": about["record"],
        "lddm.job": job,
        "lddm.rule": about["rule"],
        "lddm.pipeline": about["pipeline"],
        "lddm.attempt": str(about["attempt"]),
        "lddm.complete": "false",
        "mlflow.user": "lddm",
        "mlflow.source.name": f"lddm {about['rule']}",
        **{f"lddm.{key}": value for key, value in about["wildcards"].items()},
    }
    if about["error"]:
        tags["lddm.error"] = about["error"].strip().splitlines()[-1][:LONGEST]
    run = client.create_run(experiment_id, _milliseconds(about["started"]), tags, run_name=job)
    run_id = run.info.run_id
    _log_params(client, run_id, about["settings"])
    metrics = list(_metrics(about, lines))
    for start in range(0, len(metrics), BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + BATCH])
    return run_id


def _log_params(client: MlflowClient, run_id: str, settings: dict[str, Any]) -> None:
    parameters = _params(settings)
    for start in range(0, len(parameters), PARAMS):
        client.log_batch(run_id, params=parameters[start : start + PARAMS])


def _metrics(about: dict[str, Any], lines: list[dict[str, Any]]) -> Iterator[Metric]:
    end = _milliseconds(about["ended"])
    for line in lines:
        for name, value in line["values"].items():
            if value is not None:
                yield Metric(_name(name), value, int(line["time"] * 1000), line["step"])
    if about["duration_s"] is not None:
        yield Metric("job/duration_s", about["duration_s"], end or 0, 0)
    if about["outputs"]:
        yield Metric("job/output_bytes", sum(output["size"] for output in about["outputs"]), end or 0, 0)


def _send_files(client: MlflowClient, run_id: str, record_dir: Path, about: dict[str, Any]) -> None:
    """record.json (settings, outputs with size and SHA-256, error), and what the job wants to be seen."""
    client.log_artifact(run_id, str(record_dir / "record.json"))
    for path in map(Path, about["artifacts"]):
        if path.is_file():
            client.log_artifact(run_id, str(path), "outputs")
        else:  # made anew or removed since: the record still names its checksum
            logger.warning("%s is gone; %s is shown without it", path, about["record"])


def _supersede(client: MlflowClient, experiment_id: str, about: dict[str, Any]) -> None:
    """Of all attempts of a job the newest counts; the others carry `lddm.superseded_by`."""
    runs = _runs(client, experiment_id, f"tags.`lddm.job` = '{job_name(about)}' and tags.`lddm.complete` = 'true'")
    newest = max(runs, key=lambda run: (int(run.data.tags["lddm.attempt"]), run.data.tags["lddm.record"]))
    for run in runs:
        if run is newest:
            if run.data.tags.get("lddm.superseded") != "false":
                client.set_tag(run.info.run_id, "lddm.superseded", "false")
        elif run.data.tags.get("lddm.superseded_by") != newest.data.tags["lddm.record"]:
            client.set_tag(run.info.run_id, "lddm.superseded", "true")
            client.set_tag(run.info.run_id, "lddm.superseded_by", newest.data.tags["lddm.record"])


def job_name(about: dict[str, Any]) -> str:
    """Which job of the pipeline a record is of, e.g. "score fold-0 generator-lddm"."""
    return " ".join([about["rule"], *(f"{key}-{value}" for key, value in about["wildcards"].items())])


def _status(about: dict[str, Any]) -> str:
    """A record left RUNNING by a dead process was killed."""
    return {"RUNNING": "KILLED"}.get(about["status"], about["status"])


def _params(settings: dict[str, Any], prefix: str = "") -> list[Param]:
    """Nested settings as dotted names."""
    out = []
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            out += _params(value, f"{name}.")
        else:
            out.append(Param(_name(name), str(value)[:LONGEST]))
    return out


def _name(text: str) -> str:
    """MLflow allows word characters, dashes, dots, spaces, colons and slashes, and no empty part between slashes."""
    parts = re.sub(r"[^\w\-./ :]", "-", text).split("/")
    return "/".join(part for part in parts if part.strip(". ")) or "unnamed"


def _milliseconds(moment: str | None) -> int | None:
    return None if moment is None else int(datetime.fromisoformat(moment).timestamp() * 1000)
