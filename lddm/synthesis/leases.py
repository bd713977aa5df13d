"""GPU leases: jobs of one machine that run at once hold distinct devices.

A lease is a file lock, so the operating system releases it when its holder dies, however it dies.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from lddm.errors import LddmError


def visible_devices() -> list[str]:
    """GPU ids that this process may use: CUDA_VISIBLE_DEVICES (SLURM sets it), else all that torch counts."""
    fixed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if fixed is not None:
        return [device for device in fixed.split(",") if device and device != "-1"]
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]


@contextlib.contextmanager
def gpu_lease(
    devices: Sequence[str] | None = None, folder: Path | None = None, timeout: float = 86_400, poll: float = 1.0
) -> Iterator[str | None]:
    """Hold one GPU.

    Args:
        devices: ids to choose from; None asks `visible_devices`. Empty = no GPU: yields None at once.
        folder: where the lock files lie; the same for all jobs of a machine.
        timeout: seconds to wait for a free device.
        poll: seconds between two looks.

    Yields:
        The device's id, exclusively held until the block ends; CUDA_VISIBLE_DEVICES is set to it meanwhile.

    Raises:
        LddmError: no device became free in time.
    """
    devices = visible_devices() if devices is None else list(devices)
    if not devices:
        yield None
        return
    folder = folder or Path(tempfile.gettempdir()) / f"lddm-gpu-leases-{os.getuid()}"
    folder.mkdir(parents=True, exist_ok=True)
    lock, device = _first_free([(FileLock(folder / f"gpu-{d}.lock"), d) for d in devices], timeout, poll)
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = device  # before the first CUDA call of this process
    try:
        yield device
    finally:
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before
        lock.release()


def _first_free(locks: list[tuple[FileLock, str]], timeout: float, poll: float) -> tuple[FileLock, str]:
    deadline = time.monotonic() + timeout
    while True:
        for lock, device in locks:
            with contextlib.suppress(Timeout):
                lock.acquire(blocking=False)
                return lock, device
        if time.monotonic() >= deadline:
            names = ", ".join(device for _, device in locks)
            raise LddmError(f"no free GPU among {names} in {timeout:g} s", "wait for the other jobs, or start fewer")
        time.sleep(poll)
