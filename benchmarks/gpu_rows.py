"""Rows of the GPU benchmark: each is timed within its limit, and whatever goes wrong in one is named in it and ends no other."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.roofline import Counted, Peak, count
from benchmarks.timing import commit, device_name, processor, time_limit

SLOW_S = 4.0  # seconds after which a slow work has been seen often enough


@dataclass
class Bench:
    """Measures works and keeps the rows.

    Attributes:
        device: where.
        quick: tiny sizes, two repeats.
        until: `time.monotonic()` after which nothing is begun, and at which what runs is stopped.
        row_s: seconds of a row, with building and warming up, and of counting the operations of its work.
        save: called after each row.
        rows: what was measured, or why not.
    """

    device: torch.device
    quick: bool
    until: float
    row_s: float = 20.0
    save: Callable[[], None] = lambda: None
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def common(self) -> dict[str, Any]:
        """What each row says of where it is from."""
        return {"device": device_name() if self.device.type == "cuda" else processor(), "commit": commit()}

    def left(self) -> float:
        """Seconds until `until`.

        Raises:
            TimeoutError: there are none.
        """
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("no time was left")
        return left

    def row(self, name: str, work: Callable[[], dict[str, Any]], row_s: float | None = None, **about: Any) -> None:
        """Add what `work` returns as a row, or the reason why there is nothing."""
        row: dict[str, Any] = {"name": name, "batch": None} | about | self.common
        try:
            with time_limit(min(self.left(), row_s or self.row_s)):
                row |= work()
        except Exception as error:  # of whatever kind: the other rows are still to come
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
        """Time one work: seconds of a call, its rate, share of peak, roofline and memory.

        Args:
            make: builds it.
            peak: of the device, in the precision of the work.
            per_call: clips, latents or steps of a call.
            counted: its operations and traffic, counted beforehand.
            row_s: instead of `Bench.row_s`.
        """

        def work() -> dict[str, Any]:
            found = self._timed(make(), per_call)
            return found | _against(counted or Counted(None, None), peak, found["seconds"])

        self.row(name, work, row_s, **about)

    def _timed(self, work: Callable[[], Any], per_call: int) -> dict[str, Any]:
        began, last = time.perf_counter(), 0.0
        for number in range(2 if self.quick else 5):  # a graph is recorded, a compiler compiles
            before = time.perf_counter()
            work()
            self._wait()
            last = time.perf_counter() - before
            if number and time.perf_counter() - began > SLOW_S:
                break
        together = max(1, min(10, int(0.2 / max(last, 1e-6))))  # calls between two looks at the clock
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
        """Operations and traffic of a work without graph or compiler; None where there is no time or memory for it."""
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
    """Why something was left out, on one line."""
    if isinstance(error, torch.OutOfMemoryError):
        return "out of memory"
    said = str(error).strip().splitlines()
    return (said[-1] if said else type(error).__name__)[:200]


def shown(row: dict[str, Any]) -> str:
    """A row for the screen."""
    if "left_out" in row:
        return f"left out, {row['left_out']}"
    if "ddp_s" in row:
        return f"averaging {row['averaging_s']:.4g} s, DDP {row['ddp_s']:.4g} s"
    share = row["share_of_peak"]
    percent = "unknown share" if share is None else f"{100 * share:.2g} %"
    return f"{row['seconds']:.4g} s, {row['rate']:.4g} /s, {percent} of peak"
