"""Atomic file writing, checked reading of JSON and tables, hashes and locks."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from lddm.errors import LddmError

if TYPE_CHECKING:
    import pandas as pd

UMASK = os.umask(0)  # the umask can be read only by setting it
os.umask(UMASK)


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces `path` on success and is removed on failure.

    The temporary name keeps the suffix of `path`, since many writers infer the format from it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~UMASK)  # some writers (safetensors) create files that only their owner can read
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def lock(path: Path) -> FileLock:
    """Lock between processes; shared between users as far as the umask allows."""
    return FileLock(path, mode=0o666 & ~UMASK)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` atomically as indented JSON; NaN and infinity raise ValueError, since JSON has neither."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False, sort_keys=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        LddmError: the file does not exist or is not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise LddmError(f"{path} does not exist", "run the rule that writes it, or check the path") from None
    except ValueError as error:
        raise LddmError(f"{path} is not JSON: {error}", "delete it and run its rule again") from None


@contextlib.contextmanager
def reading(path: str | Path, rule: str) -> Iterator[None]:
    """Convert any error while reading one of our files to an LddmError that names the file and the rule that writes it.

    Parsers raise many types of errors for a damaged file, from ValueError to errors of the Python tokenizer.
    """
    try:
        yield
    except LddmError:
        raise
    except Exception as error:
        said = str(error) or type(error).__name__
        raise LddmError(f"{path} cannot be read: {said}", f"run the rule {rule} again") from error


def read_table(path: str | Path, rule: str, columns: Iterable[str]) -> pd.DataFrame:
    """Read a parquet table written by a rule and check its columns, since a damaged file may lack one.

    Args:
        rule: rule that writes the file, for the hint.
        columns: columns that must be present.

    Raises:
        LddmError: the file cannot be read or lacks a column.
    """
    import pandas as pd

    with reading(path, rule):
        table = pd.read_parquet(path)
        if missing := [name for name in columns if name not in table.columns]:
            raise ValueError(f"expected the column {missing[0]}, got {', '.join(map(str, table.columns)) or 'none'}")
    return table


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of the content of a file, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_table(table: pd.DataFrame, path: str | Path) -> Path:
    """Write a CSV file atomically, with six significant digits."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
    return Path(path)
