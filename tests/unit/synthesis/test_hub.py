"""Upload to and download from the Hugging Face Hub, with a stand-in server on this machine."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from lddm.cli import app
from lddm.errors import LddmError
from lddm.synthesis.bundle import load_bundle
from lddm.synthesis.hub import licence_of
from lddm.synthesis.model_store import DEFAULT, baselines_of, find_model, packaged_models

COMMIT = "1" * 40


class Hub(BaseHTTPRequestHandler):
    """One repository, as far as `snapshot_download` and `upload_folder` ask; all files are regular ones."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append((self.command, self.path))
        prefix, files = f"/{self.server.repo}/resolve/", self.server.files
        if not self.path.startswith((f"/api/models/{self.server.repo}", prefix)) or not files:
            return self.answer(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
        if self.path.startswith(prefix):
            body = files.get(self.path.removeprefix(prefix).partition("/")[2].partition("?")[0])
            if body is None:
                return self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
            etag = f'"{hashlib.sha1(body).hexdigest()}"'
            return self.answer(200, body, {"ETag": etag, "X-Repo-Commit": COMMIT})
        if "/tree/" in self.path:
            tree = [
                {"type": "file", "path": n, "size": len(b), "oid": hashlib.sha1(b).hexdigest()}
                for n, b in files.items()
            ]
            return self.json(tree)
        siblings = [{"rfilename": name} for name in files]
        return self.json({"id": self.server.repo, "sha": COMMIT, "siblings": siblings})

    do_HEAD = do_GET

    def do_POST(self):
        self.server.asked.append((self.command, self.path))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != "Bearer hf_secret":
            return self.answer(401, b'{"error": "no token"}')
        if self.path == "/api/repos/create":
            return self.json({"url": f"{self.server.address}/{self.server.repo}", "id": self.server.repo})
        if "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            return self.json({"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]})
        if "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            address = f"{self.server.address}/{self.server.repo}/commit/{COMMIT}"
            return self.json({"commitUrl": address, "commitOid": COMMIT})
        return self.json({})

    def json(self, value):
        self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def answer(self, status, body, headers=None):
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch, tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.repo, server.files, server.asked = "lab/breast", {}, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    places = {"ENDPOINT": "", "HUGGINGFACE_CO_URL_TEMPLATE": "/{repo_id}/resolve/{revision}/{filename}"}
    for name, place in places.items():  # huggingface_hub reads the variable when it is imported only
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", server.address + place)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    yield server
    server.shutdown()
    server.server_close()


def test_a_model_is_pushed_with_its_card_and_pulled_again(hub):
    done = CliRunner().invoke(app, ["models", "push", "hf:lab/breast"])
    assert done.exit_code == 0, done.output
    parts = {"MODEL_CARD.md", "bundle.json", "autoencoder.safetensors", "generator.safetensors"}
    assert set(hub.files) == {"README.md", *parts, *(f"motion_transfer/{part}" for part in parts)}
    card = hub.files["README.md"].decode()
    assert card.startswith("---\nlibrary_name: lddm\nlicense: apache-2.0\n") and "--model hf:lab/breast" in card
    folder = find_model("hf:lab/breast")
    assert load_bundle(folder).about["generator"] == "lddm" and len(baselines_of(folder)) == 1
    assert "README.md" not in {path.name for path in folder.iterdir()}  # only the parts of a model are downloaded


def test_unavailable_models_raise_an_error_with_a_hint(hub, monkeypatch):
    with pytest.raises(LddmError, match="hf:lab/breast was not found"):
        find_model("hf:lab/breast")
    hub.files["weights.bin"] = b"pickle"
    with pytest.raises(LddmError, match="contains no lddm model"):
        find_model("hf:lab/breast")
    with pytest.raises(LddmError, match="expected hf:OWNER/NAME"):
        find_model("hf:a/b/c d")
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    done = CliRunner().invoke(app, ["models", "push", "lab/breast"])
    assert isinstance(done.exception, LddmError | SystemExit)
    assert "HF_TOKEN" in str(done.exception) + done.output
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(LddmError, match="cannot be reached"):
        find_model("hf:lab/another")


def test_a_damaged_download_is_rejected(hub):
    folder = packaged_models() / DEFAULT
    hub.files |= {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    hub.files["autoencoder.safetensors"] = hub.files["autoencoder.safetensors"][:-9]
    with pytest.raises(LddmError, match="is missing or does not match bundle.json"):
        load_bundle(find_model("hf:lab/breast@main"))


def test_a_licence_is_stated_only_without_restrictions_by_the_data():
    assert licence_of({"licences": ["CC0-1.0 (simulated)"]}) == "apache-2.0"
    assert licence_of({"licences": ["CC0", "CC BY-NC 4.0"]}) == licence_of({}) == "other"
