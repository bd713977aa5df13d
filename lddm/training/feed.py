"""Prefetching of batches in a worker thread, for data that do not fit on the device."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

AHEAD = 2  # number of prefetched batches, finished or in progress


@contextlib.contextmanager
def feed(task: Any, numbers: Iterable[int], ahead: int = AHEAD) -> Iterator[Callable[[int], Any]]:
    """Return a function that yields the batches of a task by number, to be called in the order of `numbers`.

    A task whose `reads_ahead` is true splits `batch` into two parts: `host_batch(number)`, which a thread calls in advance, and
    `upload(host_batch)`. Errors in the thread are raised when the batch is requested.
    """
    if not getattr(task, "reads_ahead", False):
        yield task.batch
        return
    left, waiting = iter(numbers), deque[tuple[int, Future[Any]]]()
    worker = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")

    def submit() -> None:
        number = next(left, None)
        if number is not None:
            waiting.append((number, worker.submit(task.host_batch, number)))

    def batch(number: int) -> Any:
        expected, future = waiting.popleft()
        if expected != number:
            raise ValueError(f"expected a request for batch {expected}, got {number}")
        submit()
        return task.upload(future.result())

    try:
        for _ in range(ahead):
            submit()
        yield batch
    finally:
        worker.shutdown(cancel_futures=True)
