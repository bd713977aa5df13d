"""List of the pretrained networks present, recorded per experiment, so that scores depend on the content of the files.

The list is an input of the rule `score`. The list and the scores are renewed when weights are added, changed or removed, but
not when the folder is moved or when a job of the same run downloads weights.
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
    """SHA-256 by name of all networks of the registry whose file is in the folder."""
    files = {name: Path(weights_dir) / entry.file for name, entry in REGISTRY.items()}
    return {name: sha256(path) for name, path in sorted(files.items()) if path.is_file()}


def planned(weights_dir: str | Path, note: str | Path) -> str:
    """Digest for the rerun of the rule `fetch_weights`; it changes only if the files differ from the list `note`.

    Returns:
        Twelve hexadecimal digits.
    """
    there = present(weights_dir)
    try:
        written = json.loads(Path(note).read_text(encoding="utf-8"))
        if written["found"] == there:
            return str(written["planned"])
    except (OSError, ValueError, LookupError, TypeError):
        pass  # a missing or damaged list is rewritten
    return hashlib.sha256(json.dumps(there).encode()).hexdigest()[:12]


def note_weights(weights_dir: str | Path, plan: str, out: str | Path) -> dict[str, str]:
    """Download the available networks and write the list.

    Args:
        plan: return value of `planned`.

    Returns:
        Reason by name for each absent network.
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
