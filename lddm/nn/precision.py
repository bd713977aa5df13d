"""Float32 arithmetic for geometry, independent of autocast."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])
LOW = (torch.bfloat16, torch.float16)


def in_float32(function: Function) -> Function:
    """Decorator: run a tensor function outside autocast, with half-precision arguments cast to float32.

    bfloat16 has 8 significant bits. It rounds a displacement of 4 pixels to 1/64 pixel and a coordinate of 200 to whole
    pixels, whereas the strain of a lesion is a few hundredths of a pixel per cell. Other dtypes are unchanged.
    """

    @functools.wraps(function)
    def exact(*args: Any, **kwargs: Any) -> Any:
        device = next(value.device for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        if device.type == "meta":  # the meta device has shapes only and no autocast
            return function(*args, **kwargs)
        with torch.autocast(device.type, enabled=False):
            return function(*map(_full, args), **{name: _full(value) for name, value in kwargs.items()})

    return exact  # type: ignore[return-value]


def _full(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in LOW else value
