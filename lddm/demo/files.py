"""Conversion of uploads to stills and of videos to downloads. Nothing is stored on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from lddm.io.dicom.read import is_dicom, read_dicom
from lddm.io.dicom.write import marked
from lddm.io.image import read_image
from lddm.io.recording import Recording, UnreadableFile
from lddm.io.write_video import write_video

MAX_UPLOAD = 64 * 2**20  # bytes
MAX_SIDE = 2048  # pixels; larger stills would need minutes and gigabytes
COMMENT = "synthetic video made by LDDM; not for diagnosis"
DOWNLOADS = {"mp4": "video/mp4", "gif": "image/gif", "dcm": "application/dicom"}
SIGNATURES = {b"\x89PNG\r\n\x1a\n": ".png", b"\xff\xd8\xff": ".jpg"}


def read_still(data: bytes) -> Recording:
    """Decode an uploaded file to one grayscale still.

    PNG, JPEG and DICOM are recognised by their content. Other formats are rejected before any decoder reads them.

    Args:
        data: content of the file.

    Raises:
        UnreadableFile: another format, a damaged file, or a still that is too large or too small.
    """
    with _scratch() as folder:
        suffix = next((suffix for head, suffix in SIGNATURES.items() if data.startswith(head)), "")
        path = folder / f"the file{suffix}"
        path.write_bytes(data)
        if suffix:
            recording = read_image(path, max_frames=1)
        elif is_dicom(path):
            recording = read_dicom(path, max_frames=1)
        else:
            raise UnreadableFile("the file is not PNG, JPEG or DICOM", "export the still as PNG")
    height, width = recording.frames.shape[1:]
    if max(height, width) > MAX_SIDE:
        raise UnreadableFile(
            f"the still has {width} x {height} pixels", f"crop it, or reduce it to {MAX_SIDE} pixels per side"
        )
    if min(height, width) < 16:
        raise UnreadableFile(f"the still has {width} x {height} pixels", "use one of at least 16 pixels per side")
    return recording


def png(image: np.ndarray) -> bytes:
    """Encode an image uint8 (H, W) as PNG."""
    from io import BytesIO

    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def download(video: np.ndarray, fps: float, kind: str, spacing: tuple[float, float] | None) -> bytes:
    """Encode a video uint8 (T + 1, H, W) as a file, with the word SYNTHETIC burned into each frame.

    Args:
        kind: a key of `DOWNLOADS`.
        spacing: (row, column) pixel spacing in mm, if known.
    """
    with _scratch() as folder:
        path = folder / f"synthetic.{kind}"
        write_video(path, marked(video), fps, COMMENT, spacing)
        return path.read_bytes()


@contextmanager
def _scratch() -> Iterator[Path]:
    """Temporary folder readable by this user only, in memory if the system supports it; removed after use."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="lddm-demo-", dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)
