"""Paired measures: a synthetic video against the real one that begins with the same frame; x0 itself is left out.

Each gives one number a video. A sample is one of many possible futures, so a low L1 is not the aim of a generator; it
is that of the reconstruction.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from lddm.data.ranges import to_float
from lddm.metrics.features import in_batches, some_frames
from lddm.metrics.weights import WeightsAbsent, find
from lddm.motion.strain import strain_maps
from lddm.nn.perceptual import PerceptualLoss
from lddm.training.parallel import pick_device

logger = logging.getLogger(__name__)

Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]
SSIM_WINDOW = 7


def l1(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """Mean absolute difference of frames 1..T in units of the grey range (0..1): uint8 (n, T + 1, S, S) x 2 -> (n,)."""
    pairs = zip(real[:, 1:], synthetic[:, 1:], strict=True)
    return np.array([np.abs(a.astype(np.float32) - b).mean() / 255 for a, b in pairs])


def psnr(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB of frames 1..T, by the mean squared error of the video; at most 100."""
    pairs = zip(real[:, 1:], synthetic[:, 1:], strict=True)
    squared = np.array([np.square(a.astype(np.float32) - b).mean() for a, b in pairs])
    return np.minimum(100.0, 10 * np.log10(255**2 / np.maximum(squared, 1e-12)))


def ssim(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """Structural similarity (Wang et al. 2004, uniform 7 x 7 window, scikit-image), mean over frames 1..T."""
    return np.array(
        [
            np.mean(
                [structural_similarity(a, b, win_size=SSIM_WINDOW, data_range=255) for a, b in zip(x, y, strict=True)]
            )
            for x, y in zip(real[:, 1:], synthetic[:, 1:], strict=True)
        ]
    )


def strain_error(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """Mean absolute difference of the normalised strain maps (`lddm.motion.strain.strain_maps`): (n,), no unit.

    How hard the probe pressed does not matter, where the tissue gave way does: two futures of one x0 agree in it.
    """
    return np.abs(strain_maps(real)[:, 0] - strain_maps(synthetic)[:, 0]).mean(axis=(1, 2))


def perceptual() -> Measure:
    """Distance of EfficientNet-Lite0 features (the loss of stage 1) on a few frames of each video."""
    network = PerceptualLoss().to(pick_device())

    def distance(real: Tensor, synthetic: Tensor) -> Tensor:
        return torch.stack([network(a[:, None], b[:, None]) for a, b in zip(real, synthetic, strict=True)])

    return _on_frames(distance)


def lpips(weights_dir: str | Path, net: str) -> Measure:
    """LPIPS 0.1 (Zhang et al. 2018) through pyiqa on a few frames of each video.

    Args:
        net: "vgg" or "alex".

    Raises:
        WeightsAbsent: backbone or heads are missing.
    """
    find({"vgg": "vgg16", "alex": "alexnet"}[net], weights_dir)
    find(f"lpips_{net}", weights_dir)
    network = _pyiqa({"vgg": "lpips-vgg", "alex": "lpips"}[net], weights_dir)

    def distance(real: Tensor, synthetic: Tensor) -> Tensor:
        return torch.stack([network(_rgb(a), _rgb(b)).mean() for a, b in zip(real, synthetic, strict=True)])

    return _on_frames(distance)


class LpipsLoss(nn.Module):
    """LPIPS-VGG with gradients, as the perceptual loss of stage 1.

    Raises:
        WeightsAbsent: backbone or heads are missing.
    """

    def __init__(self, weights_dir: str | Path):
        super().__init__()
        find("vgg16", weights_dir)
        find("lpips_vgg", weights_dir)
        self.network = _pyiqa("lpips-vgg", weights_dir, as_loss=True).requires_grad_(False)

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        """Two batches of frames float (N, 1, S, S) in [-1, 1] -> scalar."""
        return self.network(_rgb(fake[:, 0]), _rgb(real[:, 0])).mean()


def perceptual_loss(weights_dir: str | Path) -> nn.Module:
    """LPIPS-VGG if its weights are there, else EfficientNet-Lite0 features; the log says which."""
    try:
        return LpipsLoss(weights_dir)
    except WeightsAbsent as absent:
        logger.warning("perceptual loss in EfficientNet-Lite0 features: %s", absent)
        return PerceptualLoss()


def _on_frames(distance: Callable[[Tensor, Tensor], Tensor]) -> Measure:
    def measure(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
        both = np.stack([some_frames(real), some_frames(synthetic)], axis=1)  # (n, 2, frames, S, S)
        return in_batches(both, 8, lambda pair: distance(*to_float(pair).unbind(dim=1))[:, None])[:, 0]

    return measure


def _rgb(frames: Tensor) -> Tensor:
    """(frames, S, S) in [-1, 1] -> (frames, 3, S, S) in [0, 1], as pyiqa expects."""
    return ((frames + 1) / 2)[:, None].expand(-1, 3, -1, -1)


def _pyiqa(name: str, weights_dir: str | Path, as_loss: bool = False) -> nn.Module:
    """A pyiqa network whose files come from `weights_dir`, laid out as torch.hub does.

    Raises:
        WeightsAbsent: pyiqa is not installed, or cannot use the files.
    """
    try:
        import pyiqa
        from pyiqa.utils import download_util
    except ImportError as error:  # its licence is non-commercial, so some leave it out
        raise WeightsAbsent(f"{name}: the package pyiqa cannot be imported ({error})") from error

    before = torch.hub.get_dir(), download_util.DEFAULT_CACHE_DIR
    torch.hub.set_dir(str(weights_dir))
    download_util.DEFAULT_CACHE_DIR = str(Path(weights_dir) / "pyiqa")
    try:
        return pyiqa.create_metric(name, device=pick_device(), as_loss=as_loss)
    except Exception as error:  # damaged files raise whatever their format raises
        raise WeightsAbsent(
            f"{name}: pyiqa cannot use the files in weights_dir ({type(error).__name__}: {error})"
        ) from error
    finally:
        torch.hub.set_dir(before[0])
        download_util.DEFAULT_CACHE_DIR = before[1]
