"""Out of memory on a device: one smaller try, said aloud."""

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
    """Run `make(batch_size)`; where the device has too little memory for it, `make` with half the batch, once.

    All is made anew with the smaller batch, so that the result is that of a run which asked for it: the noise of a video
    depends on its place in its batch.

    Args:
        make: makes all videos, so many at a time.
        batch_size: videos at a time.
        videos: how many there are: half of a batch that is never full would be no smaller.

    Raises:
        LddmError: half of it does not fit either, or there is no half.
    """
    batch_size = max(1, min(batch_size, videos))
    try:
        return make(batch_size)
    except torch.OutOfMemoryError as error:
        if batch_size < 2:
            raise LddmError("the device has too little memory for one video at a time", HINT) from error
    half = batch_size // 2
    logger.warning("out of memory with %d videos at a time: beginning again with %d, once", batch_size, half)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        return make(half)
    except torch.OutOfMemoryError as error:
        raise LddmError(
            f"the device has too little memory for {batch_size} and for {half} videos at a time", HINT
        ) from error
