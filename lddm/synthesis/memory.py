"""Adaptive batch size: halved after an out-of-memory error, doubled on a GPU with enough free memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from lddm.errors import LddmError
from lddm.training.graphs import held_by_graphs

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
HINT = "use a smaller batch (synthesis.batch_size), or a device that no other process uses"
SHARE = 0.5  # largest share of the free memory that a doubled batch may be expected to use
LARGEST = 1024  # videos per batch; larger batches are not faster, as kernel launches no longer dominate
SMALLER = "out of memory with %d videos per batch; continuing with %d"


class BatchSize:
    """Adaptive number of videos per batch.

    Args:
        first: size of the first batch.
        device: device of the networks. On a CPU batches do not grow, since that would only take more memory.
    """

    def __init__(self, first: int, device: torch.device):
        self.size, self.device = first, device
        self._limit = LARGEST if device.type == "cuda" else first

    def each(self, videos: int, make: Callable[[slice], None]) -> None:
        """Call `make` with consecutive slices that cover all `videos`.

        A batch that exceeds the memory of the device is repeated with half the size. The noise of a video does not depend on
        the batch size, so the videos are the same for all sizes.

        Raises:
            LddmError: the device has too little memory for one video.
        """
        start = 0
        while start < videos:
            part = slice(start, min(start + self.size, videos))
            before = self._begin()
            try:
                make(part)
            except torch.OutOfMemoryError as error:
                self._shrink(part.stop - part.start, error)
                continue
            if part.stop - part.start == self.size:
                self._grow(before)
            start = part.stop

    def _shrink(self, tried: int, error: torch.OutOfMemoryError) -> None:
        if tried < 2:
            raise LddmError("the device has too little memory for one video at a time", HINT) from error
        self.size = self._limit = tried // 2
        logger.warning(SMALLER, tried, self.size)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _begin(self) -> int:
        """Bytes in use before a batch."""
        if self.device.type != "cuda":
            return 0
        torch.cuda.reset_peak_memory_stats(self.device)
        return torch.cuda.memory_allocated(self.device)

    def _grow(self, before: int) -> None:
        if self.size >= self._limit:
            return
        taken = torch.cuda.max_memory_allocated(self.device) - before
        cached = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        free = torch.cuda.mem_get_info(self.device)[0] + cached - held_by_graphs(self.device)
        if 2 * taken <= SHARE * free:
            self.size = min(2 * self.size, self._limit)


def with_smaller_batch(make: Callable[[int], Result], batch_size: int, videos: int) -> Result:
    """Run `make(batch_size)`, halving the batch size after each out-of-memory error.

    For work that `BatchSize` cannot divide: candidates that are compared with each other.

    Args:
        make: makes all videos, `batch_size` at a time.
        batch_size: initial number of videos per batch.
        videos: number of videos, an upper limit of the batch size.

    Raises:
        LddmError: the device has too little memory for one video.
    """
    size = max(1, min(batch_size, videos))
    while True:
        try:
            return make(size)
        except torch.OutOfMemoryError as error:
            if size < 2:
                raise LddmError("the device has too little memory for one video at a time", HINT) from error
            logger.warning(SMALLER, size, size // 2)
            size //= 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
