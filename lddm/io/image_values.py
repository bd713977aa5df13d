"""Grey values of a frame opened by Pillow, at full bit depth: orientation, transparency, 16-bit colour."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from lddm.io.recording import UnreadableFile, is_coloured, to_eight_bits, upright

ORIENTATION, PHOTOMETRIC, BITS, PLANES = 0x0112, 262, 258, 284  # EXIF and TIFF tags
RED, GREEN, BLUE = 19595, 38470, 7471  # ITU-R BT.601 in 1/65536, as Pillow rounds it
UPPER_BYTE = "only the upper 8 bits of 16-bit colour are read"


def grey_values(image: Image.Image, path: Path, notes: list[str]) -> tuple[np.ndarray, bool]:
    """The current frame, upright, and whether it is coloured.

    Args:
        image: an open file, positioned at the frame and not yet decoded.
        path: path of the file.
        notes: extended by a note if the frame could not be read at full bit depth.

    Returns:
        (H, W) as stored: uint8, uint16, float32, or float64 for 32-bit integers.

    Raises:
        UnreadableFile: 16-bit colour in separate planes. Pillow's own exceptions for damaged files are passed on.
    """
    if _is_deep_colour(image, path):
        values = _deep_colour(image, path)
        if values is not None:
            grey, colour = _grey_of_deep(values)
            return upright(grey[None], orientation(image))[0], colour
        if UPPER_BYTE not in notes:
            notes.append(UPPER_BYTE)
    values = _as_stored(image)
    plain = image.mode in ("L", "I", "F", "1") or image.mode.startswith("I;")
    return values, not plain and is_coloured(np.asarray(image.convert("RGB")))


def eight_bits(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Convert all frames (T, H, W) to uint8 with one scale; returns also notes on assumptions."""
    if values.dtype == np.uint8:
        return values, []
    if values.dtype == np.uint16:
        scaled, note = to_eight_bits(values)
        return scaled, [note] if note else []
    low, high = np.inf, -np.inf
    whole = True
    for frame in values:  # one at a time, since all of them in floating point may not fit in memory
        finite = frame[np.isfinite(frame)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
        whole = whole and finite.size == frame.size and bool((frame == np.rint(frame)).all())
    low, high = (low, high) if low <= high else (0.0, 0.0)
    if whole and low >= 0 and 1 < high < 65536:
        scaled, note = to_eight_bits(values)
        return scaled, [note] if note else []
    stretched = np.empty(values.shape, np.uint8)
    for target, frame in zip(stretched, values, strict=True):
        clean = np.nan_to_num(frame.astype(np.float64), nan=low, posinf=high, neginf=low)
        target[:] = 255 * ((clean - low) / max(high - low, 1e-9))
    return stretched, ["floating-point values scaled from minimum to maximum"]


def orientation(image: Image.Image) -> int:
    """The stated orientation, 1 to 8; 1 if it is missing or invalid."""
    try:
        stated = int(image.getexif().get(ORIENTATION, 1))
    except (TypeError, ValueError):
        return 1
    return stated if 1 <= stated <= 8 else 1


def _as_stored(image: Image.Image) -> np.ndarray:
    turn = orientation(image)
    if image.format == "TIFF" and turn >= 5 and image.tag_v2.get(259, 1) == 1:  # type: ignore[attr-defined]
        return _uncompressed_tiff(image, turn)
    turned = ImageOps.exif_transpose(image)  # no-op for a TIFF, which Pillow has already rotated
    if image.mode.startswith("I;16"):
        return _white_is_zero(image, np.asarray(turned).astype(np.uint16))
    if image.mode.startswith("F"):
        return np.asarray(turned, dtype=np.float32)
    if image.mode.startswith("I"):
        return np.asarray(turned, dtype=np.float64)
    return np.asarray(_composed(turned))


def _is_deep_colour(image: Image.Image, path: Path) -> bool:
    """Whether Pillow keeps only the upper 8 of 16 bits: colour, or grey with transparency."""
    if image.mode.startswith(("I", "F")):
        return False
    if image.format == "TIFF":
        return 16 in np.ravel(image.tag_v2.get(BITS, 8))  # type: ignore[attr-defined]
    if image.format != "PNG":
        return False
    with path.open("rb") as file:
        return file.read(25)[24:] == b"\x10"  # the bit depth in its header


def _deep_colour(image: Image.Image, path: Path) -> np.ndarray | None:
    """uint16 (H, W, 3 or 4) in the order blue, green, red, alpha; None if OpenCV cannot read it."""
    if image.format == "TIFF":
        if image.tag_v2.get(PLANES) == 2:  # type: ignore[attr-defined]
            raise UnreadableFile(  # Pillow and OpenCV scramble it silently
                f"{path.name} contains 16-bit colour in separate planes", "save it with interleaved colours, or as grey"
            )
        if image.tag_v2.get(PHOTOMETRIC) != 2:  # type: ignore[attr-defined]
            return None
        _, pages = cv2.imreadmulti(str(path), start=image.tell(), count=1, flags=cv2.IMREAD_UNCHANGED)
        values = pages[0] if pages else None
    elif getattr(image, "n_frames", 1) > 1:
        return None  # OpenCV reads the first frame of an APNG
    else:
        values = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    usable = values is not None and values.dtype == np.uint16 and values.ndim == 3 and values.shape[-1] in (3, 4)
    return values if usable else None


def _grey_of_deep(values: np.ndarray) -> tuple[np.ndarray, bool]:
    blue, green, red = (values[..., channel].astype(np.uint32) for channel in range(3))
    grey = (red * RED + green * GREEN + blue * BLUE + 0x8000) >> 16
    if values.shape[-1] == 4:
        grey = grey * values[..., 3].astype(np.uint64) // 65535
    shown = values[..., 2::-1].astype(np.float32) * (255 / max(1, int(values[..., :3].max())))
    return grey.astype(np.uint16), is_coloured(shown.astype(np.uint8))


def _uncompressed_tiff(image: Image.Image, turn: int) -> np.ndarray:
    """Decode as stored, then rotate: Pillow (13.0) scrambles uncompressed TIFF files of orientation 5 to 8."""
    image.tag_v2[ORIENTATION] = image.getexif()[ORIENTATION] = 1  # type: ignore[attr-defined]
    image._size = image.size[::-1]
    values = np.asarray(_composed(image)) if not image.mode.startswith(("I", "F")) else np.asarray(image)
    values = _white_is_zero(image, values) if image.mode.startswith("I;16") else values
    return upright(values[None], turn)[0]


def _white_is_zero(image: Image.Image, values: np.ndarray) -> np.ndarray:
    """Invert 16-bit values of a TIFF in which 0 is white; Pillow does this only for 8 bits."""
    tags = getattr(image, "tag_v2", {})
    if image.format != "TIFF" or tags.get(PHOTOMETRIC) != 0:
        return values
    bits = int(np.ravel(tags.get(BITS, 16))[0])
    return (2**bits - 1 - values.astype(np.int32)).clip(0, 65535).astype(np.uint16)


def _composed(image: Image.Image) -> Image.Image:
    """Grey image with transparent pixels composited on black."""
    if image.mode in ("RGBA", "LA", "P", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    return image.convert("L")
