"""Seeds that do not depend on the machine, the order of jobs, or each other."""

from __future__ import annotations

import hashlib


def shard_seed(seed: int, *names: object) -> int:
    """A seed of its own for each (generator, source, shard), the same on every machine."""
    digest = hashlib.sha256(repr((seed, *names)).encode()).digest()
    return int.from_bytes(digest[:4], "little")
