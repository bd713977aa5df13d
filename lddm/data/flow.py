"""Measured motion: optical flow, its strain, and its reduction to a few maps times coefficients.

Motion fields are in pixels, channels (axial, lateral) = (down, right).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np
from scipy.ndimage import uniform_filter1d

WINDOW, ITERATIONS = 11, 5


def optical_flow(
    clips: np.ndarray,
    direction: Literal["backward", "forward"] = "backward",
    frames: Sequence[int] | None = None,
    passes: int = 1,
) -> np.ndarray:
    """Dense optical flow between frame 0 and later frames (Farneback 2003, OpenCV).

    Args:
        clips: uint8 (n, T + 1, H, W), x0 first.
        direction: "backward": the field u_t lies on frame t and x_t(p) = x0(p + u_t(p)), ready for a backward warp;
            "forward": it lies on frame 0 and x0(p) = x_t(p + u_t(p)), ready for the tissue of x0.
        frames: which frames, from 1 to T; None is all.
        passes: a further pass measures what the last one has left between its warped frame and the other, and adds it.
            One pass smooths over its window, and tissue moved by it has less strain at a lesion than the real one.

    Returns:
        float32 (n, len(frames), 2, H, W) in pixels.
    """
    chosen = range(1, clips.shape[1]) if frames is None else frames
    out = np.empty((len(clips), len(chosen), 2, *clips.shape[2:]), np.float32)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # sums in one order: the same numbers whatever the machine does besides
    try:
        for i, clip in enumerate(clips):
            for j, t in enumerate(chosen):
                first, second = (clip[t], clip[0]) if direction == "backward" else (clip[0], clip[t])
                flow = _farneback(first, second)
                for _ in range(passes - 1):
                    left = _farneback(first, _moved(second, flow, cv2.INTER_CUBIC))
                    flow = left + _moved(flow, left, cv2.INTER_LINEAR)
                out[i, j] = flow.transpose(2, 0, 1)[::-1]  # OpenCV gives (right, down)
    finally:
        cv2.setNumThreads(threads)
    return out


def _farneback(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """float32 (H, W, 2), (right, down): first(p) = second(p + flow(p))."""
    farneback: Any = cv2.calcOpticalFlowFarneback  # (its stubs do not know that the start may be None)
    return farneback(first, second, None, 0.5, 3, WINDOW, ITERATIONS, 5, 1.1, 0)


def _moved(image: np.ndarray, flow: np.ndarray, interpolation: int) -> np.ndarray:
    """image(p + flow(p)), borders repeated; flow float32 (H, W, 2), (right, down)."""
    rows, columns = np.indices(flow.shape[:2], dtype=np.float32)
    return cv2.remap(image, columns + flow[..., 0], rows + flow[..., 1], interpolation, borderMode=cv2.BORDER_REPLICATE)


def strain_maps(clips: np.ndarray) -> np.ndarray:
    """Strain normalised by the probe's own motion, as in quasi-static elastography.

    For each pixel of x0: the least-squares slope, over time, of the axial strain d u_z / d z and of the axial
    displacement u_z on the mean axial displacement of the frame. Both do not depend on how hard the probe pressed.

    Args:
        clips: uint8 (n, T + 1, H, W).

    Returns:
        float32 (n, 2, H, W): slope of the strain (1 / pixel, times H so that it is of order 1) and of the displacement.
    """
    frames = range(2, clips.shape[1], 2)
    axial = optical_flow(clips, "forward", frames)[:, :, 0]  # (n, T', H, W)
    smooth = uniform_filter1d(uniform_filter1d(axial, 3, axis=2), 3, axis=3)
    strain = np.gradient(smooth, axis=2)
    pressed = axial.mean(axis=(2, 3))  # (n, T')
    # A clip in which the probe hardly moves has no slope: the ridge keeps noise from blowing up (0.05 px^2 a frame).
    norm = (pressed**2).sum(axis=1) + 0.05 * pressed.shape[1]
    slopes = [np.einsum("nt,nthw->nhw", pressed, field) / norm[:, None, None] for field in (strain, axial)]
    slopes[0] *= clips.shape[2]
    return np.stack(slopes, axis=1).astype(np.float32)


def svd_motion(flow: np.ndarray, rank: int, map_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Reduce motion to maps times temporal coefficients: u_t(p) = sum_k a_k(t) B_k(p).

    Singular value decomposition of each clip over time x space at the resolution of the maps, in the order of the
    singular values. Its signs are arbitrary; they are fixed so that the mean axial motion of each map is positive (down).
    Where that is nearly zero, the mean cube of the axial motion is positive, or, for lateral motion, the mean of the
    coefficients. All three are the same for the mirrored clip, so that the code of a mirrored clip is the mirrored code.

    Args:
        flow: float32 (n, T, 2, H, W) in pixels.
        rank: K; maps beyond the rank of the flow are zero.
        map_size: height and width of the maps.

    Returns:
        Maps float32 (n, K, 2, h, w) in pixels of the full frame, and coefficients float32 (n, K, T) of unit root mean
        square over time.
    """
    n, frames = flow.shape[:2]
    small = _fit_maps(flow, map_size)  # (n, T, 2, h, w)
    matrix = small.reshape(n, frames, -1)
    # Eigenvectors of the T x T Gram matrix are the left singular vectors; far cheaper than a full decomposition.
    _, vectors = np.linalg.eigh(matrix @ matrix.transpose(0, 2, 1))
    if rank > frames:
        raise ValueError(f"rank {rank} exceeds the {frames} frames of a clip")
    coefficients = vectors[:, :, ::-1][:, :, :rank].transpose(0, 2, 1) * np.sqrt(frames)  # (n, K, T), unit RMS
    maps = (coefficients @ matrix / frames).reshape(n, rank, 2, map_size, map_size)
    sign = _signs(maps, coefficients)
    return (maps * sign[..., None, None, None]).astype(np.float32), (coefficients * sign[..., None]).astype(np.float32)


def _signs(maps: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """+1 or -1 (n, K) for maps (n, K, 2, h, w) and coefficients (n, K, T)."""
    axial = maps[:, :, 0]
    mean, size = axial.mean(axis=(2, 3)), np.sqrt((maps**2).mean(axis=(2, 3, 4)))
    lateral = np.sqrt((axial**2).mean(axis=(2, 3))) <= 0.1 * size
    otherwise = np.where(lateral, coefficients.mean(axis=2), (axial**3).mean(axis=(2, 3)))
    return np.where(np.where(np.abs(mean) > 0.1 * size, mean, otherwise) < 0, -1.0, 1.0)


@functools.cache
def _shrinking(height: int, size: int) -> np.ndarray:
    """Least-squares inverse of bicubic enlargement from `size` to `height` values: float64 (size, height)."""
    enlarging = cv2.resize(np.eye(size), (size, height), interpolation=cv2.INTER_CUBIC)  # as torch's, (height, size)
    return np.linalg.pinv(enlarging)


def _fit_maps(flow: np.ndarray, size: int) -> np.ndarray:
    """The maps (..., size, size) that come nearest to the flow (..., H, W) once they are enlarged again.

    Means over cells, the usual way to shrink, are smoothed once more by enlarging and lose local strain.
    """
    rows, columns = (_shrinking(length, size) for length in flow.shape[-2:])
    return rows @ flow.astype(np.float64) @ columns.T
