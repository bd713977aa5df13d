"""HTTP server of the demo page. It accepts requests only from this machine and from its own page.

GET  /                    the page
POST /stills              the bytes of a file -> {"id", "width", "height", "notes"}
GET  /stills/ID.png       the decoded still at native size
POST /jobs                JSON as `lddm.demo.jobs.Request` -> {"id"}
GET  /jobs/ID             state, progress, titles of the videos
GET  /jobs/ID/N.raw       frames of video N, uint8 (T + 1, H, W)
GET  /jobs/ID/N.mp4       video N as a file, also .gif and .dcm
DELETE /stills/ID, /jobs/ID
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import webbrowser
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lddm.demo.files import DOWNLOADS, MAX_SIDE, MAX_UPLOAD, download, png, read_still
from lddm.demo.jobs import MAX_LENGTH, MAX_SAMPLES, Request, Workbench
from lddm.errors import LddmError
from lddm.report.render import template

logger = logging.getLogger(__name__)

ADDRESS = "127.0.0.1"
MAX_JSON = 64 * 1024  # largest size of a job request, in bytes
PATIENCE = 30  # seconds without data after which a connection is closed


def page(nonce: str, workbench: Workbench) -> str:
    """Render the page as HTML; scripts and styles carry `nonce`."""
    limits = {"upload": MAX_UPLOAD, "side": MAX_SIDE, "samples": MAX_SAMPLES, "length": MAX_LENGTH}
    return template("page.html", "lddm.demo").render(nonce=nonce, models=workbench.model_choices(), limits=limits)


class Server(ThreadingHTTPServer):
    """HTTP server with its workbench.

    Args:
        workbench: stills, models and jobs.
        port: TCP port; 0 = any free port.
    """

    daemon_threads = True

    def __init__(self, workbench: Workbench, port: int = 0):
        self.workbench = workbench
        super().__init__((ADDRESS, port), Handler)

    @property
    def port(self) -> int:
        """Port on which the server listens."""
        return self.server_address[1]

    @property
    def names(self) -> set[str]:
        """Accepted values of the Host header; others indicate DNS rebinding."""
        return {f"{name}:{self.port}" for name in (ADDRESS, "localhost")}


class Handler(BaseHTTPRequestHandler):
    """Request handler for one connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "lddm", ""
    timeout = PATIENCE

    def do_GET(self) -> None:
        """Serve the page, stills, jobs and videos."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Add a still or a job."""
        self._answer(self._post)

    def do_DELETE(self) -> None:
        """Remove a still or a job."""
        self._answer(self._delete)

    def _answer(self, handle: Any) -> None:
        try:
            if self._is_ours():
                handle()
        except LddmError as error:
            self._json({"message": error.message, "hint": error.hint}, HTTPStatus.BAD_REQUEST)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception:
            logger.exception("a request failed")
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "the request failed; the log of the server has the reason")

    def _is_ours(self) -> bool:
        """Whether the request is addressed to this server and, if it states its origin, comes from its own page."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if host not in self.server.names:
            self._refuse(HTTPStatus.FORBIDDEN, "this server accepts requests to 127.0.0.1 only")
            return False
        fetched = self.headers.get("Sec-Fetch-Site", "none")
        foreign = origin is not None and origin.removeprefix("http://") not in self.server.names
        if foreign or (fetched not in ("none", "same-origin") and self.path != "/"):
            self._refuse(HTTPStatus.FORBIDDEN, "this server accepts requests from its own page only")
            return False
        return True

    def _get(self) -> None:
        work = self.server.workbench
        if self.path == "/":
            nonce = secrets.token_urlsafe(16)
            self._send(page(nonce, work).encode(), "text/html; charset=utf-8", nonce=nonce)
        elif self.path == "/favicon.ico":
            self._send(b"", "image/x-icon", status=HTTPStatus.NO_CONTENT)
        elif found := re.fullmatch(r"/stills/([\w-]+)\.png", self.path):
            still = work.stills.get(found[1])
            self._send(png(still.frames[0]), "image/png") if still else self._absent()
        elif found := re.fullmatch(r"/jobs/([\w-]+)", self.path):
            job = work.jobs.get(found[1])
            self._json(job.as_json(found[1])) if job else self._absent()
        elif found := re.fullmatch(r"/jobs/([\w-]+)/(\d{1,3})\.(raw|mp4|gif|dcm)", self.path):
            self._video(found[1], int(found[2]), found[3])
        else:
            self._absent()

    def _video(self, key: str, number: int, kind: str) -> None:
        job = self.server.workbench.jobs.get(key)
        if job is None or number >= len(job.videos):
            self._absent()
            return
        title, video = job.videos[number]
        if kind == "raw":
            self._send(video.tobytes(), "application/octet-stream")
            return
        name = re.sub(r"[^a-z0-9]+", "-", f"synthetic {title}".lower()).strip("-")
        self._send(download(video, job.fps, kind, job.spacing), DOWNLOADS[kind], f"{name}.{kind}")

    def _post(self) -> None:
        if self.path not in ("/stills", "/jobs"):
            self._absent()
            return
        body = self._body(MAX_UPLOAD if self.path == "/stills" else MAX_JSON)
        if body is None:
            return
        work = self.server.workbench
        if self.path == "/stills":
            recording = read_still(body)
            height, width = recording.frames.shape[1:]
            colour = ["the image is in colour; its luminance is animated"] if recording.colour else []
            about = {"width": width, "height": height, "notes": [*recording.notes, *colour]}
            self._json({"id": work.add_still(recording), **about}, HTTPStatus.CREATED)
            return
        try:
            asked = json.loads(body)
        except ValueError:
            raise LddmError("expected JSON", "reload the page") from None
        self._json({"id": work.start(Request.of_json(asked))}, HTTPStatus.ACCEPTED)

    def _delete(self) -> None:
        found = re.fullmatch(r"/(?:stills|jobs)/([\w-]+)", self.path)
        if found is None:
            self._absent()
            return
        self.server.workbench.forget(found[1])
        self._send(b"", "text/plain", status=HTTPStatus.NO_CONTENT)

    def _body(self, most: int) -> bytes | None:
        """Read the body of a request; returns None after sending an error response."""
        stated = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,18}", stated):
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "the request has no Content-Length")
            return None
        if int(stated) > most:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the file is larger than {most / 2**20:g} MiB")
            return None
        body = self.rfile.read(int(stated))
        if len(body) < int(stated):
            raise ConnectionError("the client closed the connection")
        return body

    def _json(self, value: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(value).encode(), "application/json", status=status)

    def _absent(self) -> None:
        self._refuse(HTTPStatus.NOT_FOUND, "not found, or no longer in memory")

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self.close_connection = True  # the body may be unread
        self._json({"message": message, "hint": ""}, status)

    def _send(
        self, body: bytes, kind: str, name: str = "", nonce: str = "", status: HTTPStatus = HTTPStatus.OK
    ) -> None:
        policy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        if nonce:
            policy += f"; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self'; connect-src 'self'"
        self.send_response(status)
        headers = {
            "Content-Type": kind, "Content-Length": str(len(body)), "Content-Security-Policy": policy,
            "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
        }  # fmt: skip
        if name:
            headers["Content-Disposition"] = f'attachment; filename="{name}"'
        if self.close_connection:
            headers["Connection"] = "close"
        for header, value in headers.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""


def serve(models: list[str], port: int, show: bool = False) -> None:
    """Serve the page until Ctrl-C.

    Args:
        models: models in addition to those of `lddm models list`.
        port: TCP port; 0 = any free port.
        show: open the page in the browser.

    Raises:
        LddmError: the port is in use, or a model was not found.
    """
    workbench = Workbench(models)
    try:
        server = Server(workbench, port)
    except OSError as error:
        raise LddmError(
            f"port {port} cannot be used: {error.strerror}", "pass another one with --port, or 0 for any free port"
        ) from None
    address = f"http://{ADDRESS}:{server.port}/"
    print(f"Open {address} in a browser on this machine; Ctrl-C ends it. Stills and videos stay in memory.", flush=True)
    if show:
        webbrowser.open(address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("stopped")
    finally:
        server.server_close()
        workbench.close()
