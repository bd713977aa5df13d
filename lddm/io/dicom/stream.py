"""Video streams in DICOM files (PS3.5 8.2.5-8.2.8), decoded to the grid stated by Rows and Columns."""

from __future__ import annotations

import io
from typing import BinaryIO

import numpy as np

from lddm.io.dicom.frames import PixelElement, read_parts
from lddm.io.recording import Recording, UnreadableFile
from lddm.io.video import CONTAINERS, decode_stream

STREAMS = f"{CONTAINERS},h264,hevc"  # streams without a container are allowed inside DICOM
BLOCK = 16  # pixels; codecs pad frames to whole blocks


def read_stream(
    file: BinaryIO, element: PixelElement, name: str, limit: int, rows: int, columns: int
) -> tuple[Recording, tuple[float, float]]:
    """Decode up to `limit` frames of the stream.

    Returns:
        the recording, and the height and width of one pixel of the header's grid in its pixels, which differs from 1 if the
        pixels of the stream were made square.

    Raises:
        UnreadableFile: no video, or a size other than in the header, so that its regions and pixel spacing would be wrong.
    """
    streamed = decode_stream(io.BytesIO(read_parts(file, element.parts[0])), name, limit, STREAMS)
    frames, aspect = streamed.frames, streamed.aspect
    height, width = frames.shape[1:]
    if streamed.orientation == 1 and (height, width) != (rows, columns):
        square = (round(rows * max(aspect, 1)), round(columns / min(aspect, 1)))
        if abs(height - square[0]) <= 1 and abs(width - square[1]) <= 1:
            return streamed, (height / rows, width / columns)
        filled = (-rows % BLOCK + rows, -columns % BLOCK + columns)
        if height in (rows, filled[0]) and width in (columns, filled[1]):
            cut = np.ascontiguousarray(frames[:, :rows, :columns])
            note = (
                f"the stream is {height} x {width}, the header states {rows} x {columns}: padding of its blocks cropped"
            )
            return Recording(
                cut, streamed.times, streamed.fps, colour=streamed.colour, notes=(*streamed.notes, note)
            ), (1, 1)
    if (height, width) != (rows, columns):
        raise UnreadableFile(
            f"the stream has frames of {height} x {width} pixels, but the header states {rows} x {columns}",
            "correct Rows, Columns and the regions in the header, or export it again",
        )
    return streamed, (1, 1)
