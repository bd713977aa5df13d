"""Paired measures: a synthetic video against the real video with the same first frame; x0 itself is excluded.

Each returns one number per video. A sample is one of many possible futures, so a low L1 is a goal for the reconstruction but
not for a generator.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import load_file
from scipy.ndimage import uniform_filter
from torch import Tensor, nn

from lddm.data.cache import ArrayCache
from lddm.data.ranges import to_float
from lddm.metrics.features import code_of_measures, in_batches, some_frames
from lddm.metrics.weights import WeightsAbsent, find, find_one
from lddm.motion.strain import strain_maps
from lddm.nn.image_distance import Backbone, Dists, Lpips
from lddm.nn.perceptual import PerceptualLoss
from lddm.training.parallel import pick_device

logger = logging.getLogger(__name__)

Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]
OfVideos = Callable[[np.ndarray], np.ndarray]  # uint8 (n, T + 1, S, S) -> (n, ...)
SSIM_WINDOW = 7


def l1(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """Mean absolute difference of frames 1..T in units of the grey range (0..1): uint8 (n, T + 1, S, S) x 2 -> (n,)."""
    pairs = zip(real[:, 1:], synthetic[:, 1:], strict=True)
    return np.array([np.abs(a.astype(np.float32) - b).mean() / 255 for a, b in pairs])


def psnr(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB of frames 1..T, from the mean squared error of the video; at most 100."""
    pairs = zip(real[:, 1:], synthetic[:, 1:], strict=True)
    squared = np.array([np.square(a.astype(np.float32) - b).mean() for a, b in pairs])
    return np.minimum(100.0, 10 * np.log10(255**2 / np.maximum(squared, 1e-12)))


def ssim(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """Structural similarity (Wang et al. 2004, uniform 7 x 7 window, as scikit-image), mean over frames 1..T."""
    pairs = zip(real[:, 1:], synthetic[:, 1:], strict=True)
    return np.array([np.mean(_ssim(*(_Moments.of(clip) for clip in pair))) for pair in pairs])


@dataclass(frozen=True)
class _Moments:
    """Frames float64 (T, S, S) with the windowed means of their values and squares.

    scikit-image computes these moments for both frames of each pair. Here they are computed once per frame and for all frames
    of a clip in one call, with bit-identical results.
    """

    frames: np.ndarray
    mean: np.ndarray
    square: np.ndarray

    @classmethod
    def of(cls, clip: np.ndarray) -> _Moments:
        """Compute the moments of a clip uint8 (T, S, S)."""
        frames = clip.astype(np.float64)
        return cls(frames, _windowed(frames), _windowed(frames * frames))

    def part(self, which: slice) -> _Moments:
        """Select frames."""
        return _Moments(self.frames[which], self.mean[which], self.square[which])


def _windowed(frames: np.ndarray) -> np.ndarray:
    return uniform_filter(frames, size=(1, SSIM_WINDOW, SSIM_WINDOW))


def _ssim(a: _Moments, b: _Moments) -> np.ndarray:
    """SSIM frame by frame, (T,), with the sample covariance and the constants of scikit-image."""
    count = SSIM_WINDOW**2
    sample = count / (count - 1)
    first, second = ((k * 255) ** 2 for k in (0.01, 0.03))
    of_a = sample * (a.square - a.mean * a.mean)
    of_b = sample * (b.square - b.mean * b.mean)
    both = sample * (_windowed(a.frames * b.frames) - a.mean * b.mean)
    above = (2 * a.mean * b.mean + first) * (2 * both + second)
    below = (a.mean**2 + b.mean**2 + first) * (of_a + of_b + second)
    edge = (SSIM_WINDOW - 1) // 2
    return np.array([frame[edge:-edge, edge:-edge].mean() for frame in above / below])


def strain_error(real: np.ndarray, synthetic: np.ndarray, maps: OfVideos = strain_maps) -> np.ndarray:
    """Mean absolute difference of the normalised strain maps (`lddm.motion.strain.strain_maps`): (n,), dimensionless.

    It depends on the spatial distribution of strain but not on the probe force, so it is comparable between futures of one x0.

    Args:
        maps: `strain_maps`, or a cached version of it.
    """
    return np.abs(maps(real)[:, 0] - maps(synthetic)[:, 0]).mean(axis=(1, 2))


def strain_error_from(cache: ArrayCache) -> Measure:
    """`strain_error` with cached maps."""
    return partial(strain_error, maps=_read_from(cache, strain_maps))


def tssim_from(cache: ArrayCache) -> Measure:
    """`tssim` with cached similarities."""
    return partial(tssim, neighbours=_read_from(cache, ssim_of_neighbours))


def _read_from(cache: ArrayCache, measure: OfVideos) -> OfVideos:
    """Measure with an on-disk cache, since all generators share the real clips of the pairs."""
    content = f"{measure.__name__} {code_of_measures()}"
    return lambda clips: cache.get(content, clips, measure)


def perceptual() -> Measure:
    """Distance of EfficientNet-Lite0 features (the loss of stage 1) on a few frames of each video."""
    network = PerceptualLoss().to(pick_device())

    def distance(real: Tensor, synthetic: Tensor) -> Tensor:
        return torch.stack([network(a[:, None], b[:, None]) for a, b in zip(real, synthetic, strict=True)])

    return _on_frames(distance)


def lpips(weights_dir: str | Path, net: Literal["vgg", "alex"]) -> Measure:
    """LPIPS 0.1 (Zhang et al. 2018) on a few frames of each video.

    Raises:
        WeightsAbsent: backbone or heads are missing.
    """
    network = lpips_network(weights_dir, net)

    def distance(real: Tensor, synthetic: Tensor) -> Tensor:
        return torch.stack([network(_rgb(a), _rgb(b)).mean() for a, b in zip(real, synthetic, strict=True)])

    return _on_frames(distance)


def dists(weights_dir: str | Path) -> Measure:
    """DISTS (Ding et al. 2020) on a few frames of each video.

    Raises:
        WeightsAbsent: VGG16 or the weights of DISTS are missing.
    """
    network = dists_network(weights_dir)

    def distance(real: Tensor, synthetic: Tensor) -> Tensor:
        pairs = zip(real, synthetic, strict=True)
        return torch.stack([network((_rgb(a) + 1) / 2, (_rgb(b) + 1) / 2).mean() for a, b in pairs])

    return _on_frames(distance)


def tlpips(weights_dir: str | Path) -> Measure:
    """tLPIPS (Chu et al. 2020, TecoGAN): |LPIPS between neighbours - that of the real video|, mean over frames 0..T.

    Raises:
        WeightsAbsent: AlexNet or its heads are missing.
    """
    network = lpips_network(weights_dir, "alex")

    def steps(videos: Tensor) -> Tensor:  # (B, T + 1, S, S) -> (B, T)
        before, after = (_rgb(frames.flatten(0, 1)) for frames in (videos[:, :-1], videos[:, 1:]))
        return network(before, after).reshape(len(videos), -1)

    def measure(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
        def apart(pair: Tensor) -> Tensor:
            first, second = to_float(pair).unbind(dim=1)
            return (steps(first) - steps(second)).abs().mean(dim=1, keepdim=True)

        return in_batches(np.stack([real, synthetic], axis=1), 4, apart)[:, 0]

    return measure


def tssim(real: np.ndarray, synthetic: np.ndarray, neighbours: OfVideos | None = None) -> np.ndarray:
    """|SSIM between neighbouring frames - that of the real video|, mean over frames 0..T: (n,).

    ASSUME: defined by analogy with tLPIPS, since publications that report tSSIM do not define it.

    Args:
        neighbours: `ssim_of_neighbours`, or a cached version of it.
    """
    neighbours = neighbours or ssim_of_neighbours
    return np.abs(neighbours(real) - neighbours(synthetic)).mean(axis=1)


def ssim_of_neighbours(clips: np.ndarray) -> np.ndarray:
    """SSIM between neighbouring frames: uint8 (n, T + 1, S, S) -> (n, T)."""
    moments = (_Moments.of(clip) for clip in clips)
    return np.array([_ssim(each.part(slice(None, -1)), each.part(slice(1, None))) for each in moments])


class LpipsLoss(nn.Module):
    """LPIPS-VGG with gradients, as the perceptual loss of stage 1.

    Raises:
        WeightsAbsent: backbone or heads are missing.
    """

    def __init__(self, weights_dir: str | Path):
        super().__init__()
        self.network = lpips_network(weights_dir, "vgg")

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        """Two batches of frames float (N, 1, S, S) in [-1, 1] -> scalar."""
        return self.network(_rgb(fake[:, 0]), _rgb(real[:, 0])).mean()


def perceptual_loss(weights_dir: str | Path) -> nn.Module:
    """LPIPS-VGG if its weights are present, else EfficientNet-Lite0 features; the choice is logged."""
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
    """(frames, S, S) -> (frames, 3, S, S)."""
    return frames[:, None].expand(-1, 3, -1, -1)


def lpips_network(weights_dir: str | Path, net: Literal["vgg", "alex"]) -> nn.Module:
    """LPIPS 0.1: two batches of images (N, 3, H, W) in [-1, 1] -> (N,).

    Raises:
        WeightsAbsent: backbone or heads are missing.
    """
    name: Backbone = "vgg16" if net == "vgg" else "alexnet"
    heads = _tensors(f"lpips_{net}", find(f"lpips_{net}", weights_dir))
    return _built(f"lpips_{net}", lambda: Lpips(name, _backbone(name, weights_dir), heads))


def dists_network(weights_dir: str | Path) -> nn.Module:
    """DISTS: two batches of images (N, 3, H, W) in [0, 1] -> (N,).

    Raises:
        WeightsAbsent: VGG16 or the weights of DISTS are missing.
    """
    weights = _tensors("dists", find("dists", weights_dir))
    return _built("dists", lambda: Dists(_backbone("vgg16", weights_dir), weights))


def _backbone(net: Backbone, weights_dir: str | Path) -> dict[str, Tensor]:
    """State dict from the torchvision file, or from the file with its convolutions only."""
    return _tensors(*find_one((net, f"{net}_convolutions"), weights_dir))


def _tensors(name: str, path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise many types of errors
        raise WeightsAbsent(f"{name}: {path.name} cannot be read ({type(error).__name__}: {error})") from error


def _built(name: str, build: Callable[[], nn.Module]) -> nn.Module:
    try:
        return build().to(pick_device())
    except (RuntimeError, KeyError, ValueError) as error:
        raise WeightsAbsent(f"{name}: its files are of another network ({str(error).splitlines()[0][:160]})") from error
