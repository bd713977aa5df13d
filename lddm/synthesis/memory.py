"""Retry once with half the batch after a CUDA out-of-memory error, with a warning."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from lddm.errors import LddmError

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
HINT = "ask for a smaller batch (synthesis.batch_size), or for a device that nothing else uses"


def with_smaller_batch(make: Callable[[int], Result], batch_size: int, videos: int) -> Result:
    """Run `make(batch_size)`; if the device has too little memory for it, run it again with half the batch, once.

    The noise of a video does not depend on the batch size, so both give the same videos.

    Args:
        make: makes all videos, `batch_size` at a time.
        batch_size: videos at a time.
        videos: number of videos; a batch is never larger.

    Raises:
        LddmError: half the batch does not fit either, or the batch is one video.
    """
    batch_size = max(1, min(batch_size, videos))
    try:
        return make(batch_size)
    except torch.OutOfMemoryError as error:
        if batch_size < 2:
            raise LddmError("the device has too little memory for one video at a time", HINT) from error
    half = batch_size // 2
    logger.warning("out of memory with %d videos at a time: starting again with %d, once", batch_size, half)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        return make(half)
    except torch.OutOfMemoryError as error:
        raise LddmError(
            f"the device has too little memory for {batch_size} and for {half} videos at a time", HINT
        ) from error
