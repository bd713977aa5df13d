"""Dense optical flow: displacement fields in pixels, channels (axial, lateral) = (down, right)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np

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
        frames: frame numbers in 1..T; None = all.
        passes: number of passes. Each further pass estimates the residual flow after warping by the previous one and adds
            it. A single pass smooths over its window and underestimates the strain at a lesion.

    Returns:
        float32 (n, len(frames), 2, H, W) in pixels.
    """
    chosen = range(1, clips.shape[1]) if frames is None else frames
    out = np.empty((len(clips), len(chosen), 2, *clips.shape[2:]), np.float32)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # fixed order of summation: bit-identical results under any load
    try:
        for i, clip in enumerate(clips):
            for j, t in enumerate(chosen):
                first, second = (clip[t], clip[0]) if direction == "backward" else (clip[0], clip[t])
                flow = _farneback(first, second)
                for _ in range(passes - 1):
                    left = _farneback(first, _moved(second, flow, cv2.INTER_CUBIC))
                    flow = left + _moved(flow, left, cv2.INTER_LINEAR)
                out[i, j] = flow.transpose(2, 0, 1)[::-1]  # OpenCV returns (right, down)
    finally:
        cv2.setNumThreads(threads)
    return out


def _farneback(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Flow float32 (H, W, 2), (right, down), such that first(p) = second(p + flow(p))."""
    farneback: Any = cv2.calcOpticalFlowFarneback  # (the type stubs do not allow None as the initial flow)
    return farneback(first, second, None, 0.5, 3, WINDOW, ITERATIONS, 5, 1.1, 0)


def _moved(image: np.ndarray, flow: np.ndarray, interpolation: int) -> np.ndarray:
    """Warped image(p + flow(p)) with replicated borders; flow float32 (H, W, 2), (right, down)."""
    rows, columns = np.indices(flow.shape[:2], dtype=np.float32)
    return cv2.remap(image, columns + flow[..., 0], rows + flow[..., 1], interpolation, borderMode=cv2.BORDER_REPLICATE)
