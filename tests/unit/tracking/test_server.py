"""A tracking server that answers, that dies half-way, and that is too slow: nothing is lost, nothing is doubled."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lddm.errors import LddmError
from lddm.job import job
from lddm.tracking import mlflow_store, mlflow_view
from tests.mlflow_server import free_port, mlflow_server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Port of a real MLflow server on sqlite."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    store = f"sqlite:///{folder / 'mlflow.db'}"
    with mlflow_server(folder, store, port, "--artifacts-destination", str(folder / "artifacts")):
        yield port


class Line(ThreadingHTTPServer):
    """The way to the server, which can break or hold requests up.

    Attributes:
        fate: of the n-th request: "answered", "lost" (done by the server, but its answer is lost) or "refused".
        free: while it is not set, requests get no answer.
        asked: requests that came.
    """

    daemon_threads = True

    def __init__(self, port: int):
        super().__init__(("127.0.0.1", 0), Handler)
        self.port, self.asked, self.free = port, 0, threading.Event()
        self.fate: Callable[[int], str] = lambda _: "answered"
        self.free.set()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address) -> None:
        """A client that gave up is no news."""


class Handler(BaseHTTPRequestHandler):
    server: Line

    def forward(self) -> None:
        line = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        line.asked += 1
        fate = line.fate(line.asked)
        if fate == "refused":
            self.cut()
            return
        line.free.wait()
        to = http.client.HTTPConnection("127.0.0.1", line.port)
        headers = {
            k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection", "transfer-encoding")
        }
        to.request(self.command, self.path, body, headers | {"Host": f"127.0.0.1:{line.port}"})
        answer = to.getresponse()
        content = answer.read()
        if fate == "lost":
            self.cut()
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = forward  # noqa: N815

    def log_message(self, *_) -> None:
        """Say nothing."""


@pytest.fixture
def line(server, monkeypatch):
    """A whole line to the server, which jobs use."""
    line = Line(server)
    threading.Thread(target=line.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", line.uri)
    monkeypatch.delenv("LDDM_TRACKING", raising=False)
    yield line
    line.free.set()
    line.shutdown()


def run_job(folder, experiment, monkeypatch, fold=0) -> None:
    monkeypatch.setenv("LDDM_EXPERIMENT", experiment)
    made = folder / "table.csv"
    made.parent.mkdir(exist_ok=True)
    made.write_text("a,b\n")
    with job("score", folder / "records", {"bootstrap": 5}, {"fold": fold}) as run:
        for step in range(3):
            run.metrics(step, {"loss": 1.0 / (1 + step)})
        run.artifacts(made)


def whole_runs(uri, experiment):
    client = mlflow_store.open_store(uri)
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id]) if found else []
    return client, [run for run in runs if run.data.tags["lddm.kind"] == "job"]


def is_whole(client, run) -> bool:
    history = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "loss")]
    files = [file.path for file in client.list_artifacts(run.info.run_id, "outputs")]
    return (
        run.data.tags["lddm.complete"] == "true"
        and run.data.tags["lddm.superseded"] == "false"
        and run.info.status == "FINISHED"
        and history == [(0, 1.0), (1, 0.5), (2, pytest.approx(1 / 3))]
        and files == ["outputs/table.csv"]
    )


def test_a_job_shows_in_a_server_given_by_uri(line, tmp_path, monkeypatch, caplog):
    run_job(tmp_path / "x", "by_uri", monkeypatch)
    client, (run,) = whole_runs(line.uri, "by_uri")
    assert is_whole(client, run) and "stays on disk" not in caplog.text


def dies(request: int) -> Callable[[int], str]:
    return lambda n: "answered" if n < request else "lost" if n == request else "refused"


def hiccups(request: int) -> Callable[[int], str]:
    return lambda n: "lost" if n == request else "answered"


@pytest.mark.parametrize(("fate", "retries"), [(dies, 0), (hiccups, 1)])
def test_whichever_answer_is_lost_the_record_arrives_once(line, tmp_path, monkeypatch, caplog, fate, retries):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(retries))
    run_job(tmp_path / "whole", "whole", monkeypatch)
    requests = line.asked
    assert requests > 8
    for request in range(1, requests + 1):
        name, folder = f"{fate.__name__}_{request}_{retries}", tmp_path / str(request)
        line.asked, line.fate = 0, fate(request)
        caplog.clear()
        run_job(folder, name, monkeypatch)
        assert ("stays on disk" in caplog.text) == (retries == 0)
        line.fate = lambda _: "answered"
        mlflow_view.sync(folder, line.uri)
        assert mlflow_view.sync(folder, line.uri) == 0
        client, found = whole_runs(line.uri, name)
        assert len(found) == 1 and is_whole(client, found[0]), f"request {request}"


def test_a_server_that_does_not_answer_is_given_up_after_one_request(line, tmp_path, monkeypatch, caplog):
    line.free.clear()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    for fold in range(3):
        run_job(tmp_path / "x", "slow", monkeypatch, fold)
    assert caplog.text.count("stays on disk") == 3 and line.asked == 3
    with pytest.raises(LddmError, match="does not answer"):
        mlflow_view.sync(tmp_path / "x", line.uri)
    assert line.asked == 5  # it does not ask again for each record
    line.free.set()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    assert mlflow_view.sync(tmp_path / "x", line.uri) == 3
    client, found = whole_runs(line.uri, "slow")
    assert len(found) == 3 and all(is_whole(client, run) for run in found)
