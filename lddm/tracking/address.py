"""Tracking URIs: validation, path of a sqlite store, and display without passwords."""

from __future__ import annotations

import logging
import os
import re
import urllib.parse
from importlib.metadata import entry_points
from pathlib import Path

from lddm.errors import LddmError

HIDDEN = "***"
# A user, password or token before the host, up to the last @, because passwords may contain an unencoded one.
USER_INFO = re.compile(r"://[^\s'\"<>]*@")
SECRET_WORDS = r"(?:pass|pwd|token|secret|key|sig|auth|cred|user)"
QUERY = re.compile(rf"(?<=[?&;])([\w.\-%]*{SECRET_WORDS}[\w.\-%]*=)[^&;\s'\"<>]+", re.IGNORECASE)
VARIABLES = re.compile(
    r"^(?:MLFLOW|DATABRICKS|AWS|AZURE|GOOGLE)_\w*(?:PASSWORD|TOKEN|SECRET|KEY|SAS|CONNECTION_STRING)"
)
SHORTEST = 4  # minimum length of a secret that is replaced: shorter ones also occur in ordinary words

SERVERS = ("http", "https")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
OTHERS = ("databricks", "databricks-uc", "uc")


def hide_secrets(text: str, uri: str = "") -> str:
    """Remove user info and secret parameters of URIs, and secrets of the environment, from a text.

    Args:
        uri: a tracking URI whose password may also occur in the text on its own.
    """
    for secret in _secrets(uri):
        text = text.replace(secret, HIDDEN)
    return QUERY.sub(rf"\g<1>{HIDDEN}", USER_INFO.sub(f"://{HIDDEN}@", text))


class SecretFilter(logging.Filter):
    """Hide secrets in the records of a log handler, including those of other libraries and tracebacks."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Modify the record in place; always returns True."""
        try:
            record.msg, record.args = hide_secrets(record.getMessage()), ()
        except (TypeError, ValueError):  # arguments do not match the message, and the text may contain secrets
            record.msg, record.args = f"a message of {record.name} that cannot be formatted", ()
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = hide_secrets(record.exc_text)
        return True


def hide_in_logs(logger: str) -> None:
    """Hide secrets in the output of all handlers of a logger; "" is the root logger."""
    for handler in logging.getLogger(logger).handlers:
        if not any(isinstance(known, SecretFilter) for known in handler.filters):
            handler.addFilter(SecretFilter())


def _secrets(uri: str) -> list[str]:
    """Secrets of the environment and of a URI, in all encodings that may occur in messages, longest first."""
    found = {value for name, value in os.environ.items() if VARIABLES.match(name)}
    addresses = (os.environ.get(name, "") for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "LDDM_TRACKING"))
    for address in (uri, *addresses):
        user_info, at, _ = address.partition("://")[2].rpartition("@")
        if at:
            _, colon, password = user_info.partition(":")
            found.add(password if colon else user_info)
    spelled = found | {urllib.parse.unquote(value) for value in found}
    spelled |= {urllib.parse.quote(value, safe="") for value in spelled}
    return sorted((secret for secret in spelled if len(secret) >= SHORTEST), key=len, reverse=True)


def check_uri(uri: str) -> None:
    """Refuse URIs that cannot be a tracking store.

    Raises:
        LddmError: a folder (not supported by MLflow 3.13 and later), an unknown scheme, or a sqlite path with "?".
    """
    if not uri:
        raise LddmError("the tracking URI is empty", "omit it to use results/mlflow.db")
    scheme = uri.partition("://")[0].partition("+")[0].lower() if "://" in uri else ""
    hint = "set tracking.uri (or MLFLOW_TRACKING_URI) to sqlite:///results/mlflow.db or to the address of a server"
    plugins = [point.name for point in entry_points(group="mlflow.tracking_store") if point.name != "file-plugin"]
    if uri in OTHERS or scheme in (*SERVERS, *OTHERS, *plugins):
        return
    if scheme in DATABASES:
        _, _, query = uri.partition("?")
        if scheme == "sqlite" and "/" in query:
            raise LddmError(f"tracking URI {uri!r}: SQLite reads the text after ? as parameters", hint)
        return
    shown = hide_secrets(uri)
    if not scheme or scheme == "file":
        if os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("1", "true"):  # MLflow's own override
            return
        raise LddmError(f"tracking URI {shown!r} is a folder; MLflow 3.13 and later need a database or a server", hint)
    raise LddmError(f"tracking URI {shown!r}: expected one of {', '.join((*SERVERS, *DATABASES))}, got {scheme}", hint)


def sqlite_path(uri: str) -> Path | None:
    """The file of a sqlite store; None for other stores and for sqlite in memory."""
    scheme, _, rest = uri.partition(":///")
    path = rest.partition("?")[0]
    return Path(path) if scheme.partition("+")[0] == "sqlite" and path and path != ":memory:" else None
