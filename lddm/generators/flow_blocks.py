"""Blocks of the invertible network, as published and in a numerically stable form; built on FrEIA."""

from __future__ import annotations

import math

from FrEIA.framework import SequenceINN
from FrEIA.modules import ActNorm, AllInOneBlock, GLOWCouplingBlock, InvertibleModule, PermuteRandom
from torch import Tensor, nn
from torch.nn import functional as F

from lddm.settings.models import CinnSettings


class InvertibleLeakyReLU(InvertibleModule):
    """Leaky ReLU with its correct log-determinant (the released code returns 0)."""

    def __init__(self, dims_in, dims_c=None, alpha: float = 0.9):
        super().__init__(dims_in, dims_c)
        self.alpha = alpha

    def forward(self, x_or_z, c=None, rev=False, jac=True):
        (x,) = x_or_z
        slope = 1 / self.alpha if rev else self.alpha
        log_det = (x < 0).flatten(1).sum(dim=1) * math.log(slope)
        return (F.leaky_relu(x, slope),), log_det

    def output_dims(self, input_dims):
        return input_dims


def _unbounded(log_scale: Tensor) -> Tensor:
    return log_scale


def _subnet(width: int, depth: int):
    def build(inputs: int, outputs: int) -> nn.Module:
        layers: list[nn.Module] = [nn.Linear(inputs, width), nn.LeakyReLU(0.01)]
        for _ in range(depth):
            layers += [nn.Linear(width, width), nn.LeakyReLU(0.01)]
        last = nn.Linear(width, outputs)
        nn.init.zeros_(last.weight)  # the couplings start as the identity
        nn.init.zeros_(last.bias)
        return nn.Sequential(*layers, last)

    return build


def build_flow(settings: CinnSettings, dim: int, condition: int) -> nn.Module:
    """Build the flow: z (B, dim) and a condition (B, condition) -> residual (B, dim) and log |det|.

    `published`: ActNorm (initialised from the first batch), leaky ReLU, double affine coupling with unbounded
    log-scale, fixed random permutation. ASSUME: one subnetwork outputs both scale and shift of a half (the released code
    has two), and the block index seeds the permutation.

    `clamped`: AllInOneBlock of FrEIA: global affine, soft permutation, one affine coupling with bounded log-scale.
    """
    flow = SequenceINN(dim)
    if settings.coupling == "clamped":
        for _ in range(settings.blocks):
            flow.append(
                AllInOneBlock,
                cond=0,
                cond_shape=(condition,),
                subnet_constructor=_subnet(settings.width, 1),
                permute_soft=dim <= 512,  # a random rotation; exact sampling is too slow in many dimensions
                affine_clamping=1.9,
            )
        return flow
    for block in range(settings.blocks):
        flow.append(ActNorm)
        flow.append(InvertibleLeakyReLU)
        flow.append(
            GLOWCouplingBlock,
            cond=0,
            cond_shape=(condition,),
            subnet_constructor=_subnet(settings.width, 2),
            clamp=1.0,
            clamp_activation=_unbounded,
        )
        flow.append(PermuteRandom, seed=block)
    return flow
