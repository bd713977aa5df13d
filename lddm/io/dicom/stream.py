"""Video streams inside DICOM files (PS3.5 8.2.5-8.2.8): their frames on the grid that Rows and Columns state."""

from __future__ import annotations

import io
from typing import BinaryIO

import numpy as np

from lddm.io.dicom.frames import PixelElement, read_parts
from lddm.io.recording import Recording, UnreadableFile
from lddm.io.video import CONTAINERS, decode_stream

STREAMS = f"{CONTAINERS},h264,hevc"  # streams without a container are allowed inside DICOM
BLOCK = 16  # pixels; codecs fill frames up to whole blocks


def read_stream(
    file: BinaryIO, element: PixelElement, name: str, limit: int, rows: int, columns: int
) -> tuple[Recording, tuple[float, float]]:
    """Decode up to `limit` frames of the stream.

    Returns:
        the recording, and how many of its pixels one of the header's grid is high and wide: not 1 where the stream has made
        its pixels square.

    Raises:
        UnreadableFile: no video, or one of another size than the header states, so that its regions and pixel spacing
            would not fit.
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
            note = f"the stream is {height} x {width}, the header states {rows} x {columns}: the rest of its blocks is cut off"
            return Recording(
                cut, streamed.times, streamed.fps, colour=streamed.colour, notes=(*streamed.notes, note)
            ), (1, 1)
    if (height, width) != (rows, columns):
        raise UnreadableFile(
            f"its stream has frames of {height} x {width} pixels, the header states {rows} x {columns}",
            "correct Rows, Columns and the regions in the header, or export it again",
        )
    return streamed, (1, 1)
