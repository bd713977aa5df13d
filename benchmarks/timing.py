"""How benchmarks measure: ours and a peer in turns, medians, ratios, and what machine it was."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

REPEATS = 5


def alternate(ours: Callable[[], Any], peer: Callable[[], Any], repeats: int = REPEATS) -> tuple[float, float]:
    """Median seconds of both, after one warm-up each."""
    ours(), peer()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for place, work in enumerate((ours, peer)):
            began = time.perf_counter()
            work()
            times[place].append(time.perf_counter() - began)
    return statistics.median(times[0]), statistics.median(times[1])


def machine() -> str:
    """What the numbers were measured on."""
    name = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []:
        if line.startswith("model name"):
            name = line.split(":", 1)[1].strip()
            break
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{name}, {torch.get_num_threads()} threads, {device}, torch {torch.__version__}"


def row(name: str, ours: float, peer: float, unit: str, setting: str) -> dict[str, Any]:
    """One entry of latest.json; `ratio` = ours / peer."""
    return {
        "name": name,
        "ours": round(ours, 6),
        "peer": round(peer, 6),
        "ratio": round(ours / peer, 4),
        "unit": unit,
        "setting": setting,
        "machine": machine(),
    }
