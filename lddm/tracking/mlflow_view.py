"""Transfer of records to MLflow: one run per job attempt and one summary run per pipeline, not nested.

The records on disk are authoritative, so every operation can be repeated: a record that is complete in MLflow is skipped,
also if its run was deleted there; an incomplete one is sent again.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from lddm.errors import LddmError
from lddm.files import lock, read_json, sha256
from lddm.tracking.address import hide_secrets
from lddm.tracking.mlflow_store import (  # first: sets up MLflow
    MlflowClient,
    experiment_id,
    open_store,
    store_error,
)
from lddm.tracking.record import all_records, has_successor, is_alive, load_record
from lddm.tracking.saved_view import TAG, saved_view

from mlflow.entities import Metric, Param, Run, ViewType  # isort: skip

logger = logging.getLogger(__name__)

BATCH = 1000  # metrics per request, MLflow's limit
PARAMS = 100  # parameters per request, MLflow's limit
LONGEST = 500  # characters of a parameter's value; the full text is in the artifact record.json


def init_store(uri: str) -> None:
    """Create the store if needed, and check that it answers.

    Raises:
        LddmError: the URI cannot be a store, the sqlite file cannot be used, or the server does not answer.
    """
    client = open_store(uri)
    try:
        client.search_experiments(max_results=1)
    except Exception as error:  # any exception of MLflow and its backends
        raise store_error(uri, error) from error


def push(record_dir: Path, uri: str, experiment: str) -> bool:
    """Send one record as a run.

    Args:
        record_dir: folder with record.json.
        uri: tracking URI.
        experiment: name of the MLflow experiment.

    Returns:
        False if the run already exists or has been deleted.

    Raises:
        LddmError: the URI cannot be a store, or its sqlite file cannot be used.
        Exception: any exception of MLflow, e.g. if the server does not answer.
    """
    about, lines = load_record(record_dir)
    client = open_store(uri)
    into = experiment_id(client, uri, experiment)
    with lock(record_dir / ".mlflow.lock"):
        shown = False
        for run in _runs(client, into, f"tags.`lddm.record` = '{about['record']}'", ViewType.ALL):
            if run.data.tags.get("lddm.complete") == "true":
                shown = True
            elif run.info.lifecycle_stage == "active":
                client.delete_run(run.info.run_id)  # incomplete: sending it again would duplicate metrics
        if not shown:
            run_id = _send(client, into, about, lines)
            _send_files(client, run_id, record_dir, about)
            client.set_terminated(run_id, _status(about), _milliseconds(about["ended"]))
            client.set_tag(run_id, "lddm.complete", "true")
    _supersede(client, into, about)
    return not shown


def push_summary(summary: Path, uri: str, experiment: str, pipeline: str) -> None:
    """Create or replace the summary run of a pipeline, with headline numbers as metrics and settings as parameters.

    Runs of two pipelines can then be compared row by row. The saved view with their charts is updated too.
    """
    content = read_json(summary)
    client = open_store(uri)
    into = experiment_id(client, uri, experiment)
    with lock(summary.parent / ".mlflow-summary.lock"):
        earlier = _runs(client, into, f"tags.`lddm.kind` = 'summary' and tags.`lddm.pipeline` = '{pipeline}'")
        tags = {"lddm.kind": "summary", "lddm.pipeline": pipeline, "mlflow.user": "lddm"}
        run = client.create_run(into, tags=tags, run_name=f"summary {pipeline}")
        run_id, now = run.info.run_id, run.info.start_time
        metrics = [Metric(_name(k), float(v), now, 0) for k, v in content["headline"].items() if v is not None]
        client.log_batch(run_id, metrics=metrics[:BATCH])
        _log_params(client, run_id, content.get("settings", {}))
        client.log_artifact(run_id, str(summary))
        client.set_terminated(run_id)
        for old in earlier:
            client.delete_run(old.info.run_id)
        client.set_experiment_tag(into, TAG, saved_view([metric.key for metric in metrics], now))


def sync(results: Path, uri: str) -> int:
    """Send all records of an experiment that are not in MLflow yet, and its summary.

    Args:
        results: results/<experiment>.
        uri: tracking URI.

    Returns:
        Number of records sent.

    Raises:
        LddmError: the folder has no records, the store cannot be used or does not answer, or it refused some records; the
            log names those, and all others were sent.
    """
    if not (results / "records").is_dir():
        inside = sorted(str(folder.parent) for folder in results.glob("*/records"))
        what = "has no records/" if results.is_dir() else "does not exist"
        raise LddmError(f"{results} {what}", f"pass the folder of an experiment: {', '.join(inside) or 'results/NAME'}")
    sent, refused, newest = 0, 0, None
    for folder in all_records(results / "records"):
        try:
            about, _ = load_record(folder)
        except LddmError as error:
            logger.warning("%s", error.message)
            refused += 1
            continue
        newest = about
        if about["status"] == "RUNNING" and is_alive(about) and not has_successor(folder, about):
            continue
        try:
            sent += push(folder, uri, about["experiment"])
        except LddmError:
            raise
        except Exception as error:  # a refused record must not block the others
            init_store(uri)  # raises if the store is down, since waiting for each record would take hours
            logger.warning("%s is not in MLflow: %s", folder, hide_secrets(str(error), uri))
            refused += 1
    summary = results / "summary.json"
    if newest is not None and summary.is_file():
        try:
            push_summary(summary, uri, newest["experiment"], read_json(summary).get("pipeline", newest["pipeline"]))
        except LddmError:
            raise
        except Exception as error:
            raise store_error(uri, error) from error
    if refused:
        raise LddmError(f"{refused} records of {results} are not in MLflow", "see the reasons in the log above")
    return sent


def _runs(client: MlflowClient, into: str, query: str, which: int = ViewType.ACTIVE_ONLY) -> list[Run]:
    return list(client.search_runs([into], query, run_view_type=which, max_results=1000))


def _send(client: MlflowClient, into: str, about: dict[str, Any], lines: list[dict[str, Any]]) -> str:
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
        **({"mlflow.source.git.commit": commit} if (commit := about.get("code", {}).get("commit")) else {}),
        **{f"lddm.{key}": value for key, value in about["wildcards"].items()},
    }
    if about["error"]:
        tags["lddm.error"] = about["error"].strip().splitlines()[-1][:LONGEST]
    run = client.create_run(into, _milliseconds(about["started"]), tags, run_name=job)
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
    """Send record.json (settings, outputs with size and SHA-256, error) and the job's artifacts."""
    client.log_artifact(run_id, str(record_dir / "record.json"))
    made = {output["path"]: output for output in about["outputs"]}
    for name in about["artifacts"]:
        output = made.get(name, {})
        # Relative to the results folder of this record, because another project may have a file with the same path.
        path = record_dir.parents[3] / output["name"] if output.get("name") else Path(name)
        if not path.is_file():
            logger.warning("%s does not exist any more; %s is sent without it", path, about["record"])
        elif output and sha256(path) != output["sha256"]:
            logger.warning("%s has been made again since; %s is sent without it", path, about["record"])
        else:
            client.log_artifact(run_id, str(path), "outputs")


def _supersede(client: MlflowClient, into: str, about: dict[str, Any]) -> None:
    """Tag all attempts of a job except the newest with `lddm.superseded_by`."""
    runs = _runs(client, into, f"tags.`lddm.job` = '{job_name(about)}' and tags.`lddm.complete` = 'true'")
    if not runs:  # all were deleted
        return
    newest = max(runs, key=lambda run: (int(run.data.tags["lddm.attempt"]), run.data.tags["lddm.record"]))
    for run in runs:
        if run is newest:
            if run.data.tags.get("lddm.superseded") != "false":
                client.set_tag(run.info.run_id, "lddm.superseded", "false")
        elif run.data.tags.get("lddm.superseded_by") != newest.data.tags["lddm.record"]:
            client.set_tag(run.info.run_id, "lddm.superseded", "true")
            client.set_tag(run.info.run_id, "lddm.superseded_by", newest.data.tags["lddm.record"])


def job_name(about: dict[str, Any]) -> str:
    """Name of the job of a record, e.g. "score fold-0 generator-lddm"."""
    return " ".join([about["rule"], *(f"{key}-{value}" for key, value in about["wildcards"].items())])


def _status(about: dict[str, Any]) -> str:
    """Status in MLflow; a record left RUNNING by a dead process counts as KILLED."""
    return {"RUNNING": "KILLED"}.get(about["status"], about["status"])


def _params(settings: dict[str, Any], prefix: str = "") -> list[Param]:
    """Parameters of nested settings, with dotted names."""
    out = []
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            out += _params(value, f"{name}.")
        else:
            out.append(Param(_name(name), str(value)[:LONGEST]))
    return out


def _name(text: str) -> str:
    """Valid MLflow name: only word characters, dashes, dots, spaces, colons and slashes, without empty parts."""
    parts = re.sub(r"[^\w\-./ :]", "-", text).split("/")
    return "/".join(part for part in parts if part.strip(". ")) or "unnamed"


def _milliseconds(moment: str | None) -> int | None:
    return None if moment is None else int(datetime.fromisoformat(moment).timestamp() * 1000)
