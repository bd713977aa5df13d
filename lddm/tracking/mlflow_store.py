"""MLflow stores: sqlite opened under a lock, artifacts beside it, and errors with hints."""

from __future__ import annotations

import logging
import os
import sqlite3
import urllib.parse
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# A job waits seconds for its tracking server instead of MLflow's default minutes, and does not retry: if only the response
# was lost, a second request would create a second run. The next sync sends what is missing.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
# MLflow would print the address of each finished run with the user and password of the tracking URI.
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"

from lddm.errors import LddmError

try:
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
except ImportError as error:
    raise LddmError(
        f"MLflow cannot be imported: {error}",
        "pip install 'lddm[track]', or set LDDM_TRACKING=off; records stay on disk",
    ) from None

from lddm.files import UMASK, lock
from lddm.tracking.address import check_uri, hide_in_logs, hide_secrets, sqlite_path

logger = logging.getLogger(__name__)
hide_in_logs("mlflow")  # its messages do not reach the handlers of the root logger

ARTIFACTS = "mlartifacts"  # folder beside the sqlite file, with one folder per experiment
# Parts of messages of SQLite, SQLAlchemy, alembic and MLflow about a file that is unusable.
UNUSABLE = ("not a database", "malformed", "disk image", "out-of-date database schema", "revision", "no such table")
NOT_WRITABLE = ("readonly database", "unable to open database", "permission denied", "read-only")


def open_store(uri: str) -> MlflowClient:
    """Open a client of a store.

    A sqlite store is opened under a lock, because processes that migrate a new file at the same time crash. Its journal is
    in WAL mode, so that concurrent writers wait less.

    Raises:
        LddmError: the URI cannot be a store, or the sqlite file cannot be used.
    """
    check_uri(uri)
    path = sqlite_path(uri)
    if path is None:
        return MlflowClient(tracking_uri=uri)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with lock(path.with_name(path.name + ".lock")):
            fresh = not path.is_file()
            client = MlflowClient(tracking_uri=uri)
            client.search_experiments(max_results=1)
            if fresh:
                with sqlite3.connect(path) as connection:
                    connection.execute("PRAGMA journal_mode=WAL")
                os.chmod(path, 0o666 & ~UMASK)  # SQLite ignores the umask and denies write access to groups
            else:
                _repoint_artifacts(path)
    except Exception as error:  # any exception of SQLite, SQLAlchemy, alembic, MLflow or the disk
        raise store_error(uri, error) from error
    return client


def experiment_id(client: MlflowClient, uri: str, name: str) -> str:
    """The id of an experiment, created or restored if needed; artifacts of a sqlite store are stored beside it."""
    found = client.get_experiment_by_name(name)
    if found is None:
        path = sqlite_path(uri)
        location = None if path is None else _beside(path, name).as_uri()
        try:
            return client.create_experiment(name, artifact_location=location)
        except MlflowException:  # another job has created it in the meantime
            found = client.get_experiment_by_name(name)
    if found is None:
        raise MlflowException(f"experiment {name} cannot be created")
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def store_error(uri: str, error: Exception) -> LddmError:
    """Convert an error of a store to one line with a matching hint."""
    if isinstance(error, LddmError):
        return error
    path, shown = sqlite_path(uri), hide_secrets(uri)
    said = hide_secrets(str(error).strip() or type(error).__name__, uri).splitlines()[0]
    kind = f"{said} {error.__cause__ or ''}".lower()
    if path is not None and any(words in kind for words in NOT_WRITABLE):
        return LddmError(
            f"{path} cannot be written: {said}",
            "check the owner of the file and its folder; several users need a tracking server (docs/cluster.md)",
        )
    if path is not None and any(words in kind for words in UNUSABLE):
        return LddmError(
            f"{path} is damaged, or was written by another version of MLflow: {said}",
            f"remove {path}* (also -wal and -shm); `lddm track sync results/<experiment>` then rebuilds it from the records",
        )
    return LddmError(
        f"MLflow at {shown} does not answer: {said}",
        "the records stay on disk; the next run sends them, or `lddm track sync results/<experiment> --uri ADDRESS`",
    )


def _repoint_artifacts(path: Path) -> None:
    """Move the artifact locations of all experiments to the store's current folder, after it was moved or copied.

    MLflow has no function for this: an experiment keeps the absolute artifact location with which it was created, so a copied
    project would write into the original one. Locations chosen by the user are not changed.
    """
    with sqlite3.connect(path, timeout=60) as connection:
        rows = connection.execute("SELECT experiment_id, name, artifact_location FROM experiments").fetchall()
        for number, name, location in rows:
            here, old = _beside(path, name), _local(location or "")
            ours = old is not None and old.parts[-2:] == (ARTIFACTS, name)
            default = old is not None and old.parts[-2:] == ("mlruns", str(number))  # MLflow's default location
            if old == here or not (ours or default):
                continue
            connection.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (here.as_uri(), number)
            )
            if not ours:
                continue
            before = location.rstrip("/") + "/"
            moved = connection.execute(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) "
                "WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?",
                (here.as_uri() + "/", len(before) + 1, number, len(before), before),
            ).rowcount
            logger.warning(
                "%s was moved or copied: artifacts of experiment %s (%d runs) are now stored in %s, previously in %s",
                path, name, moved, here, old,
            )  # fmt: skip


def _beside(path: Path, name: str) -> Path:
    return (path.parent / ARTIFACTS / name).resolve()


def _local(location: str) -> Path | None:
    """The folder of an artifact location; None if it is not local."""
    parts = urllib.parse.urlsplit(location)
    if parts.scheme == "file":
        return Path(urllib.parse.unquote(parts.path))
    return None if "://" in location or ":/" in location else Path(location).absolute()
