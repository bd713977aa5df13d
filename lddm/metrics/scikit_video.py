"""Compatibility layer for scikit-video 1.1.11 with current numpy and scipy.

Incompatibilities and workarounds (numpy itself is not patched: `np.bool = bool` would break numpy.ma, and other packages
would see names that numpy removed):

    np.float, np.int, np.product    skvideo modules use a proxy of numpy that defines them
    scipy.misc.imresize             skvideo modules use a proxy of scipy with a version based on Pillow in mode F
    np.linalg.eig (strred)          returns real arrays if all eigenvalues are real, as before numpy 2.5
    ndarray.tostring (vwrite)       frames are passed to ffmpeg as an array subclass that defines it
    int8 motion vectors             blockMotion returns int64, so that sums do not overflow

Use: `from lddm.metrics.scikit_video import skvideo`, then skvideo.measure, skvideo.io, skvideo.motion.
"""

from __future__ import annotations

import functools
import sys
import types
from typing import Any

import numpy as np
import scipy
import skvideo
import skvideo.io
import skvideo.measure
import skvideo.motion
from PIL import Image

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "cubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class _View(types.ModuleType):
    """Proxy of a module with additional names; all others are looked up in the module."""

    def __init__(self, module: types.ModuleType, **more: Any):
        super().__init__(module.__name__)
        self.__dict__.update(more)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class _Frames(np.ndarray):
    """Array with `tostring`, which numpy replaced by `tobytes`."""

    def tostring(self) -> bytes:
        return self.tobytes()


def imresize(
    image: np.ndarray, size: float | tuple[int, int], interp: str = "bilinear", mode: str | None = None
) -> np.ndarray:
    """Replacement of the former scipy.misc.imresize for one grayscale image, in float (mode F).

    Args:
        image: (H, W), any real dtype.
        size: a factor (float), a percentage (int), or (height, width) in pixels.
        interp: nearest, bilinear, bicubic, cubic or lanczos.
        mode: only "F" or None.
    """
    if mode not in (None, "F") or image.ndim != 2:
        raise ValueError(f"only grey float images are resized here, got mode {mode}, shape {image.shape}")
    if isinstance(size, tuple):
        height, width = size
    else:
        factor = size / 100 if isinstance(size, int) else size
        height, width = (int(side * factor) for side in image.shape)
    picture = Image.fromarray(np.asarray(image, dtype=np.float32), mode="F")
    return np.asarray(picture.resize((width, height), resample=_RESAMPLING[interp]))


def _eig(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, vectors = np.linalg.eig(matrix)
    return (values.real, vectors.real) if np.all(values.imag == 0) else (values, vectors)


def _patch() -> None:
    linalg_view = _View(np.linalg, eig=_eig)
    numpy_view = _View(np, float=float, int=int, complex=complex, product=np.prod, linalg=linalg_view)
    scipy_view = _View(scipy, misc=_View(types.ModuleType("scipy.misc"), imresize=imresize))
    modules = [module for name, module in sys.modules.items() if name.split(".")[0] == "skvideo"]
    for module in modules:
        if getattr(module, "np", None) is np:
            setattr(module, "np", numpy_view)  # noqa: B010 (a module has no such attribute by its type)
        if getattr(module, "scipy", None) is scipy:
            setattr(module, "scipy", scipy_view)  # noqa: B010

    original = skvideo.motion.blockMotion

    @functools.wraps(original)
    def block_motion(*args: Any, **kwargs: Any) -> np.ndarray:
        return original(*args, **kwargs).astype(np.int64)

    for module in modules:
        if getattr(module, "blockMotion", None) is original:
            setattr(module, "blockMotion", block_motion)  # noqa: B010

    for writer in (skvideo.io.FFmpegWriter, skvideo.io.LibAVWriter):
        writer._prepareData = _with_tostring(writer._prepareData)


def _with_tostring(prepare: Any) -> Any:
    @functools.wraps(prepare)
    def prepared(self: Any, data: np.ndarray) -> np.ndarray:
        return prepare(self, data).view(_Frames)

    return prepared


_patch()

__all__ = ["imresize", "skvideo"]
