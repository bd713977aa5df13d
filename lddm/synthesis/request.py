"""Validation of the arguments of the animator."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from lddm.errors import LddmError

Size = Literal["native", "model"]


def check_request(image: np.ndarray, length: int | None, size: str) -> None:
    """Check the arguments of `Animator.animate`.

    Raises:
        LddmError: not a grayscale uint8 image of at least 8 x 8 pixels, a length below 1, or an unknown size.
    """
    if image.ndim != 2 or image.dtype != np.uint8 or min(image.shape) < 8:
        raise LddmError(
            f"expected a grayscale uint8 image of at least 8 pixels per side, got {image.dtype} {image.shape}",
            "read it with lddm.io.video.decode_image",
        )
    if length is not None and length < 1:
        raise LddmError(f"length {length} is too short", "expected at least 1 frame after the still")
    if size not in get_args(Size):
        raise LddmError(f"unknown size '{size}'", f"expected {' or '.join(get_args(Size))}")


def no_native_size(generator: str, size: int) -> LddmError:
    """Error for a generator without motion fields, whose output has a fixed size."""
    return LddmError(
        f"{generator} synthesises frames of {size} x {size} pixels and has no motion to apply to a still of another size",
        'take the size "model" (lddm animate --size model)',
    )
