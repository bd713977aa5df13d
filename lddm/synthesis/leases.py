"""GPU leases: concurrent jobs on one machine use distinct devices.

A lease is a file lock, which the operating system releases whenever its holder ends.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from lddm.errors import LddmError

logger = logging.getLogger(__name__)


def visible_devices() -> list[str]:
    """GPUs that torch can use in this process: those of CUDA_VISIBLE_DEVICES (set by SLURM), otherwise all.

    CUDA ignores an invalid id and all ids after it. If the driver is too old for torch, the list is empty.
    """
    import torch

    # NVML counts, since CUDA reads the variable only once and a lease will change it.
    count = torch.cuda.device_count()
    fixed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if count == 0 or not _usable():
        logger.warning("%s: this job runs on the CPU", _why_none(count, fixed))
        return []
    if fixed is None:
        return [str(i) for i in range(count)]
    return list(dict.fromkeys(device.strip() for device in fixed.split(",")))[:count]


def _usable() -> bool:
    """Whether CUDA can be initialised; tested in a subprocess, since this process must not initialise it yet."""
    check = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", check], capture_output=True).returncode == 0


def _why_none(count: int, fixed: str | None) -> str:
    import torch

    if count:
        return f"torch {torch.__version__} cannot use the {count} GPUs (is their driver too old for it?)"
    if fixed:
        return f"CUDA_VISIBLE_DEVICES is {fixed}, but torch {torch.__version__} finds no such GPU"
    return "no GPU"


def lease_folder() -> Path:
    """Folder of the lock files of this user: one per machine, and one per SLURM job.

    SLURM numbers the devices of each job from 0. Jobs on one machine may thus hold different devices with the same id, and
    must not wait for each other.
    """
    within = os.environ.get("SLURM_JOB_ID")
    return Path(tempfile.gettempdir()) / f"lddm-gpu-leases-{os.getuid()}{f'-slurm-{within}' if within else ''}"


@contextlib.contextmanager
def gpu_lease(
    devices: Sequence[str] | None = None,
    folder: Path | None = None,
    count: int = 1,
    timeout: float = 86_400,
    poll: float = 1.0,
) -> Iterator[str | None]:
    """Hold GPUs exclusively for the duration of a `with` block.

    Args:
        devices: ids to choose from; None = `visible_devices()`. Empty = no GPU: yields None at once, with CUDA disabled in
            the block.
        folder: folder of the lock files; None = `lease_folder()`.
        count: number of GPUs to hold; all of `devices` if there are fewer.
        timeout: seconds to wait for free devices.
        poll: longest interval between two attempts, in seconds.

    Yields:
        The ids, joined by commas. In the block, CUDA_VISIBLE_DEVICES is set to them, and so is LDDM_DEVICES, for the record
        of the job. A process of a distributed training takes no lease, since its launcher holds all devices.

    Raises:
        LddmError: the devices did not become free in time.
    """
    if devices is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        yield os.environ.get("CUDA_VISIBLE_DEVICES")
        return
    devices = visible_devices() if devices is None else list(devices)
    if not devices:
        with _environment(CUDA_VISIBLE_DEVICES="", LDDM_DEVICES=""):
            yield None
        return
    folder = folder or lease_folder()
    folder.mkdir(parents=True, exist_ok=True)
    names = {device: re.sub(r"[^\w-]", "-", device) for device in devices}  # a MIG device is named with slashes
    locks = {device: FileLock(folder / f"gpu-{name}.lock") for device, name in names.items()}
    held = _first_free(locks, min(count, len(devices)), timeout, poll)
    try:
        # before the first CUDA call of this process
        with _environment(CUDA_VISIBLE_DEVICES=",".join(held), LDDM_DEVICES=",".join(held)):
            yield ",".join(held)
    finally:
        for device in held:
            locks[device].release()


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set environment variables for the duration of a `with` block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _first_free(locks: dict[str, FileLock], count: int, timeout: float, poll: float) -> list[str]:
    """Lock all `count` devices or none, to avoid a deadlock between jobs that need several."""
    deadline, said = time.monotonic() + timeout, False
    while True:
        held: list[str] = []
        for device, lock in locks.items():
            with contextlib.suppress(Timeout):
                lock.acquire(blocking=False)
                held.append(device)
            if len(held) == count:
                return held
        for device in held:
            locks[device].release()
        if time.monotonic() >= deadline:
            raise LddmError(
                f"no free GPU among {', '.join(locks)} in {timeout:g} s", "wait for the other jobs, or start fewer"
            )
        if not said:
            logger.warning("waiting for %d free GPUs among %s; limit the number of jobs with --resources gpu=N", count,
                           ", ".join(locks))  # fmt: skip
            said = True
        time.sleep(poll * random.uniform(0.5, 1))  # random interval, so that competing jobs do not poll in lockstep
