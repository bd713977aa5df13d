"""Float32 for geometry, whatever the precision of the networks around it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])
LOW = (torch.bfloat16, torch.float16)


def in_float32(function: Function) -> Function:
    """Decorator: run a function of tensors outside autocast, with arguments of half precision cast to float32.

    bfloat16 has 8 significant bits. It rounds a displacement of 4 pixels to 1/64 of a pixel and the pixel coordinate 200
    to whole pixels; the strain of a lesion is a few hundredths of a pixel per cell. Other dtypes are left as they are.
    """

    @functools.wraps(function)
    def exact(*args: Any, **kwargs: Any) -> Any:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        with torch.autocast(tensors[0].device.type, enabled=False):
            return function(*map(_full, args), **{name: _full(value) for name, value in kwargs.items()})

    return exact  # type: ignore[return-value]


def _full(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in LOW else value
