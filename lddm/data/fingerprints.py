"""Fingerprints of frames for the duplicate search: thumbnails, their detail, and alignment of two thumbnails.

The detail of a thumbnail is what remains after removing the local mean and equalising the local contrast. Gain,
compression and brightness hardly change it, and the border of the field of view, which all recordings of one probe share,
has little weight compared with the speckle texture.
"""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 32  # pixels of a thumbnail's side
FLAT = 6.0  # standard deviation of grey levels below which a frame is too uniform to compare
FROZEN = 1.0  # mean absolute grey-level difference up to which two frames of one video count as identical
BLUR = 2.5  # pixels: detail is finer than this
MARGIN = 3  # width in pixels of the border that is not compared, since crops and alignment leave it undefined
COARSE = 12  # side of a descriptor in pixels
# ASSUME: copies are cropped by up to 5 % per side, which steps of 2.5 % cover: the descriptor tolerates half a step.
CROPS = (0.0, 0.05, 0.1)  # share of height and width that a crop removes
LARGEST_SCALE = 1.2  # alignments with more scaling or shear would match any two images
EFFORT = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-4)


def video_hashes(frames: np.ndarray) -> np.ndarray:
    """Fingerprints of a video or image.

    Args:
        frames: uint8 (T, H, W), at the same frame rate for all compared files.

    Returns:
        Thumbnails uint8 (T, 32, 32); frames without content (black, uniform) are zero.
    """
    thumbnails = np.zeros((len(frames), SIDE, SIDE), np.uint8)
    for target, frame in zip(thumbnails, frames, strict=True):
        small = cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        if small.std() >= FLAT:
            target[:] = small
    return thumbnails


def distinct_frames(thumbnails: np.ndarray) -> np.ndarray:
    """Indices of distinct frames: without uniform frames, and one per frozen part."""
    kept: list[int] = []
    for i, frame in enumerate(thumbnails):
        if frame.any() and (not kept or cv2.norm(frame, thumbnails[kept[-1]], cv2.NORM_L1) > FROZEN * frame.size):
            kept.append(i)
    return np.array(kept, np.int64)


def detail(thumbnail: np.ndarray) -> np.ndarray:
    """Fine structure of a thumbnail with equalised contrast: float32 (32, 32)."""
    image = thumbnail.astype(np.float32)
    fine = image - cv2.GaussianBlur(image, (0, 0), BLUR)
    contrast = cv2.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), BLUR))
    return fine / (contrast + 4)


def unit_details(thumbnails: np.ndarray) -> np.ndarray:
    """Details as rows float32 (n, 26 * 26) of mean 0 and norm 1: the product of two rows is their correlation."""
    inner = slice(MARGIN, SIDE - MARGIN)
    return _unit(np.stack([detail(image)[inner, inner].ravel() for image in thumbnails]))


def descriptors(thumbnails: np.ndarray, crop: float = 0.0) -> np.ndarray:
    """Coarse details float32 (n, 12, 12) of mean 0 and norm 1, for the search.

    Args:
        thumbnails: uint8 (n, 32, 32).
        crop: share of height and width removed before computing the descriptor.
    """
    rows = []
    for image in thumbnails:
        cut = cv2.warpAffine(image, crop_warp(crop), (SIDE, SIDE), flags=cv2.WARP_INVERSE_MAP) if crop else image
        rows.append(cv2.resize(detail(cut), (COARSE, COARSE), interpolation=cv2.INTER_AREA).ravel())
    return _unit(np.stack(rows)).reshape(-1, COARSE, COARSE)


def crop_warp(crop: float) -> np.ndarray:
    """Affine map float32 (2, 3) from the pixels of a central crop to those of the whole image."""
    shift = crop * (SIDE - 1) / 2
    return np.array([[1 - crop, 0, shift], [0, 1 - crop, shift]], np.float32)


def align(reference: np.ndarray, image: np.ndarray, warp: np.ndarray) -> np.ndarray | None:
    """Affine map float32 (2, 3) that aligns `image` with `reference`, or None.

    Maximises the enhanced correlation coefficient (Evangelidis and Psarakis, IEEE TPAMI 30(10):1858-1865, 2008).

    Args:
        reference: thumbnail uint8 (32, 32).
        image: thumbnail uint8 (32, 32).
        warp: initial value, from pixels of `reference` to those of `image`.
    """
    whole = np.ones((SIDE, SIDE), np.uint8)
    try:
        _, found = cv2.findTransformECC(reference, image, warp.copy(), cv2.MOTION_AFFINE, EFFORT, whole, 5)
    except cv2.error:  # no convergence
        return None
    scales = np.linalg.svd(found[:, :2], compute_uv=False)
    return found if 1 / LARGEST_SCALE < scales[1] <= scales[0] < LARGEST_SCALE else None


def warped(thumbnails: np.ndarray, warp: np.ndarray) -> np.ndarray:
    """Thumbnails (n, 32, 32) resampled by an affine map from `align`."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.stack(
        [cv2.warpAffine(i, warp, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE) for i in thumbnails]
    )


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-6)
