"""Downloads give up soon, do not ask again what failed, and leave nothing half-written."""

import socket
import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import pytest

from lddm.data import download as module
from lddm.data.download import DownloadError, download, offline
from lddm.data.fetch import fetch
from lddm.errors import LddmError
from lddm.metrics import weights
from lddm.metrics.weights import REGISTRY, WeightsAbsent


@pytest.fixture(autouse=True)
def memory(tmp_path, monkeypatch):
    """A network that may be asked, and nothing remembered."""
    for name in ("LDDM_OFFLINE", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(module, "_failed", {})
    monkeypatch.setattr(module, "CONNECT_S", 0.2)
    monkeypatch.setattr(module, "READ_S", 0.2)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def server(tmp_path):
    """Address of a folder with one file, and the requests that came."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www/a.bin").write_bytes(b"weights")
    asked = []

    class Counting(Quiet):
        def do_GET(self):  # noqa: N802
            asked.append(self.path)
            super().do_GET()

    served = HTTPServer(("127.0.0.1", 0), partial(Counting, directory=str(tmp_path / "www")))
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}", asked
    served.shutdown()


@pytest.fixture
def silent():
    """Address of a server (or proxy) that accepts connections and never answers, and the connections that came."""
    came = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)
        stop = threading.Event()

        def accept():
            while not stop.is_set():
                try:
                    came.append(listening.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", came
        stop.set()
        thread.join()
        for connection in came:
            connection.close()


@pytest.mark.parametrize("value", ["1", "true", "TRUE", " yes ", "on", "please"])
def test_offline_has_many_spellings(value, monkeypatch, tmp_path):
    monkeypatch.setenv("LDDM_OFFLINE", value)
    assert offline()
    with pytest.raises(WeightsAbsent, match="LDDM_OFFLINE forbids"):
        weights.find("vgg16", tmp_path)
    with pytest.raises(LddmError, match="LDDM_OFFLINE forbids"):
        fetch("pocus", tmp_path)


@pytest.mark.parametrize("value", ["", "0", "false", "No", "off"])
def test_so_has_its_opposite(value, monkeypatch):
    monkeypatch.setenv("LDDM_OFFLINE", value)
    assert not offline()


def test_a_dead_proxy_is_asked_once_for_all_addresses(silent, monkeypatch, tmp_path):
    proxy, came = silent
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    for name in ("vgg16", "alexnet", "inception_v3_fid", "i3d_kinetics400"):  # three hosts
        with pytest.raises(WeightsAbsent, match="cannot be fetched"):
            weights.find(name, tmp_path)
    assert len(came) == 1


def test_what_failed_is_remembered_across_processes_for_an_hour(silent, tmp_path, monkeypatch):
    address, came = silent
    with pytest.raises(DownloadError, match="Timeout"):
        download(f"{address}/a", tmp_path / "a")
    monkeypatch.setattr(module, "_failed", {})  # as another process has it
    with pytest.raises(DownloadError, match="not retried"):
        download(f"{address}/b", tmp_path / "b")
    assert len(came) == 1
    with pytest.raises(DownloadError, match="Timeout"):
        download(f"{address}/b", tmp_path / "b", again=True)
    monkeypatch.setattr(module, "_failed", {})
    monkeypatch.setattr(module, "REMEMBERED_S", 0.0)
    with pytest.raises(DownloadError, match="Timeout"):
        download(f"{address}/b", tmp_path / "b")
    assert len(came) == 3


def test_a_missing_file_does_not_condemn_its_server(server, tmp_path):
    address, asked = server
    for _ in range(2):
        with pytest.raises(DownloadError, match="404"):
            download(f"{address}/none.bin", tmp_path / "none.bin")
    assert asked == ["/none.bin"] and not (tmp_path / "none.bin").exists()
    assert download(f"{address}/a.bin", tmp_path / "new/a.bin").read_bytes() == b"weights"


def test_a_folder_that_cannot_be_written_is_a_reason_and_not_remembered(server, tmp_path, monkeypatch):
    address, _ = server
    (tmp_path / "pyiqa").write_text("a file where the folder should be")
    entry = REGISTRY["lpips_vgg"].__class__("pyiqa/a.bin", f"{address}/a.bin", None, "", "")
    monkeypatch.setitem(REGISTRY, "lpips_vgg", entry)
    with pytest.raises(WeightsAbsent, match="FileExistsError|NotADirectoryError"):
        weights.find("lpips_vgg", tmp_path)
    (tmp_path / "pyiqa").unlink()
    assert weights.find("lpips_vgg", tmp_path).read_bytes() == b"weights"


def test_a_folder_without_permission_is_a_reason(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)  # root may write anywhere
    with pytest.raises(WeightsAbsent, match="Permission denied"):
        weights.find("lpips_vgg", tmp_path)
    monkeypatch.setattr("pathlib.Path.is_file", refuse)
    with pytest.raises(WeightsAbsent, match="cannot be read"):
        weights.find("lpips_vgg", tmp_path)
    assert weights.state("lpips_vgg", tmp_path) == "cannot be read: Permission denied"


def test_the_notes_of_failures_hold_no_password_and_need_no_writable_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://bob:hunter2@127.0.0.1:9")
    with pytest.raises(DownloadError) as said:
        download("https://example.invalid/a", tmp_path / "a")
    notes = list((tmp_path / "tmp").rglob("*.json"))
    assert len(notes) == 1 and "hunter2" not in notes[0].read_text() + notes[0].name + str(said.value)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    monkeypatch.setattr(module, "_failed", {})
    with pytest.raises(DownloadError, match="Proxy"):
        download("https://example.invalid/a", tmp_path / "a")
