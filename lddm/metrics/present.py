"""Which pretrained networks there are, noted once per experiment, so that scores depend on the content of the files.

The note is an input of the rule `score`. It is written again, and scores with it, when weights arrive, change or go; not
when the folder is moved, and not because a job of the same run downloaded them.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from lddm.files import sha256, write_json
from lddm.metrics.weights import REGISTRY, WeightsAbsent, find

logger = logging.getLogger(__name__)


def present(weights_dir: str | Path) -> dict[str, str]:
    """Name -> SHA-256 of each network of the registry whose file is in the folder."""
    files = {name: Path(weights_dir) / entry.file for name, entry in REGISTRY.items()}
    return {name: sha256(path) for name, path in sorted(files.items()) if path.is_file()}


def planned(weights_dir: str | Path, note: str | Path) -> str:
    """What the rule `fetch_weights` is compared by: the same as when `note` was written, unless the files differ from it.

    Returns:
        Twelve hexadecimal digits.
    """
    there = present(weights_dir)
    try:
        written = json.loads(Path(note).read_text(encoding="utf-8"))
        if written["found"] == there:
            return str(written["planned"])
    except (OSError, ValueError, LookupError, TypeError):
        pass  # no note yet, or a damaged one: it is written again
    return hashlib.sha256(json.dumps(there).encode()).hexdigest()[:12]


def note_weights(weights_dir: str | Path, plan: str, out: str | Path) -> dict[str, str]:
    """Download what can be had, and write the note.

    Args:
        plan: what `planned` returned.

    Returns:
        Name -> reason of each network that is absent.
    """
    absent = {}
    for name in REGISTRY:
        try:
            find(name, weights_dir)
        except WeightsAbsent as reason:
            absent[name] = str(reason)
            logger.info("absent: %s", reason)
    write_json(out, {"planned": plan, "found": present(weights_dir)})
    return absent
