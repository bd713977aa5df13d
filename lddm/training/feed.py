"""Batches that a worker thread reads ahead, for data that do not fit on the device."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

AHEAD = 2  # batches that are ready or being read


@contextlib.contextmanager
def feed(task: Any, numbers: Iterable[int], ahead: int = AHEAD) -> Iterator[Callable[[int], Any]]:
    """The function that gives a task's batches by number, asked in the order of `numbers`.

    A task with `reads_ahead` set has, beside `batch`, the two parts of it: `host_batch(number)`, which a thread calls
    beforehand, and `upload(host_batch)`. Errors of the thread are raised where the batch is asked for.
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
            raise ValueError(f"expected to be asked for batch {expected}, got {number}")
        submit()
        return task.upload(future.result())

    try:
        for _ in range(ahead):
            submit()
        yield batch
    finally:
        worker.shutdown(cancel_futures=True)
