"""Stores that were moved, copied, damaged or never possible, and addresses with passwords."""

import logging
import shutil
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lddm import files as lddm_files
from lddm.cli import tracking
from lddm.errors import LddmError
from lddm.job import job, tracking_uri
from lddm.tracking import mlflow_store, mlflow_view
from lddm.tracking.address import SecretFilter, check_uri, hide_secrets, sqlite_path
from lddm.tracking.record import Record, all_records


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A project folder whose store has one run with an artifact."""
    root = tmp_path_factory.mktemp("template") / "project"
    write(root)
    mlflow_view.push(all_records(root / "results/exp/records")[0], store(root), "exp")
    return root


@pytest.fixture
def project(template, tmp_path):
    """A copy of the project at another place."""
    return shutil.copytree(template, tmp_path / "project")


def store(root):
    return f"sqlite:///{root / 'results/mlflow.db'}"


def write(root, fold=0):
    """A finished record with one artifact."""
    made = root / f"results/exp/table-{fold}.csv"
    made.parent.mkdir(parents=True, exist_ok=True)
    made.write_text(f"{fold}\n")
    with Record.start(root / "results/exp/records", "score", {"fold": fold}, {}, "exp", "p") as record:
        record.output(made)
        record.artifact(made)
    return record.path


def files(root):
    return {path.relative_to(root).as_posix(): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def runs(root):
    client = mlflow_store.open_store(store(root))
    return client, client.search_runs([client.get_experiment_by_name("exp").experiment_id])


def test_a_copied_project_writes_beside_its_own_store_and_shows_its_earlier_artifacts(template, project, caplog):
    before = files(template)
    write(project, 1)
    assert mlflow_view.sync(project / "results/exp", store(project)) == 1
    assert files(template) == before  # nothing was written into the original
    assert caplog.text.count("was moved or copied") == 1
    client, found = runs(project)
    for run in found:
        assert run.info.artifact_uri.startswith((project / "results/mlartifacts/exp").as_uri())
        assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"outputs", "record.json"}
    location = client.get_experiment_by_name("exp").artifact_location
    assert location == (project / "results/mlartifacts/exp").as_uri()


def test_a_moved_project_does_not_make_its_old_folder_again(project, tmp_path):
    mlflow_view.sync(project / "results/exp", store(project))
    moved = tmp_path / "moved # 100%"
    project.rename(moved)
    write(moved, 1)
    assert mlflow_view.sync(moved / "results/exp", store(moved)) == 1
    assert not project.exists() and len(runs(moved)[1]) == 2


def test_an_artifact_location_chosen_by_hand_is_left_alone(project, tmp_path):
    client = mlflow_store.open_store(store(project))
    client.create_experiment("mine", artifact_location=(tmp_path / "chosen").as_uri())
    mlflow_view.push(write(project, 1), store(project), "mine")
    assert len(list((tmp_path / "chosen").rglob("record.json"))) == 1


def test_a_deleted_run_stays_deleted_and_a_restored_experiment_has_no_doubles(project):
    write(project, 1)
    mlflow_view.sync(project / "results/exp", store(project))
    client, found = runs(project)
    for run in found:
        client.delete_run(run.info.run_id)
    assert mlflow_view.sync(project / "results/exp", store(project)) == 0 and runs(project)[1] == []
    client.delete_experiment(found[0].info.experiment_id)
    client.restore_experiment(found[0].info.experiment_id)  # restores the runs too
    assert mlflow_view.sync(project / "results/exp", store(project)) == 0 and len(runs(project)[1]) == 2


def test_artifacts_are_those_of_the_record_and_not_of_another_project_or_attempt(
    project, tmp_path, monkeypatch, caplog
):
    paths = {}
    for name in ("one", "two"):
        (tmp_path / name / "results/exp").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / name)
        Path("results/exp/table.csv").write_text(name)
        with Record.start(Path("results/exp/records"), "score", {"name": name}, {}, "exp", "p") as record:
            record.output("results/exp/table.csv")
            record.artifact("results/exp/table.csv")
        paths[name] = tmp_path / name / record.path
    mlflow_view.push(paths["one"], store(project), "other")  # from the folder of project two
    (shown,) = (project / "results/mlartifacts/other").rglob("table.csv")
    assert shown.read_text() == "one"
    (tmp_path / "two/results/exp/table.csv").write_text("made again")
    mlflow_view.push(paths["two"], store(project), "other")
    assert "has been made again since" in caplog.text
    assert len(list((project / "results/mlartifacts/other").rglob("table.csv"))) == 1


def damaged(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def overwritten(path):
    path.write_bytes(b"no database" * 1000)


def older(path):
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'cc1f77228345'")


def newer(path):
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")


@pytest.mark.parametrize("harm", [damaged, overwritten, older, newer])
def test_a_store_that_cannot_be_used_is_one_error_that_says_how_to_rebuild_it(project, harm, monkeypatch, caplog):
    path = project / "results/mlflow.db"
    for side in ("-wal", "-shm"):
        path.with_name(path.name + side).unlink(missing_ok=True)
    harm(path)
    with pytest.raises(LddmError, match="is damaged, or was written by another version of MLflow") as said:
        mlflow_view.sync(project / "results/exp", store(project))
    assert f"remove {path}*" in said.value.hint and "\n" not in said.value.message
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store(project))
    with job("score", project / "results/exp/records", wildcards={"fold": 2}):  # which never fails for it
        pass
    assert "the record stays on disk" in caplog.text
    if harm is not damaged:
        return
    rebuilt = shutil.copytree(project, project.with_name("rebuilt"), ignore=shutil.ignore_patterns("mlflow.db*"))
    assert mlflow_view.sync(rebuilt / "results/exp", store(rebuilt)) == 2


def test_a_record_that_is_refused_does_not_keep_the_others_back_and_is_an_error(project, monkeypatch, caplog):
    write(project, 1)
    broken = write(project, 2)
    write(project, 3)
    send = mlflow_view._send

    def refuse(client, into, about, lines):
        if about["wildcards"] == {"fold": "2"}:
            raise ValueError("not this one")
        return send(client, into, about, lines)

    monkeypatch.setattr(mlflow_view, "_send", refuse)
    damaged_record = write(project, 4)
    (damaged_record / "record.json").write_text('{"half')
    with pytest.raises(LddmError, match="2 records of .* are not in MLflow"):
        mlflow_view.sync(project / "results/exp", store(project))
    assert f"{damaged_record / 'record.json'} is not JSON" in caplog.text
    assert len(runs(project)[1]) == 3 and f"{broken} is not in MLflow" in caplog.text


@pytest.mark.parametrize("name", ["typo", "", "exp/records"])
def test_a_folder_without_records_is_an_error(project, name):
    with pytest.raises(LddmError, match=r"does not exist|has no records/") as said:
        mlflow_view.sync(project / "results" / name, store(project))
    assert "pass the folder of an experiment" in said.value.hint
    assert name or str(project / "results/exp") in said.value.hint


@pytest.mark.parametrize(
    "uri", ["./mlruns", "mlruns", "file:///tmp/x", "htp://server", "sqlite:////a/what?/mlflow.db", "C:\\mlruns"]
)
def test_an_address_that_can_never_work_stops_before_the_first_job(uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    done = CliRunner().invoke(tracking.app, ["init"])
    assert isinstance(done.exception, LddmError) and "sqlite:///results/mlflow.db" in done.exception.hint


def test_addresses_that_can_work_are_accepted():
    for uri in ("http://h:5000", "https://u:p@h/x", "sqlite:///a.db", "postgresql+psycopg2://u@h/d", "databricks"):
        check_uri(uri)
    assert sqlite_path("sqlite:///a.db?timeout=9").as_posix() == "a.db"
    assert sqlite_path("sqlite:////a/b.db").as_posix() == "/a/b.db" and sqlite_path("http://h/a.db") is None


def test_the_default_store_lies_below_the_working_folder_whatever_its_name_and_heeds_the_umask(tmp_path, monkeypatch):
    (tmp_path / "what? #1 100%25").mkdir()
    monkeypatch.chdir(tmp_path / "what? #1 100%25")
    monkeypatch.setattr(lddm_files, "UMASK", 0o002)
    monkeypatch.setattr(mlflow_store, "UMASK", 0o002)  # a second user of the group shall write too
    for variable in ("MLFLOW_TRACKING_URI", "LDDM_TRACKING"):
        monkeypatch.delenv(variable, raising=False)
    mlflow_view.init_store(tracking_uri())
    for name in ("mlflow.db", "mlflow.db.lock"):
        assert (Path("results") / name).stat().st_mode & 0o777 == 0o664
    assert [path.name for path in tmp_path.iterdir()] == ["what? #1 100%25"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at http://bob:hunter2@h:1/x: down", "at http://***@h:1/x: down"),
        ("at https://hunter2@h/x", "at https://***@h/x"),
        ("postgresql://bob:p@ss/w@h/d?sslmode=require", "postgresql://***@h/d?sslmode=require"),
        ("postgresql://h/d?user=bob&password=a%20b&x=1", "postgresql://h/d?user=***&password=***&x=1"),
        ("http://h/?api_key=hunter2 and http://h/?access-token=t", "http://h/?api_key=*** and http://h/?access-token=***"),
        ("token t0ken/+ or t0ken%2F%2B", "token *** or ***"),
        ("decoded hunt@2, encoded hunt%402", "decoded ***, encoded ***"),
        ("mail bob@example.org, http://h/plain?x=1", "mail bob@example.org, http://h/plain?x=1"),
    ],
)  # fmt: skip
def test_secrets_are_hidden(text, shown, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken/+")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://bob:hunt%402@h")
    assert hide_secrets(text) == shown


def test_a_password_reaches_no_log_record_tag_or_message(project, monkeypatch, caplog, capsys):
    uri = "http://bob:hunter2%21@127.0.0.1:9/?token=qwertz"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret")
    with pytest.raises(ValueError), job("score", project / "results/exp/records", wildcards={"fold": 1}):
        raise ValueError(f"{uri} refused s3cret and hunter2!")
    with pytest.raises(LddmError) as said:
        mlflow_view.sync(project / "results/exp", uri)
    assert CliRunner().invoke(tracking.app, ["init"]).exit_code == 0
    texts = [caplog.text, str(said.value), "".join(capsys.readouterr())]
    texts += [path.read_text() for path in (project / "results/exp/records").rglob("*.json*")]
    for text in texts:
        assert not any(secret in text for secret in ("hunter2", "qwertz", "s3cret", "bob:"))
    assert "does not answer" in str(said.value) and "the record stays on disk" in caplog.text


def test_a_log_hides_secrets_of_other_libraries_and_of_tracebacks(monkeypatch):
    handler = logging.StreamHandler()
    handler.addFilter(SecretFilter())
    try:
        raise ValueError("http://bob:hunter2@h")
    except ValueError as error:
        kind = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("x", logging.INFO, "f", 1, "asked %s", ("http://bob:hunter2@h",), kind)
    handler.filter(record)
    assert "hunter2" not in handler.format(record) and "asked http://***@h" in handler.format(record)
    broken = logging.LogRecord("x", logging.INFO, "f", 1, "%d pieces", ("hunter2",), None)
    assert handler.filter(broken) and "hunter2" not in handler.format(broken)  # and no error in the job
