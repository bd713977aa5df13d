"""No-reference quality measures, and ST-RRED, a reduced-reference measure that uses only statistics of the real video.

They were designed for natural video and are reported because the literature reports them. Each returns one number per video.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType

import numpy as np
import torch
from torch import nn

from lddm.metrics.features import in_batches, some_frames
from lddm.metrics.weights import WeightsAbsent, find
from lddm.training.parallel import pick_device

NIQE_SIDE = 193  # smallest frame size of NIQE in scikit-video
VIIDEO_SIDE = 48  # two blocks of VIIDEO, also at half size


def piqe(clips: np.ndarray) -> np.ndarray:
    """PIQE (Venkatanath et al. 2015) through pyiqa on a few frames; 0..100, lower is better."""
    return _frames_score("piqe", ".", clips)


def brisque(weights_dir: str | Path, clips: np.ndarray) -> np.ndarray:
    """BRISQUE (Mittal et al. 2012) through pyiqa on a few frames; lower is better.

    Raises:
        WeightsAbsent: the support vectors are missing, or the file holds more than tensors.
    """
    path = find("brisque", weights_dir)
    try:  # pyiqa unpickles the complete file, for which no digest is published
        torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise WeightsAbsent(f"brisque: {path.name} holds more than tensors or is damaged; remove it") from error
    return _frames_score("brisque", weights_dir, clips)


def _frames_score(name: str, weights_dir: str | Path, clips: np.ndarray) -> np.ndarray:
    network = _pyiqa(name, weights_dir)
    frames = some_frames(clips)
    flat = frames.reshape(-1, *frames.shape[2:])

    def score(batch: torch.Tensor) -> torch.Tensor:
        return network(batch[:, None].expand(-1, 3, -1, -1).float() / 255).reshape(-1, 1)

    return in_batches(flat, 32, score).reshape(frames.shape[:2]).mean(axis=1)


def _pyiqa(name: str, weights_dir: str | Path) -> nn.Module:
    """Load a pyiqa network with its files from `weights_dir`, which has the layout of torch.hub.

    Raises:
        WeightsAbsent: pyiqa is not installed, or cannot use the files.
    """
    try:
        import pyiqa
        from pyiqa.utils import download_util
    except ImportError as error:  # optional, since its licence is non-commercial
        raise WeightsAbsent(
            f"{name}: the package pyiqa cannot be imported ({error}): pip install 'lddm[quality]'"
        ) from error

    before = torch.hub.get_dir(), download_util.DEFAULT_CACHE_DIR
    torch.hub.set_dir(str(weights_dir))
    download_util.DEFAULT_CACHE_DIR = str(Path(weights_dir) / "pyiqa")
    try:
        return pyiqa.create_metric(name, device=pick_device())
    except Exception as error:  # damaged files raise many types of errors
        raise WeightsAbsent(
            f"{name}: pyiqa cannot use the files in weights_dir ({type(error).__name__}: {error})"
        ) from error
    finally:
        torch.hub.set_dir(before[0])
        download_util.DEFAULT_CACHE_DIR = before[1]


def niqe(clips: np.ndarray) -> np.ndarray:
    """NIQE (Mittal et al. 2013) through scikit-video, which includes its parameters; lower is better.

    Raises:
        WeightsAbsent: the frames are too small for its blocks.
    """
    if clips.shape[-1] < NIQE_SIDE:
        raise WeightsAbsent(f"niqe: needs frames of at least {NIQE_SIDE} pixels, these have {clips.shape[-1]}")
    skvideo = _skvideo()
    return _each(clips, lambda clip: skvideo.measure.niqe(some_frames(clip[None])[0]).mean())


def viideo(clips: np.ndarray) -> np.ndarray:
    """VIIDEO (Mittal et al. 2016) through scikit-video on all frames; lower is better.

    Raises:
        WeightsAbsent: the frames are too small for its blocks.
    """
    if clips.shape[-1] < VIIDEO_SIDE:
        raise WeightsAbsent(f"viideo: needs frames of at least {VIIDEO_SIDE} pixels, these have {clips.shape[-1]}")
    skvideo = _skvideo()
    return _each(clips, lambda clip: skvideo.measure.viideo_score(clip))


def strred(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """ST-RRED (Soundararajan & Bovik 2013) through scikit-video, frames 1..T; 0 = equal, lower is better.

    Its float32 statistics are ill-conditioned: values differ by a few percent between numpy versions.
    """
    skvideo = _skvideo()

    pairs = np.stack([real[:, 1:], synthetic[:, 1:]], axis=1)
    return _each(pairs, lambda pair: skvideo.measure.strred(pair[0], pair[1])[1])


def _skvideo() -> ModuleType:
    """Import scikit-video.

    Raises:
        WeightsAbsent: scikit-video is not installed.
    """
    try:
        from lddm.metrics.scikit_video import skvideo
    except ImportError as error:
        raise WeightsAbsent(f"the package scikit-video cannot be imported ({error})") from error
    return skvideo


def _each(videos: np.ndarray, score: Callable[[np.ndarray], float]) -> np.ndarray:
    """Evaluate a measure per video; NaN for constant videos, where these measures divide by zero."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return np.array([float(np.squeeze(score(video))) for video in videos])
