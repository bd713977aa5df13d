"""GPU leases: jobs of one machine that run at once hold distinct devices.

A lease is a file lock, so the operating system releases it when its holder dies, however it dies.
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
    """GPUs that torch can use in this process: those of CUDA_VISIBLE_DEVICES (SLURM sets it), else all that it counts.

    An id that CUDA does not know hides itself and all after it; a driver that is too old for this torch hides all.
    """
    import torch

    # Counted by NVML, since CUDA reads the variable once and a lease is about to change it.
    count = torch.cuda.device_count()
    fixed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if count == 0 or not _usable():
        logger.warning("%s: this job runs on the CPU", _why_none(count, fixed))
        return []
    if fixed is None:
        return [str(i) for i in range(count)]
    return list(dict.fromkeys(device.strip() for device in fixed.split(",")))[:count]


def _usable() -> bool:
    """Whether CUDA starts; in a process of its own, since this one must not start it yet."""
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
    """Where the lock files of this user lie: one folder for a machine, and one for each SLURM job on it.

    Where SLURM fences devices off, each of its jobs counts them from 0: jobs that share a machine then hold different
    devices of one name, and must not wait for each other.
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
    """Hold GPUs.

    Args:
        devices: ids to choose from; None asks `visible_devices`. Empty = no GPU: yields None at once, and CUDA is switched
            off meanwhile.
        folder: where the lock files lie; None asks `lease_folder`.
        count: how many to hold, or all of `devices` where they are fewer.
        timeout: seconds to wait for free devices.
        poll: seconds between two looks, at the most.

    Yields:
        The ids, joined by commas, exclusively held until the block ends; CUDA_VISIBLE_DEVICES is set to them meanwhile,
        and LDDM_DEVICES, from which the record of the job has them.
        In one of several processes that train together nothing is taken: who started them holds the devices of all.

    Raises:
        LddmError: they did not become free in time.
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
    """Environment variables for the time of a block."""
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
    """All `count` devices or none, so that two jobs which want several never wait for each other's."""
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
            logger.warning("waiting for %d free of the GPUs %s: --resources gpu=N starts no more jobs than GPUs", count,
                           ", ".join(locks))  # fmt: skip
            said = True
        time.sleep(poll * random.uniform(0.5, 1))  # two that want several devices must not look in step
