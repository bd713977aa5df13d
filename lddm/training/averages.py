"""Exponential moving averages (EMA) of weights, with a warm-up."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def average_of(network: nn.Module, decay: float) -> AveragedModel:
    """Create an EMA of the weights of a network; buffers are copied, not averaged.

    Update n has the decay min(decay, (1 + n) / (10 + n)), as in TensorFlow's ExponentialMovingAverage and in the
    diffusers library: without this warm-up the first weights would dominate for 1 / (1 - decay) steps. A decay of 0
    copies the weights.

    Returns:
        The average; call `update_parameters(network)` after each optimiser step.
    """

    def update(averaged: Any, current: Any, _: Any) -> None:
        done = int(average.n_averaged)  # on the CPU; the last argument is on the GPU, and reading it would synchronise
        if averaged[0].is_floating_point():  # torch groups tensors by type
            torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + done) / (10 + done)))
        else:  # e.g. the permutations of a flow
            torch._foreach_copy_(averaged, current)

    average = AveragedModel(network, multi_avg_fn=torch.no_grad()(update), use_buffers=False)
    return average


@torch.no_grad()
def update_where(average: AveragedModel, network: nn.Module, decay: float, finite: Tensor) -> None:
    """`average.update_parameters(network)` if `finite` (bool scalar) is true, without synchronising with the device.

    `average.n_averaged` is on the device of the network. Same operations and precision as in `average_of`.
    """
    done = average.n_averaged.double()
    weight = 1 - ((1 + done) / (10 + done)).clamp_max(decay)
    weight = torch.where(done == 0, 1.0, weight)  # the first update copies
    weight = torch.where(finite, weight, 0.0).float()
    floating: tuple[list[Tensor], list[Tensor]] = ([], [])
    copied: tuple[list[Tensor], list[Tensor]] = ([], [])
    for averaged, current in zip(average.module.parameters(), network.parameters(), strict=True):
        for place, tensor in zip(
            floating if averaged.is_floating_point() else copied, (averaged, current), strict=True
        ):
            place.append(tensor.detach())
    copied[0].extend(average.module.buffers())
    copied[1].extend(network.buffers())
    torch._foreach_lerp_(floating[0], floating[1], [weight] * len(floating[0]))
    if copied[0]:
        torch._foreach_copy_(*copied)
    average.n_averaged.add_(finite)
