"""Timing utilities of the benchmarks: alternating runs, medians, ratios, time limits and machine description."""

from __future__ import annotations

import contextlib
import functools
import platform
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import torch

REPEATS = 5
ROOT = Path(__file__).resolve().parents[1]


def alternate(ours: Callable[[], Any], peer: Callable[[], Any], repeats: int = REPEATS) -> tuple[float, float]:
    """Median seconds of ours and the peer, run alternately after one warm-up each."""
    first, second = in_turns([ours, peer], repeats)
    return first, second


def in_turns(works: list[Callable[[], Any]], repeats: int = REPEATS, warm_up: int = 1) -> list[float]:
    """Median seconds of each function, run alternately so that other load affects all equally."""
    for _ in range(warm_up):
        for work in works:
            work()
    times: list[list[float]] = [[] for _ in works]
    for _ in range(repeats):
        for place, work in enumerate(works):
            began = time.perf_counter()
            work()
            times[place].append(time.perf_counter() - began)
    return [statistics.median(of_one) for of_one in times]


class TooLong(Exception):
    """A time limit was exceeded."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TooLong` in a block that runs for longer than the limit; works in the main thread, between Python instructions."""

    def ring(*_: Any) -> None:
        raise TooLong(f"took longer than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_group(command: list[str], timeout: float, **more: Any) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` with captured output, but also ends all descendants of the command.

    Process groups do not suffice, since torchrun gives each worker its own.

    Raises:
        TooLong: the time limit was exceeded.
    """
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | more
    process = subprocess.Popen(command, start_new_session=True, **pipes)
    try:
        out, said = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise TooLong(f"took longer than {timeout:.0f} s") from None
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGSTOP)  # prevents the start of further processes
            below = psutil.Process(process.pid).children(recursive=True)
            for one in (process, *below):
                with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                    one.kill()
            process.wait()
            psutil.wait_procs(below, timeout=10)  # a process ends some time after the signal
    return subprocess.CompletedProcess(command, process.returncode, out, said)


def processor() -> str:
    """Name of the CPU."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def device_name() -> str:
    """Name of the GPU, or of the CPU if there is none."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else processor()


def machine() -> str:
    """Description of the machine of the measurement."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{processor()}, {torch.get_num_threads()} threads, {device}, torch {torch.__version__}"


@functools.cache
def commit() -> str:
    """Commit of the checkout, followed by "+" if files were changed; "unknown" without git."""
    try:
        run = functools.partial(subprocess.run, cwd=ROOT, capture_output=True, text=True, check=True)
        name = run(["git", "rev-parse", "--short=12", "HEAD"]).stdout.strip()
        return name + ("+" if run(["git", "status", "--porcelain", "--untracked-files=no"]).stdout.strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def row(
    name: str, ours: float, peer: float, unit: str, setting: str, batch: int | None = None, device: str | None = None
) -> dict[str, Any]:
    """One entry of latest.json; `ratio` = ours / peer.

    Args:
        batch: batch size (clips or latents), if any.
        device: name of the device; default: the CPU.
    """
    return {
        "name": name,
        "ours": round(ours, 6),
        "peer": round(peer, 6),
        "ratio": round(ours / peer, 4),
        "unit": unit,
        "setting": setting,
        "batch": batch,
        "device": device or processor(),
        "machine": machine(),
        "commit": commit(),
    }
