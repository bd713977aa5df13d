"""Reader of image files with Pillow: orientation, bit depth, and files with several frames."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from lddm.io.frame_times import frame_times
from lddm.io.image_values import eight_bits, grey_values, orientation
from lddm.io.recording import MAX_BYTES, FrameBuffer, Recording, UnreadableFile, check_size, without_folder
from lddm.io.signatures import signature
from lddm.io.tiff_sequence import Stated, images_in_a_row, stated_sequence

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".apng", ".jp2"}
MOVING = {"PNG", "WEBP", "TIFF", "GIF"}  # formats whose frames are a sequence; in MPO and ICO they are other sizes
SHORTEST = 0.01  # s; durations up to this count as 100 ms in GIF and WebP, as in browsers
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
)  # exceptions that Pillow raises for damaged files


def decode_image(path: str | Path) -> np.ndarray:
    """Decode the first frame of an image file to grayscale: uint8 (H, W), upright.

    Raises:
        UnreadableFile: not an image, or an absurd size.
    """
    return read_image(path, max_frames=1).frames[0]


def frame_count(path: str | Path) -> int:
    """Number of frames of an image file: 1 for a still, more for a multi-page TIFF, an APNG or an animated WebP.

    Raises:
        UnreadableFile: not an image.
    """
    path = Path(path)
    with _opened(path) as image:
        return len(_pages(image, stated_sequence(image, path.name)))


def is_moving_gif(path: Path) -> bool:
    """Whether a GIF has more than one frame; True for files that are not GIF, so that the video reader reports the reason."""
    try:
        with _opened(path) as image:
            return image.format != "GIF" or bool(getattr(image, "is_animated", False))
    except UnreadableFile:
        return True


def read_image(path: str | Path, max_frames: int = 2000) -> Recording:
    """Decode an image file with one or several frames to grayscale.

    The EXIF or TIFF orientation is applied, transparent pixels become black, and values of more than 8 bits are scaled
    by `to_eight_bits`; floating-point values are scaled from minimum to maximum.

    Args:
        path: a file that Pillow can read.
        max_frames: maximum number of frames to read.

    Raises:
        UnreadableFile: not an image, or an absurd size.
    """
    path = Path(path)
    with _opened(path) as image:
        return _read(image, path, max_frames)


def read_values(path: Path) -> tuple[np.ndarray, bool, list[str]]:
    """The first frame of an image file at full bit depth, for frames that are scaled together.

    Returns:
        grey values (H, W) as from `grey_values`, whether the frame is coloured, and notes.

    Raises:
        UnreadableFile: not an image, or an absurd size.
    """
    with _opened(path) as image:
        check_size(path.name, *image.size)
        notes: list[str] = []
        return *grey_values(image, path, notes), notes


def image_size(path: Path) -> tuple[int, int]:
    """Stored width and height, from the header of an image file.

    Raises:
        UnreadableFile: not an image.
    """
    with _opened(path) as image:
        return image.size


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image; convert Pillow's exceptions for damaged files to UnreadableFile."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                yield image
    except UnidentifiedImageError as error:
        what, hint = signature(path) or ("not an image that Pillow can read", "check that the file is a complete image")
        raise UnreadableFile(f"{path.name} cannot be decoded: it is {what}", hint) from error
    except ERRORS as error:
        raise UnreadableFile(
            f"{path.name} cannot be decoded: {without_folder(error, path)}", "check that the file is a complete image"
        ) from error


def _read(image: Image.Image, path: Path, max_frames: int) -> Recording:
    check_size(path.name, *image.size)
    stated = stated_sequence(image, path.name)
    notes = list(stated.notes)
    room = max(1, MAX_BYTES // (image.width * image.height))
    pages, turn = _pages(image, stated), orientation(image)
    if max_frames > 1 and len(pages) > min(max_frames, room):
        notes.append(f"cut: only the first {min(max_frames, room)} of {len(pages)} frames are read")
    pages = pages[: min(max_frames, room)]
    durations: list[float | None] = []
    row = images_in_a_row(image, path, pages[-1] + 1) if _images(image) == 1 < stated.images() else None
    if row is None:
        values, colour = _decoded(image, path, [page for page in pages if page < _images(image)], durations, notes)
        if len(pages) > _images(image):
            notes.append(f"the description states {stated.images()} images, the file contains {_images(image)}")
    else:
        there = [page for page in pages if page < len(row)]
        values, colour, durations = row[there], False, [None] * len(there)
        if len(there) < len(pages):
            notes.append(f"damaged: breaks off after {len(there)} frames")
    values, said = eight_bits(values)
    notes += said
    if turn != 1:
        notes.append(f"rotated or mirrored by its EXIF orientation {turn}")
    if len(values) == 1:
        return Recording(values, np.zeros(1), orientation=turn, colour=colour, notes=tuple(notes))
    starts = _starts(durations, image.format, notes)
    kept, times, fps, told = frame_times(starts, stated.rate, resolution=0.001)
    return Recording(values[kept], times, fps, orientation=turn, colour=colour, notes=(*notes, *told))


def _decoded(
    image: Image.Image, path: Path, pages: list[int], durations: list[float | None], notes: list[str]
) -> tuple[np.ndarray, bool]:
    """Decode pages to (T, H, W) as stored; returns also whether they are coloured, and extends `durations` and `notes`."""
    frames = FrameBuffer()
    colour, resized = False, 0
    for page in pages:
        try:
            image.seek(page)
            check_size(path.name, *image.size)
            values, coloured = grey_values(image, path, notes)
        except ERRORS:
            if not len(frames):
                raise
            notes.append(f"damaged: breaks off after {len(frames)} frames")
            break
        colour = colour or coloured
        if frames.append_deep(values):
            durations.append(_duration(image))
        else:
            resized += 1
    if resized:
        notes.append(f"{resized} pages of another size or type dropped")
    return frames.array(), colour


def _images(image: Image.Image) -> int:
    """Number of images that Pillow finds in a file."""
    return getattr(image, "n_frames", 1) if image.format in MOVING else 1


def _pages(image: Image.Image, stated: Stated) -> list[int]:
    """Positions of the images that belong to the sequence; in a TIFF they may be stored behind a single page."""
    count = _images(image)
    if stated.length("C") > 1 or count == 1 < stated.images():
        return stated.moments()
    first = 1 if getattr(image, "default_image", False) else 0  # APNG: a fallback image for viewers without animation
    return list(range(first, count)) if count > first + 1 else [0]


def _duration(image: Image.Image) -> float | None:
    """Stated duration of the current frame in s; None if not stated."""
    stated = image.info.get("duration")
    return None if image.format == "TIFF" or stated is None else float(stated) / 1000


def _starts(durations: list[float | None], kind: str | None, notes: list[str]) -> list[float | None]:
    """Start of each frame in s, from the durations of the previous frames; None if the file states none.

    In APNG only a duration of 0 is left to the viewer; in GIF and WebP short durations are, too.
    """
    if any(duration is None for duration in durations):
        return [None] * len(durations)
    steps = np.array(durations[:-1], dtype=np.float64)
    short = steps <= (0 if kind == "PNG" else SHORTEST)
    if short.any():
        notes.append(f"{int(short.sum())} durations of at most 10 ms count as 100 ms, as in browsers")
    return [0.0, *np.cumsum(np.where(short, 0.1, steps)).tolist()]
