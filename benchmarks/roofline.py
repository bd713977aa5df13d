"""Roofline model: lower bound of the run time from operations, memory traffic and the peaks of a device.

FLOPs are from the counter of torch (convolutions, matrix products, attention). Bytes are all reads and writes of each
operation, without fusion or caches; a fused network may therefore be faster than the memory bound.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

# Data sheets by words of the device name: dense FLOP/s of bf16 (V100: float16) and float32, memory bandwidth in bytes/s.
PEAKS = {
    "H200": (989e12, 67e12, 4.8e12),
    "H200 NVL": (835e12, 60e12, 4.8e12),
    "H100 HBM3": (989e12, 67e12, 3.35e12),
    "H100 NVL": (835e12, 60e12, 3.9e12),
    "H100 PCIE": (756e12, 51e12, 2.0e12),
    "A100 SXM4 40GB": (312e12, 19.5e12, 1.555e12),
    "A100 SXM4 80GB": (312e12, 19.5e12, 2.039e12),
    "A100 PCIE 40GB": (312e12, 19.5e12, 1.555e12),
    "A100 PCIE 80GB": (312e12, 19.5e12, 1.935e12),
    "L40S": (362e12, 91.6e12, 0.864e12),
    "L40": (181e12, 90.5e12, 0.864e12),
    "RTX 4090": (165e12, 82.6e12, 1.008e12),
    "V100 SXM2": (125e12, 15.7e12, 0.9e12),
    "V100 PCIE": (112e12, 14e12, 0.9e12),
}
VIEWS = ("view", "as_strided", "expand", "transpose", "permute", "slice", "select", "unsqueeze", "squeeze", "detach", "t",
         "_unsafe_view", "alias", "split", "chunk", "unbind", "narrow", "_reshape_alias", "unfold", "diagonal")  # fmt: skip


@dataclass(frozen=True)
class Peak:
    """Peak FLOP/s and bytes/s of a device; None = unknown."""

    flops: float | None
    bandwidth: float | None


@dataclass(frozen=True)
class Counted:
    """FLOPs and bytes of one call; `flop` is None if torch cannot count them (R1 differentiates a gradient)."""

    flop: float | None
    bytes: float | None

    def bound(self, peak: Peak) -> float | None:
        """Lower bound of the seconds on a device, from arithmetic or memory bandwidth."""
        parts = [
            count / rate
            for count, rate in ((self.flop, peak.flops), (self.bytes, peak.bandwidth))
            if count is not None and rate is not None
        ]
        return max(parts) if parts else None


class Traffic(TorchDispatchMode):
    """Dispatch mode that sums the bytes of all tensors read and written by operations."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func._schema.name.split("::")[-1] not in VIEWS:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return out


def count(work: Callable[[], Any]) -> Counted:
    """Count FLOPs and bytes of one call, which is run twice."""
    try:
        with FlopCounterMode(display=False) as counter:
            work()
        flop = float(counter.get_total_flops())
    except RuntimeError:
        flop = None
    try:
        with Traffic() as traffic:
            work()
    except RuntimeError:
        return Counted(flop, None)
    return Counted(flop, float(traffic.bytes))


def data_sheet(name: str) -> tuple[float, float, float] | None:
    """Entry of PEAKS that matches the most words of a device name; None for an unknown device or a MIG slice."""
    words = set(re.split(r"[ -]", name.upper()))
    known = [entry for entry in PEAKS if set(entry.split()) <= words and "MIG" not in words]
    return PEAKS[max(known, key=lambda entry: len(entry.split()))] if known else None


def peak_of(device: torch.device, precision: str = "bf16") -> Peak:
    """Peak of a device: data sheet of a known GPU; on a CPU, measured with large matrix products and copies."""
    if device.type == "cuda":
        found = data_sheet(torch.cuda.get_device_name(device))
        return Peak(found[precision != "bf16"], found[2]) if found else Peak(None, None)
    matrix, block = torch.rand(768, 768), torch.rand(8_000_000)
    into = torch.empty_like(block)
    product, copy = (_best(work) for work in (lambda: matrix @ matrix, lambda: into.copy_(block)))
    return Peak(2 * 768**3 / product, 2 * block.numel() * 4 / copy)


def _best(work: Callable[[], Any]) -> float:
    work()
    times = []
    for _ in range(9):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)
