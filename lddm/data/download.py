"""Downloads that fail fast: a short connection timeout, and no immediate retry of addresses that failed."""

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

CONNECT_S = 5.0  # delay caused once by a firewall that drops packets
READ_S = 60.0
REMEMBERED_S = 3600.0
_failed: dict[str, str] = {}  # address, host or proxy that failed in this process -> reason


class DownloadError(Exception):
    """A file cannot be downloaded; the message is the reason in one line."""


def offline() -> bool:
    """Whether LDDM_OFFLINE forbids downloads: any value except 0, false, no, off and empty."""
    return os.environ.get("LDDM_OFFLINE", "").strip().lower() not in ("", "0", "false", "no", "off")


def download(url: str, path: Path, sha256: str | None = None, progress: bool = False, again: bool = False) -> Path:
    """Download a file completely or not at all.

    An address, host or proxy that failed is not tried again by this process, nor within an hour by the user's other
    processes.

    Args:
        url: source address.
        path: target file; its folder is created.
        sha256: digest, if known.
        progress: show a progress bar (tqdm).
        again: also retry addresses that failed in another process within the last hour.

    Returns:
        `path`.

    Raises:
        DownloadError: no network, a moved file, a wrong digest, a folder that is not writable, a full disk, ...
    """
    import pooch
    from filelock import FileLock

    for key in _keys(url):
        if earlier := _failed.get(key) or (None if again else _recall(key)):
            raise DownloadError(f"{earlier}; it failed less than an hour ago and is not retried")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if path.is_file() and sha256 is None:
                return path  # downloaded by another job while this one waited
            downloader = pooch.HTTPDownloader(timeout=(CONNECT_S, READ_S), progressbar=progress)
            known = f"sha256:{sha256}" if sha256 else None
            pooch.retrieve(url, known_hash=known, fname=path.name, path=path.parent, downloader=downloader)
    except Exception as error:  # every failure is reported to the caller as a reason
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:160]
        if (to_blame := _to_blame(url, error)) is not None:
            _failed[to_blame] = reason
            _remember(to_blame, reason)
        raise DownloadError(reason) from error
    return path


def _keys(url: str) -> list[str]:
    """Possible causes of a failure: the address, its host, and the proxy."""
    from requests.utils import get_environ_proxies, select_proxy

    proxy = select_proxy(url, get_environ_proxies(url))
    return [f"url {url}", f"host {urllib.parse.urlsplit(url).netloc}", *([f"proxy {proxy}"] if proxy else [])]


def _to_blame(url: str, error: Exception) -> str | None:
    """Which of `_keys` failed; None for a full disk and other causes outside the network."""
    from requests import exceptions

    address, host, *proxy = _keys(url)
    if isinstance(error, exceptions.HTTPError):
        return address
    if not isinstance(error, exceptions.ConnectionError | exceptions.Timeout):
        return None
    refused_by_proxy = "Tunnel connection failed" in str(error)  # the proxy works but refuses this host
    return proxy[0] if proxy and not refused_by_proxy else host


def _note(key: str) -> Path:
    """The file that records a failure; its name is a hash, since the address may contain a password."""
    name = hashlib.sha256(key.encode()).hexdigest()[:24]
    return Path(tempfile.gettempdir()) / f"lddm-downloads-{os.getuid()}" / f"{name}.json"


def _recall(key: str) -> str | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        note: dict[str, Any] = json.loads(_note(key).read_text())
        if 0 <= time.time() - note["time"] < REMEMBERED_S:
            return str(note["reason"])
    return None


def _remember(key: str, reason: str) -> None:
    """Record a failure for other processes, best effort: skipped if no temporary folder is writable."""
    with contextlib.suppress(OSError):
        path = _note(key)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_text(json.dumps({"time": time.time(), "reason": reason}))
