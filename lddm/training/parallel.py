"""Several processes that train together, one GPU each; started by torchrun, found here by its variables."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn


def rank() -> int:
    """Number of this process, 0 for a single one."""
    return int(os.environ.get("RANK", 0))


def is_first() -> bool:
    """Whether this process writes files and records; the others only compute."""
    return rank() == 0


def wait() -> None:
    """Until all processes have come here; nothing for a single one."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()


def pick_device() -> torch.device:
    """The device of this process: its own GPU, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())


@torch.no_grad()
def average_gradients(network: nn.Module, loss: Tensor, processes: int) -> Tensor:
    """Replace each gradient by its mean over the processes, in one exchange.

    Args:
        network: the same in all processes; gradients that a loss did not reach count as zero.
        loss: scalar of this process.

    Returns:
        The mean loss. With one process nothing changes.
    """
    if processes == 1:
        return loss
    given = [p for p in network.parameters() if p.requires_grad]
    parts = [p.grad.flatten() if p.grad is not None else torch.zeros_like(p).flatten() for p in given]
    flat = torch.cat([*parts, loss.reshape(1).to(given[0].dtype)])
    torch.distributed.all_reduce(flat)
    flat /= processes
    for parameter, values in zip(given, flat[:-1].split([p.numel() for p in given]), strict=True):
        parameter.grad = values.reshape(parameter.shape).clone()
    return flat[-1]
