"""Image files to recordings through Pillow: orientation, bit depth, and files of several frames."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from lddm.io.frame_times import frame_times
from lddm.io.recording import (
    MAX_BYTES,
    FrameBuffer,
    Recording,
    UnreadableFile,
    check_size,
    is_coloured,
    to_eight_bits,
    upright,
    without_folder,
)

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".apng", ".jp2"}
MOVING = {"PNG", "WEBP", "TIFF", "GIF"}  # formats whose frames are a sequence; those of MPO and ICO are other sizes
ORIENTATION, PHOTOMETRIC, BITS = 0x0112, 262, 258  # EXIF and TIFF tags
ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    OverflowError,
    ZeroDivisionError,
    RuntimeError,
    MemoryError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)  # what Pillow raises at damage


def decode_image(path: str | Path) -> np.ndarray:
    """Decode the first frame of an image file to grayscale: uint8 (H, W), upright.

    Raises:
        UnreadableFile: no image, or one of absurd size.
    """
    return read_image(path, max_frames=1).frames[0]


def frame_count(path: str | Path) -> int:
    """Number of frames of an image file: 1 for a still, more for a multi-page TIFF, an APNG or an animated WebP.

    Raises:
        UnreadableFile: no image.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return len(_pages(image))
    except ERRORS as error:
        raise UnreadableFile(
            f"{path.name} cannot be decoded: {without_folder(error, path)}", "check that the file is a whole image"
        ) from None


def read_image(path: str | Path, max_frames: int = 2000) -> Recording:
    """Decode an image file, of one frame or several, to grayscale.

    The EXIF or TIFF orientation is applied, transparent pixels become black, and values of more than 8 bits are scaled
    by `to_eight_bits`; floats are stretched from their lowest to their highest value.

    Args:
        path: a file that Pillow reads.
        max_frames: frames that are read at the most.

    Raises:
        UnreadableFile: no image, or one of absurd size.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return _read(image, path, max_frames)
    except ERRORS as error:
        raise UnreadableFile(
            f"{path.name} cannot be decoded: {without_folder(error, path)}", "check that the file is a whole image"
        ) from error


def _read(image: Image.Image, path: Path, max_frames: int) -> Recording:
    check_size(path.name, *image.size)
    pages, notes = _pages(image), []
    room = max(1, MAX_BYTES // (image.width * image.height))
    if max_frames > 1 and len(pages) > min(max_frames, room):
        notes.append(f"cut: only the first {min(max_frames, room)} of {len(pages)} frames are read")
    pages = pages[: min(max_frames, room)]
    orientation = _orientation(image)
    frames = FrameBuffer()
    durations: list[float | None] = []
    colour, resized = False, 0
    for page in pages:
        try:
            image.seek(page)
            check_size(path.name, *image.size)
            values = _values(image, path)
        except ERRORS:
            if not len(frames):
                raise
            notes.append(f"damaged: breaks off after {len(frames)} frames")
            break
        if len(frames) % 16 == 0 and image.mode not in ("L", "I", "F", "1") and not image.mode.startswith("I;"):
            colour = colour or is_coloured(np.asarray(image.convert("RGB")))
        if frames.append(values):
            durations.append(_duration(image))
        else:
            resized += 1
    if resized:
        notes.append(f"{resized} pages of another size or type dropped")
    values, said = _eight_bits(frames.array())
    notes += said
    if orientation != 1:
        notes.append(f"rotated or mirrored by its EXIF orientation {orientation}")
    if len(values) == 1:
        return Recording(values, np.zeros(1), orientation=orientation, colour=colour, notes=tuple(notes))
    kept, times, fps, told = frame_times(_starts(durations), _imagej_rate(image), resolution=0.001)
    return Recording(values[kept], times, fps, orientation=orientation, colour=colour, notes=(*notes, *told))


def _pages(image: Image.Image) -> list[int]:
    """The frames of an image file that belong to its sequence."""
    count = getattr(image, "n_frames", 1) if image.format in MOVING else 1
    first = 1 if getattr(image, "default_image", False) else 0  # APNG: an image for viewers without animation
    return list(range(first, count)) if count > first + 1 else [0]


def _values(image: Image.Image, path: Path) -> np.ndarray:
    """Grey values (H, W) of the current frame, upright: uint8, uint16, int32 or float64 as stored."""
    orientation = _orientation(image)
    if image.format == "TIFF" and orientation >= 5 and image.tag_v2.get(259, 1) == 1:  # type: ignore[attr-defined]
        return _uncompressed_tiff(image, orientation)
    turned = ImageOps.exif_transpose(image)  # Pillow has turned a TIFF by itself, and then says 1 here
    if image.mode.startswith("I;16"):
        return _white_is_zero(image, np.asarray(turned).astype(np.uint16))
    if image.mode.startswith(("I", "F")):
        return np.asarray(turned, dtype=np.float64)
    return np.asarray(_composed(turned))


def _uncompressed_tiff(image: Image.Image, orientation: int) -> np.ndarray:
    """Pillow (13.0) scrambles uncompressed TIFF files of orientation 5 to 8: decode as stored, then turn."""
    image.tag_v2[ORIENTATION] = image.getexif()[ORIENTATION] = 1  # type: ignore[attr-defined]
    image._size = image.size[::-1]
    values = np.asarray(_composed(image)) if not image.mode.startswith(("I", "F")) else np.asarray(image)
    values = _white_is_zero(image, values) if image.mode.startswith("I;16") else values
    return upright(values[None], orientation)[0]


def _white_is_zero(image: Image.Image, values: np.ndarray) -> np.ndarray:
    """Invert 16-bit values of a TIFF in which 0 is white, which Pillow does for 8 bits only."""
    tags = getattr(image, "tag_v2", {})
    if image.format != "TIFF" or tags.get(PHOTOMETRIC) != 0:
        return values
    bits = int(np.ravel(tags.get(BITS, 16))[0])
    return (2**bits - 1 - values.astype(np.int32)).clip(0, 65535).astype(np.uint16)


def _orientation(image: Image.Image) -> int:
    """The stated orientation, 1 to 8; 1 where it is missing or no such number."""
    try:
        stated = int(image.getexif().get(ORIENTATION, 1))
    except (TypeError, ValueError):
        return 1
    return stated if 1 <= stated <= 8 else 1


def _composed(image: Image.Image) -> Image.Image:
    """Grey image with transparent pixels on black."""
    if image.mode in ("RGBA", "LA", "P", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    return image.convert("L")


def _eight_bits(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """uint8 of all frames (T, H, W) with one scale, and what was assumed."""
    if values.dtype == np.uint8:
        return values, []
    if values.dtype == np.uint16:
        scaled, note = to_eight_bits(values)
        return scaled, [note] if note else []
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if finite.size == values.size and low >= 0 and 1 < high < 65536 and (values == np.rint(values)).all():
        scaled, note = to_eight_bits(values)
        return scaled, [note] if note else []
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    stretched = (255 * ((values - low) / max(high - low, 1e-9))).astype(np.uint8)
    return stretched, ["floating-point values stretched from the lowest to the highest"]


def _duration(image: Image.Image) -> float | None:
    """How long the current frame is shown, in s; shorter than 20 ms counts as 100 ms, as browsers show it."""
    stated = image.info.get("duration")
    if image.format == "TIFF" or stated is None:
        return None
    return float(stated) / 1000 if float(stated) >= 20 else 0.1


def _starts(durations: list[float | None]) -> list[float | None]:
    """Start of each frame in s from the durations of those before; None if the file states none."""
    if any(duration is None for duration in durations):
        return [None] * len(durations)
    return [0.0, *np.cumsum(np.array(durations[:-1], dtype=np.float64)).tolist()]


def _imagej_rate(image: Image.Image) -> float | None:
    """Frame rate in Hz that ImageJ keeps in a TIFF's description."""
    text = str(getattr(image, "tag_v2", {}).get(270, ""))
    found = re.search(r"^(fps|finterval)=([0-9.eE+-]+)$", text, re.MULTILINE) if text.startswith("ImageJ") else None
    if found is None:
        return None
    try:
        value = float(found[2])
        return value if found[1] == "fps" else 1 / value
    except (ValueError, ZeroDivisionError):
        return None
