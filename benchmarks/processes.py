"""DistributedDataParallel against our averaging of gradients, with one process per GPU (two on a CPU).

    torchrun --nproc-per-node N -m benchmarks.processes [cuda|cpu]

The first process prints the seconds per step of both as JSON, and whether the gradients agree.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.timing import ROOT, run_group
from lddm.autoencoder.decoder import SPADEDecoder
from lddm.latent.spec import LatentSpec
from lddm.training.parallel import average_gradients, connect, is_first, rank, share_weights

FRAMES = 16


def compare(device: torch.device, size: int, batch: int, width: int, repeats: int) -> dict[str, Any]:
    """Compare both on the decoder "spade", whose gradients are the largest of all networks."""
    torch.manual_seed(0)
    network = SPADEDecoder(LatentSpec("vector", FRAMES, dim=64), size, width).to(device)
    share_weights(network)
    torch.manual_seed(1 + rank())
    x0, z = torch.rand(batch, 1, size, size, device=device), torch.randn(batch, 64, device=device)
    wrapped = DistributedDataParallel(network, device_ids=[device.index] if device.type == "cuda" else None)

    def loss_of(module: nn.Module) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            return module(x0, z).frames.float().square().mean()

    def ours() -> None:
        network.zero_grad(set_to_none=True)
        loss = loss_of(network)
        loss.backward()
        average_gradients(network, loss.detach())

    def ddp() -> None:
        network.zero_grad(set_to_none=True)
        loss_of(wrapped).backward()

    gradients = []
    for work in (ours, ddp):
        work()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]).double())
    difference = ((gradients[0] - gradients[1]).norm() / gradients[0].norm()).item()
    return {
        "averaging_s": _seconds(ours, device, repeats),
        "ddp_s": _seconds(ddp, device, repeats),
        "difference": difference,
    }


def _seconds(work: Callable[[], None], device: torch.device, repeats: int) -> float:
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / repeats


def run(device: str, processes: int, size: int, batch: int, width: int, repeats: int, timeout: float) -> dict[str, Any]:
    """Start the processes and return the output of the first one.

    Raises:
        RuntimeError: a process failed.
        TooLong: the time limit was exceeded; all processes were ended.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += ["-m", "benchmarks.processes", device, *map(str, (size, batch, width, repeats))]
    done = run_group(command, timeout, cwd=ROOT)
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-2000:])
    return {"processes": processes, **json.loads(done.stdout.strip().splitlines()[-1])}


if __name__ == "__main__":
    kind = sys.argv[1] if len(sys.argv) > 1 else "cuda"
    where = torch.device("cuda", rank()) if kind == "cuda" else torch.device("cpu")
    connect(where)
    shape = [int(value) for value in sys.argv[2:6]] or [128, 8, 32, 10]
    result = compare(where, *shape)
    if is_first():
        print(json.dumps(result), flush=True)
