"""The demo page over HTTP: responses, access control and rejected requests."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from lddm.demo.files import MAX_UPLOAD
from lddm.demo.jobs import Workbench
from lddm.demo.server import Server, page
from lddm.io.video import read_video
from tests.browser import needs_browser, shown
from tests.markup import Markup
from tests.unit.demo.test_jobs import picture


@pytest.fixture(scope="module")
def server():
    bench = Workbench()
    server = Server(bench)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
    bench.close()


def ask(server, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer, data


def ask_json(server, method, path, body=None):
    answer, data = ask(server, method, path, body)
    return answer.status, json.loads(data)


def test_a_still_becomes_videos_and_files(server, tmp_path):
    status, still = ask_json(server, "POST", "/stills", picture((40, 56), "JPEG"))
    assert status == 201 and (still["width"], still["height"]) == (56, 40)
    answer, data = ask(server, "GET", f"/stills/{still['id']}.png")
    assert answer.getheader("Content-Type") == "image/png" and data.startswith(b"\x89PNG")
    asked = {"still": still["id"], "model": "breast-phantom", "label": "benign", "samples": 1, "length": 4, "seed": 2}
    status, job = ask_json(server, "POST", "/jobs", json.dumps(asked))
    assert status == 202
    until = time.monotonic() + 60
    while (now := ask_json(server, "GET", f"/jobs/{job['id']}")[1])["state"] in ("waiting", "running"):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert now["state"] == "done" and [video["shape"] for video in now["videos"]] == [[5, 40, 56]] * 2, now
    assert "simulated breast ultrasound" in now["trained_on"] and now["seed"] == 2
    _, raw = ask(server, "GET", f"/jobs/{job['id']}/1.raw")
    video = np.frombuffer(raw, np.uint8).reshape(5, 40, 56)
    assert np.array_equal(video[0], server.workbench.stills[still["id"]].frames[0])
    for kind in ("mp4", "gif", "dcm"):
        answer, data = ask(server, "GET", f"/jobs/{job['id']}/0.{kind}")
        assert answer.getheader("Content-Disposition") == f'attachment; filename="synthetic-lddm.{kind}"'
        assert len(data) > 500
    (tmp_path / "v.gif").write_bytes(ask(server, "GET", f"/jobs/{job['id']}/0.gif")[1])
    assert read_video(tmp_path / "v.gif").frames.shape == (5, 40, 56)
    for path in (f"/stills/{still['id']}", f"/jobs/{job['id']}"):
        assert ask(server, "DELETE", path)[0].status == 204
    assert ask(server, "GET", f"/stills/{still['id']}.png")[0].status == 404
    assert ask(server, "GET", f"/jobs/{job['id']}/0.raw")[0].status == 404


def test_it_listens_on_this_machine_only(server):
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:{port}"}, 200),
        ({"Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 200),  # a link on another page to this one
        ({"Host": "evil.example"}, 403),  # DNS rebinding
        ({"Host": "127.0.0.1.evil.example:{port}"}, 403),
        ({"Host": "127.0.0.1:1"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://127.0.0.1:{port}"}, 403),
    ],
)
def test_other_hosts_and_pages_are_rejected(server, headers, status):
    headers = {name: value.format(port=server.port) for name, value in headers.items()}
    assert ask(server, "GET", "/", headers=headers)[0].status == status
    if status == 403:
        before = len(server.workbench.stills)
        assert ask(server, "POST", "/stills", picture(), headers)[0].status == 403
        assert len(server.workbench.stills) == before


def test_scripts_of_other_pages_get_nothing(server):
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert ask(server, "POST", "/stills", picture(), headers)[0].status == 403
    assert ask(server, "GET", "/jobs/abc", headers=headers)[0].status == 403


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/stills", b"no image", 400),
        ("POST", "/stills", b"", 400),
        ("POST", "/jobs", b"no JSON", 400),
        ("POST", "/jobs", b"[1]", 400),
        ("POST", "/jobs", json.dumps({"still": "a", "model": "breast-phantom"}).encode(), 400),
        ("POST", "/jobs", b" " * 70_000, 413),
        ("POST", "/etc/passwd", b"a", 404),
        ("GET", "/../../etc/passwd", None, 404),
        ("GET", "/jobs/x/0.mp4", None, 404),
        ("GET", "/jobs/x/0.exe", None, 404),
        ("DELETE", "/", None, 404),
        ("PUT", "/", None, 501),
    ],
)
def test_invalid_requests_are_rejected_with_one_sentence(server, method, path, body, status):
    answer, data = ask(server, method, path, body)
    assert answer.status == status
    assert status == 501 or (json.loads(data)["message"] and "Traceback" not in data.decode())


def test_too_large_files_are_rejected_before_they_are_read(server):
    for header, status in (
        (f"Content-Length: {MAX_UPLOAD + 1}", 413),
        ("Transfer-Encoding: chunked", 411),
        ("Content-Length: -1", 411),
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
            line.sendall(f"POST /stills HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{header}\r\n\r\n".encode())
            assert line.recv(100).startswith(f"HTTP/1.1 {status}".encode())


def test_the_page_is_one_file_without_foreign_resources_and_its_fields_have_labels(server):
    answer, data = ask(server, "GET", "/")
    policy = answer.getheader("Content-Security-Policy")
    nonce = re.search(r"script-src 'nonce-([^']+)'", policy)[1]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert ask(server, "GET", "/")[0].getheader("Content-Security-Policy") != policy
    markup = Markup(data.decode())
    tags = markup.tags
    assert markup.problems == []  # among others: fields have labels, ids are unique
    assert not [a for _, a in tags for name, value in a.items() if name in ("src", "href") and value]
    assert not [a for _, a in tags for name in a if name.startswith("on") or name == "style"]
    assert all(a.get("nonce") == nonce for tag, a in tags if tag in ("script", "style") and a.get("type") is None)
    ids = [a["id"] for _, a in tags if "id" in a]
    script = data.decode().rpartition("<script")[2]
    assert set(re.findall(r'\$\("([\w-]+)"\)', script)) <= set(ids)


def test_names_of_models_cannot_break_out_of_the_page(monkeypatch):
    bench = Workbench()
    about = bench.abouts["breast-phantom"]
    name = "</script><script>alert(1)</script>"
    bench.folders[name], bench.abouts[name] = bench.folders["breast-phantom"], about | {"trained_on": name}
    text = page("n", bench)
    assert "<script>alert" not in text and text.count("</script>") == 2
    bench.close()


@needs_browser
def test_the_page_runs_in_a_browser(server, tmp_path):
    text = shown(f"http://127.0.0.1:{server.port}/", tmp_path)
    assert "Trained on" in text and "simulated breast ultrasound" in text  # written by the script, so it ran
    assert re.search(r'<option value="malignant">malignant</option>', text)


SHOWN = """<script>
const raw = Uint8Array.from({ length: 3 * 4 * 6 }, (_, place) => place);
ask = async () => new Response(raw);
const videos = [{ title: "LDDM", shape: [3, 4, 6] }];
show({ id: "j", fps: 10, seed: 7, trained_on: "phantoms", warning: "careful", videos }).then(() => {
  const grey = ({ canvas }) => [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]
    .filter((_, place) => place % 4 === 0);
  player.step(1 - player.frame); player.setLine(0.5);
  const [still, video] = player.clips;
  document.body.dataset.said = [grey(still.frame)[0], grey(video.frame)[0], grey(video.mode).slice(0, 3).join(" "), video.mark,
    video.frame.canvas.getBoundingClientRect().width,
    [...document.querySelectorAll(".files a")].map(link => link.textContent).join(" "), $("warning").textContent].join(";");
});
</script>"""


@needs_browser
def test_videos_are_played_in_their_own_pixels_beside_the_still(server, tmp_path):
    (tmp_path / "page.html").write_text(page("", server.workbench).replace("</body>", SHOWN + "</body>"))
    said = re.search(r'data-said="(.*?)"', shown((tmp_path / "page.html").as_uri(), tmp_path))
    assert said[1] == "0;24;3 27 51;synthetic;6;MP4 GIF DICOM;Careful"


def test_the_command_prints_the_address_and_stops(tmp_path):
    # A shell's background jobs ignore SIGINT, and so would their children.
    start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from lddm.cli import app; app()"
    command = [sys.executable, "-c", start, "demo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        said = process.stdout.readline()
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", said)[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        taken = subprocess.run([*command[:-1], str(port)], capture_output=True, text=True, cwd=tmp_path)
        assert taken.returncode == 1 and "Hint: pass another one" in taken.stderr
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert not list(Path(tmp_path).iterdir())
