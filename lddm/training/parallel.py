"""Data-parallel training in several processes, one GPU each, started by torchrun."""

from __future__ import annotations

import atexit
import os
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

Value = TypeVar("Value")


def rank() -> int:
    """Rank of this process, 0 if there is only one."""
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """Number of processes, 1 if there is only one."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_first() -> bool:
    """Whether this is the process that writes files and records; the others only compute."""
    return rank() == 0


def connect(device: torch.device) -> None:
    """Join the process group started by torchrun; no-op for one process or if already joined."""
    if world_size() == 1 or distributed.is_initialized():
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    atexit.register(distributed.destroy_process_group)


def _connected() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def wait() -> None:
    """Barrier across processes; no-op for one process."""
    if _connected():
        distributed.barrier()


def from_first(value: Value) -> Value:
    """Broadcast a value of the first process to all; any picklable object."""
    if not _connected():
        return value
    values = [value]
    distributed.broadcast_object_list(values)
    return values[0]


@torch.no_grad()
def share_weights(*modules: nn.Module) -> None:
    """Replace parameters and buffers by those of the first process; no-op for one process."""
    if _connected():
        for module in modules:
            for tensor in (*module.parameters(), *module.buffers()):
                share_tensor(tensor)


@torch.no_grad()
def share_tensor(tensor: Tensor) -> Tensor:
    """Replace a tensor by that of the first process, in place; no-op for one process."""
    if _connected():
        whole = tensor.detach().contiguous()
        distributed.broadcast(whole, src=0)
        tensor.copy_(whole)
    return tensor


def pick_device() -> torch.device:
    """The device of this process: its own GPU, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())


@torch.no_grad()
def average_gradients(network: nn.Module, loss: Tensor) -> Tensor:
    """Replace each gradient by its mean over the processes, in one exchange.

    Args:
        network: the same network in all processes; missing gradients count as zero.
        loss: scalar of this process.

    Returns:
        The mean loss. No-op for one process.
    """
    if not _connected():
        return loss
    given = [p for p in network.parameters() if p.requires_grad]
    parts = [p.grad.flatten() if p.grad is not None else torch.zeros_like(p).flatten() for p in given]
    flat = torch.cat([*parts, loss.reshape(1).to(given[0].dtype)])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    for parameter, values in zip(given, flat[:-1].split([p.numel() for p in given]), strict=True):
        mean = values.reshape(parameter.shape)
        if parameter.grad is None:
            parameter.grad = mean.clone()
        else:
            parameter.grad.copy_(mean)  # in place, because a CUDA graph accumulates into it
    return flat[-1]
