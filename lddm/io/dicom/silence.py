"""Suppression of pydicom's messages, which quote header values and so may contain patient names."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silent_pydicom() -> Iterator[None]:
    """Suppress pydicom's warnings and log messages within the block."""
    import pydicom  # noqa: F401 (its import sets the level of its log)

    log = logging.getLogger("pydicom")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
