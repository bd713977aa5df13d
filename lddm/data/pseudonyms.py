"""Keyed pseudonyms: HMAC-SHA256 with a random key that is stored with the raw data and never in results.

An unkeyed hash does not protect a patient ID: all seven-digit IDs can be tried within a second.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from lddm.errors import LddmError

KEY_NAME = ".lddm_key"
KEY_VARIABLE = "LDDM_KEY_FILE"
KEY_BYTES = 32
SESSION_KEY = secrets.token_bytes(
    KEY_BYTES
)  # for reports that store nothing: pseudonyms are valid in this process only


def pseudonym(text: str, key: bytes) -> str:
    """`dicom-` and 16 hexadecimal digits (64 bits) of the HMAC-SHA256 of an identity (lddm.data.identity.canonical)."""
    return f"dicom-{hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:16]}"


def data_key(data_root: Path) -> bytes:
    """The key of the raw data: from LDDM_KEY_FILE, else from `data_root`/.lddm_key; created if it is missing.

    Raises:
        LddmError: the key cannot be read or created, or the file does not contain a key.
    """
    named = os.environ.get(KEY_VARIABLE)
    path = Path(named).expanduser() if named else Path(data_root) / KEY_NAME
    try:
        if not path.exists():
            _make(path)
        text = path.read_text(encoding="ascii").strip()
        key = bytes.fromhex(text)
    except OSError as error:
        raise LddmError(
            f"the key of the patient pseudonyms, {path}, cannot be read or created: {error.strerror}",
            f"if the data folder is read-only or belongs to another user, set {KEY_VARIABLE} to a file outside results",
        ) from None
    except ValueError:  # the text is not quoted, since it may be a key
        key = b""
    if len(key) != KEY_BYTES:
        raise LddmError(
            f"{path} does not contain {KEY_BYTES} bytes in hexadecimal",
            "restore it from a backup; without it the pseudonyms of earlier results cannot be reproduced. "
            "Remove it to get a new key",
        )
    return key


def _make(path: Path) -> None:
    """Write a new key, readable by its owner only; if several processes try at once, exactly one succeeds."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)  # fails if the key exists, which rename does not
        except FileExistsError:
            pass
        except OSError:  # file system without hard links
            if not path.exists():
                os.rename(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
