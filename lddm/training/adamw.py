"""AdamW with the functional API of PyTorch.

Constructing `torch.optim.AdamW` imports `torch._dynamo`, which takes 1.5 to 2 s of CPU per training job for a compiler that
eager training does not use. `torch.optim.adamw.adamw` gives bit-identical weights without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

EPSILON = 1e-8  # the default of torch.optim.AdamW
MOMENTS = ("exp_avg", "exp_avg_sq")


class AdamW:
    """AdamW (Loshchilov & Hutter 2019) with the attributes of `torch.optim.AdamW(..., fused=True)` that training uses.

    Attributes:
        param_groups: a single group with parameters and settings; "lr" may be a tensor on the device.
        state: parameter -> `step` float32 (), `exp_avg` and `exp_avg_sq` (moments, shaped as the parameter); empty before the
            first step.
        found_inf: float () on the device or None, as set by `torch.amp.GradScaler`: the step is skipped if it is one.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, betas: tuple[float, float], weight_decay: float):
        self.param_groups: list[dict[str, Any]] = [
            {"params": list(parameters), "lr": lr, "betas": betas, "weight_decay": weight_decay}
        ]
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        self.found_inf: Tensor | None = None

    def zero_grad(self) -> None:
        """Set all gradients to None."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update all parameters that have a gradient."""
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            states = [self._state_of(parameter) for parameter in parameters]
            gradients = [parameter.grad for parameter in parameters]
            first, second = ([each[name] for each in states] for name in MOMENTS)
            adamw(
                parameters, gradients, first, second, [], [each["step"] for each in states], fused=True, found_inf=self.found_inf,
                amsgrad=False, beta1=group["betas"][0], beta2=group["betas"][1], lr=group["lr"],
                weight_decay=group["weight_decay"], eps=EPSILON, maximize=False,
            )  # fmt: skip

    def tensors(self) -> dict[str, Tensor]:
        """State tensors by name, `<parameter index>.<name>`."""
        return {
            f"{index}.{name}": value
            for index, parameter in enumerate(self._parameters)
            for name, value in self.state.get(parameter, {}).items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Inverse of `tensors`. Moments get the memory format of their parameters, as fused steps require."""
        self.state = {}
        parameters = self._parameters
        for key, tensor in tensors.items():
            index, name = key.split(".", 1)
            parameter = parameters[int(index)].detach()
            like = parameter if name in MOMENTS else torch.empty((), dtype=torch.float32, device=parameter.device)
            moment = torch.empty_like(like).copy_(tensor)
            self.state.setdefault(parameters[int(index)], {})[name] = moment

    @property
    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _state_of(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        if parameter not in self.state:
            step = torch.zeros((), dtype=torch.float32, device=parameter.device)
            moments = {name: torch.zeros_like(parameter, memory_format=torch.preserve_format) for name in MOMENTS}
            self.state[parameter] = {"step": step} | moments
        return self.state[parameter]
