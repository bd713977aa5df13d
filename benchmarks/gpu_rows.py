"""Rows of the GPU benchmark: each has a time limit, and an error in one row is reported without stopping the others."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.roofline import Counted, Peak, count
from benchmarks.timing import commit, device_name, processor, time_limit

SLOW_S = 4.0  # seconds after which a slow workload is not repeated


@dataclass
class Bench:
    """Measures workloads and collects the rows.

    Attributes:
        device: device of the workloads.
        quick: tiny sizes, two repeats.
        until: deadline on the `time.monotonic()` clock; running workloads are stopped then.
        row_s: time limit of a row in seconds, including set-up and warm-up; also the limit for counting its operations.
        save: called after each row.
        rows: measurements, or the reason for their absence.
    """

    device: torch.device
    quick: bool
    until: float
    row_s: float = 20.0
    save: Callable[[], None] = lambda: None
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def common(self) -> dict[str, Any]:
        """Fields common to all rows: the origin of the measurement."""
        return {"device": device_name() if self.device.type == "cuda" else processor(), "commit": commit()}

    def left(self) -> float:
        """Seconds until `until`.

        Raises:
            TimeoutError: none are left.
        """
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("no time was left")
        return left

    def row(self, name: str, work: Callable[[], dict[str, Any]], row_s: float | None = None, **about: Any) -> None:
        """Add the result of `work` as a row, or the reason for its absence."""
        row: dict[str, Any] = {"name": name, "batch": None} | about | self.common
        try:
            with time_limit(min(self.left(), row_s or self.row_s)):
                row |= work()
        except Exception as error:  # any error: the other rows must still be measured
            row["left_out"] = reason(error)
        self.rows.append(row)
        self.save()
        print(f"{name}, batch {row['batch']}: {shown(row)}", flush=True)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def measure(
        self,
        name: str,
        make: Callable[[], Callable[[], Any]],
        peak: Peak,
        per_call: int,
        counted: Counted | None = None,
        row_s: float | None = None,
        **about: Any,
    ) -> None:
        """Time one workload: seconds per call, rate, share of peak, roofline and memory.

        Args:
            make: builds the workload.
            peak: peak of the device in the precision of the workload.
            per_call: clips, latents or steps per call.
            counted: operations and traffic, if already counted.
            row_s: overrides `Bench.row_s`.
        """

        def work() -> dict[str, Any]:
            found = self._timed(make(), per_call)
            return found | _against(counted or Counted(None, None), peak, found["seconds"])

        self.row(name, work, row_s, **about)

    def _timed(self, work: Callable[[], Any], per_call: int) -> dict[str, Any]:
        began, last = time.perf_counter(), 0.0
        for number in range(2 if self.quick else 5):  # graph capture or compilation
            before = time.perf_counter()
            work()
            self._wait()
            last = time.perf_counter() - before
            if number and time.perf_counter() - began > SLOW_S:
                break
        together = max(1, min(10, int(0.2 / max(last, 1e-6))))  # calls between two readings of the clock
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        began, calls, least = time.perf_counter(), 0, 2 if self.quick else 20
        while calls < least or (not self.quick and time.perf_counter() - began < 1 and calls < 1000):
            work()
            calls += 1
            if calls % together == 0:
                self._wait()
                if calls >= 3 and time.perf_counter() - began > SLOW_S:
                    break
        self._wait()
        seconds = (time.perf_counter() - began) / calls
        memory = torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else None
        return {"seconds": seconds, "rate": per_call / seconds, "peak_memory_gib": memory}

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def counted(self, make: Callable[[], Callable[[], Any]]) -> Counted | None:
        """Operations and traffic of a workload without graph or compiler; None if time or memory do not suffice."""
        try:
            with time_limit(min(self.left(), self.row_s)):
                return count(make())
        except Exception as error:
            print(f"not counted: {reason(error)}", flush=True)
            return None


def _against(counted: Counted, peak: Peak, seconds: float) -> dict[str, Any]:
    bound = counted.bound(peak)
    return {
        "tflop": counted.flop / 1e12 if counted.flop else None,
        "gbyte": counted.bytes / 1e9 if counted.bytes else None,
        "share_of_peak": counted.flop / seconds / peak.flops if counted.flop and peak.flops else None,
        "roofline_s": bound,
        "share_of_roofline": bound / seconds if bound else None,
    }


def reason(error: Exception) -> str:
    """One-line reason for a missing row."""
    if isinstance(error, torch.OutOfMemoryError):
        return "out of memory"
    said = str(error).strip().splitlines()
    return (said[-1] if said else type(error).__name__)[:200]


def shown(row: dict[str, Any]) -> str:
    """Format a row for the terminal."""
    if "left_out" in row:
        return f"left out, {row['left_out']}"
    if "ddp_s" in row:
        return f"averaging {row['averaging_s']:.4g} s, DDP {row['ddp_s']:.4g} s"
    share = row["share_of_peak"]
    percent = "unknown share" if share is None else f"{100 * share:.2g} %"
    return f"{row['seconds']:.4g} s, {row['rate']:.4g} /s, {percent} of peak"
