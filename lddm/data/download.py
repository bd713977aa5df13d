"""Downloads that give up soon: a short time to connect, and failed addresses are not tried again at once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
import urllib.parse
from pathlib import Path
from typing import Any

CONNECT_S = 5.0  # a firewall that drops packets costs this long, once
READ_S = 60.0
REMEMBERED_S = 3600.0
_failed: dict[str, str] = {}  # what did not answer this process -> why


class DownloadError(Exception):
    """A file cannot be downloaded; the text is the reason in one line."""


def offline() -> bool:
    """Whether LDDM_OFFLINE forbids downloads: 1, true, yes, on or any other value but 0, false, no, off and nothing."""
    return os.environ.get("LDDM_OFFLINE", "").strip().lower() not in ("", "0", "false", "no", "off")


def download(url: str, path: Path, sha256: str | None = None, progress: bool = False, again: bool = False) -> Path:
    """Download a file, complete or not at all.

    An address, a host or a proxy that failed is not asked again by this process, nor within an hour by others of this user.

    Args:
        url: where it comes from.
        path: where it goes; the folder is made.
        sha256: its digest, if known.
        progress: draw a bar, with tqdm.
        again: ask also what failed for another process within the last hour.

    Returns:
        `path`.

    Raises:
        DownloadError: no network, a moved file, a wrong digest, a folder that cannot be written, a full disk, ...
    """
    import pooch
    from filelock import FileLock

    for key in _keys(url):
        if earlier := _failed.get(key) or (None if again else _recall(key)):
            raise DownloadError(f"{earlier}; it failed less than an hour ago and is not asked again")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if path.is_file() and sha256 is None:
                return path  # of a job that waited for the same file
            downloader = pooch.HTTPDownloader(timeout=(CONNECT_S, READ_S), progressbar=progress)
            known = f"sha256:{sha256}" if sha256 else None
            pooch.retrieve(url, known_hash=known, fname=path.name, path=path.parent, downloader=downloader)
    except Exception as error:  # each is a reason for whoever wanted the file
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:160]
        if (to_blame := _to_blame(url, error)) is not None:
            _failed[to_blame] = reason
            _remember(to_blame, reason)
        raise DownloadError(reason) from error
    return path


def _keys(url: str) -> list[str]:
    """What can be to blame for a failure: the address, its host, the proxy on the way to it."""
    from requests.utils import get_environ_proxies, select_proxy

    proxy = select_proxy(url, get_environ_proxies(url))
    return [f"url {url}", f"host {urllib.parse.urlsplit(url).netloc}", *([f"proxy {proxy}"] if proxy else [])]


def _to_blame(url: str, error: Exception) -> str | None:
    """Which of `_keys` failed; None for a full disk and all else that is not the network's."""
    from requests import exceptions

    address, host, *proxy = _keys(url)
    if isinstance(error, exceptions.HTTPError):
        return address
    if not isinstance(error, exceptions.ConnectionError | exceptions.Timeout):
        return None
    refused_by_proxy = "Tunnel connection failed" in str(error)  # which answers, for this host alone
    return proxy[0] if proxy and not refused_by_proxy else host


def _note(key: str) -> Path:
    """The file that remembers a failure; its name tells no address, which may hold a password."""
    name = hashlib.sha256(key.encode()).hexdigest()[:24]
    return Path(tempfile.gettempdir()) / f"lddm-downloads-{os.getuid()}" / f"{name}.json"


def _recall(key: str) -> str | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        note: dict[str, Any] = json.loads(_note(key).read_text())
        if 0 <= time.time() - note["time"] < REMEMBERED_S:
            return str(note["reason"])
    return None


def _remember(key: str, reason: str) -> None:
    """Best effort: where no temporary folder can be written, each process finds out for itself."""
    with contextlib.suppress(OSError):
        path = _note(key)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_text(json.dumps({"time": time.time(), "reason": reason}))
