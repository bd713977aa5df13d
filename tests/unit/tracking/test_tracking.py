"""Records on disk, and their view in MLflow: once, whole, and never in the way."""

import json
import subprocess
import sys

import pytest

from lddm import job as job_module
from lddm.errors import LddmError
from lddm.job import job
from lddm.tracking import mlflow_store, mlflow_view
from lddm.tracking.record import Record, all_records, is_alive, load_record


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    path = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"
    mlflow_view.init_store(path)
    return path


def make_record(root, wildcards=None, fail=False, artifact=None):
    try:
        with Record.start(
            root, "score", wildcards or {"fold": 0}, {"quality": {"bootstrap": 5}}, "exp", "pipe1"
        ) as record:
            record.metrics({"loss": 1.0, "bad": float("nan"), "heldout/piqe (pyiqa)//": 3.0}, 1)
            record.metrics({"loss": 0.5}, 2)
            if artifact:
                record.output(artifact)
                record.artifact(artifact)
            if fail:
                raise ValueError("boom")
    except ValueError:
        pass
    return record.path


def runs(uri, experiment, query="tags.`lddm.kind` = 'job'"):
    client = mlflow_store.open_store(uri)
    found = client.get_experiment_by_name(experiment)
    return client, client.search_runs([found.experiment_id], query)


def test_a_record_says_what_was_asked_and_what_came_out(tmp_path):
    made = tmp_path / "made.txt"
    made.write_text("hello")
    about, lines = load_record(make_record(tmp_path / "r", artifact=made))
    assert about["status"] == "FINISHED" and about["settings"] == {"quality": {"bootstrap": 5}}
    assert about["outputs"][0]["size"] == 5 and len(about["outputs"][0]["sha256"]) == 64
    assert [line["values"] for line in lines] == [
        {"loss": 1.0, "bad": None, "heldout/piqe (pyiqa)//": 3.0},
        {"loss": 0.5},
    ]
    failed, _ = load_record(make_record(tmp_path / "r", fail=True))
    assert failed["status"] == "FAILED" and "boom" in failed["error"] and failed["attempt"] == 2


def test_a_record_becomes_one_flat_run_and_only_once(tmp_path, uri):
    made = tmp_path / "table.csv"
    made.write_text("a,b\n")
    record = make_record(tmp_path / "r", artifact=made)
    assert mlflow_view.push(record, uri, "once") and not mlflow_view.push(record, uri, "once")
    client, found = runs(uri, "once")
    (run,) = found
    assert run.data.tags["lddm.rule"] == "score" and run.data.tags["lddm.fold"] == "0"
    assert run.data.tags["lddm.pipeline"] == "pipe1" and "mlflow.parentRunId" not in run.data.tags
    assert run.data.params == {"quality.bootstrap": "5"} and run.data.metrics["loss"] == 0.5
    assert [m.step for m in client.get_metric_history(run.info.run_id, "loss")] == [1, 2]
    assert run.info.status == "FINISHED" and run.data.metrics["heldout/piqe -pyiqa-"] == 3
    names = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"record.json", "outputs"} <= names


def test_a_record_cut_off_on_its_way_is_sent_anew(tmp_path, uri, monkeypatch):
    record = make_record(tmp_path / "r")
    with monkeypatch.context() as patch:
        patch.setattr(mlflow_view, "_send_files", lambda *_: (_ for _ in ()).throw(OSError("server gone")))
        with pytest.raises(OSError, match="server gone"):
            mlflow_view.push(record, uri, "cut")
    assert mlflow_view.push(record, uri, "cut")
    client, found = runs(uri, "cut")
    assert len(found) == 1 and len(client.get_metric_history(found[0].info.run_id, "loss")) == 2


def test_a_new_attempt_supersedes_the_old_one_visibly(tmp_path, uri):
    for _ in range(2):
        mlflow_view.push(make_record(tmp_path / "r"), uri, "again")
    _, found = runs(uri, "again")
    tags = sorted((run.data.tags["lddm.attempt"], run.data.tags["lddm.superseded"]) for run in found)
    assert tags == [("1", "true"), ("2", "false")]


def test_sync_brings_what_is_missing_twice_without_doubling(tmp_path, uri):
    results = tmp_path / "exp2"
    for fold in range(3):
        make_record(results / "records", {"fold": fold})
    (results / "summary.json").write_text(json.dumps({"headline": {"quality/lddm/l1": 0.1, "x/real+lddm/auc": 0.9}}))
    for folder in all_records(results / "records"):
        about = json.loads((folder / "record.json").read_text())
        (folder / "record.json").write_text(json.dumps(about | {"experiment": "exp2"}))
    assert mlflow_view.sync(results, uri) == 3
    assert mlflow_view.sync(results, uri) == 0
    assert len(runs(uri, "exp2")[1]) == 3
    _, summaries = runs(uri, "exp2", "tags.`lddm.kind` = 'summary'")
    assert len(summaries) == 1 and summaries[0].data.metrics["x/real-lddm/auc"] == 0.9


def test_a_killed_job_is_shown_as_killed_and_a_running_one_is_left_alone(tmp_path, uri):
    script = (
        "import os, sys; from lddm.tracking.record import Record;"
        "Record.start(sys.argv[1], 'encode', {}, {}, 'killed', 'p'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "killed/records")], check=False)
    alive = Record.start(tmp_path / "killed/records", "encode", {"fold": 1}, {}, "killed", "p")
    assert is_alive(alive.about)
    assert mlflow_view.sync(tmp_path / "killed", uri) == 1
    _, found = runs(uri, "killed")
    assert [run.info.status for run in found] == ["KILLED"]


def test_a_job_that_died_on_another_machine_is_shown_once_a_later_attempt_has_begun(tmp_path, uri):
    first = Record.start(tmp_path / "away/records", "encode", {"fold": 0}, {}, "away", "p")
    about = json.loads((first.path / "record.json").read_text())
    about["host"]["name"] = "another-machine"
    (first.path / "record.json").write_text(json.dumps(about))
    assert mlflow_view.sync(tmp_path / "away", uri) == 0  # it may still be running there
    with Record.start(tmp_path / "away/records", "encode", {"fold": 0}, {}, "away", "p"):
        assert mlflow_view.sync(tmp_path / "away", uri) == 1
    assert mlflow_view.sync(tmp_path / "away", uri) == 1 and mlflow_view.sync(tmp_path / "away", uri) == 0
    _, found = runs(uri, "away")
    shown = {run.data.tags["lddm.attempt"]: (run.info.status, run.data.tags["lddm.superseded"]) for run in found}
    assert shown == {"1": ("KILLED", "true"), "2": ("FINISHED", "false")}


def test_a_server_that_is_down_warns_and_does_not_fail_the_job(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.delenv("LDDM_TRACKING", raising=False)
    with job("score", tmp_path / "r") as run:
        run.metrics(0, {"loss": 1.0})
    assert "stays on disk" in caplog.text
    (folder,) = all_records(tmp_path / "r")
    assert load_record(folder)[0]["status"] == "FINISHED"


def test_tracking_can_be_off(tmp_path, monkeypatch):
    monkeypatch.setenv("LDDM_TRACKING", "off")
    monkeypatch.setattr(job_module, "tracking_uri", lambda: None)
    with job("score", tmp_path / "r"):
        pass
    assert len(all_records(tmp_path / "r")) == 1


def test_a_failing_job_keeps_its_record_and_its_error(tmp_path, monkeypatch):
    monkeypatch.setenv("LDDM_TRACKING", "off")
    with pytest.raises(LddmError, match="was not written"), job("score", tmp_path / "r") as run:
        run.outputs(tmp_path / "absent")
    assert load_record(all_records(tmp_path / "r")[0])[0]["status"] == "FAILED"


def test_jobs_that_end_together_lose_nothing(tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    mlflow_view.init_store(uri)
    folders = [make_record(tmp_path / "r", {"fold": fold}) for fold in range(16)]
    code = "import sys; from pathlib import Path; from lddm.tracking import mlflow_view as v;" + (
        "[v.push(Path(p), sys.argv[1], 'many') for p in sys.argv[2:]]"
    )
    jobs = [subprocess.Popen([sys.executable, "-c", code, uri, *map(str, folders[i::8])]) for i in range(8)]
    assert [job.wait() for job in jobs] == [0] * 8
    _, found = runs(uri, "many")
    assert len(found) == 16 and all(run.data.metrics["loss"] == 0.5 for run in found)
