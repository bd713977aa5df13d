"""Sprite sheets for the player of the pages: all frames of a clip in one image."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
from PIL import Image

from lddm.report.film import MARK, REAL, Row
from lddm.report.names import label


def sheet(clip: np.ndarray) -> dict[str, Any]:
    """The frames of a clip, row by row, as a lossless WebP image without metadata.

    Args:
        clip: uint8 (T + 1, H, W).

    Returns:
        source (data URI), count (T + 1), columns of the sheet, width and height of a frame in pixels.
    """
    count, height, width = clip.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    frames = np.zeros((rows * columns, height, width), np.uint8)
    frames[:count] = clip
    tiled = frames.reshape(rows, columns, height, width).swapaxes(1, 2)  # (rows, H, columns, W)
    buffer = io.BytesIO()
    Image.fromarray(tiled.reshape(rows * height, columns * width)).save(buffer, "WEBP", lossless=True, method=4)
    source = f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return {"source": source, "count": count, "columns": columns, "width": width, "height": height}


def case(title: str, versions: Row, fps: float) -> dict[str, Any]:
    """Content of the player: the versions of one first frame side by side, with synthetic ones marked."""
    clips = [
        {"name": label(name), "mark": "" if name in REAL else MARK, **sheet(clip)} for name, clip in versions.items()
    ]
    return {"title": title, "fps": fps, "clips": clips}
