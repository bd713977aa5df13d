"""Detection of truncated video files; many demuxers ignore a missing end without an error."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
LIVE = 1  # flag of a streamed ASF, whose sizes are meaningless
BOXES = {b"ftyp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"uuid", b"sidx", b"meta", b"mfra"}
HEAD, TAIL = 65536, 4096  # bytes that are inspected


def ends_early(file: BinaryIO) -> bool:
    """Whether bytes at the end are missing, according to the sizes and end marks of AVI, ASF, GIF, MP4 and MPEG-TS.

    Args:
        file: an open file; its position is restored.
    """
    place = file.tell()
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(HEAD)
        if head[:4] == b"RIFF":
            return (
                0 < int.from_bytes(head[4:8], "little") < 2**32 - 1 and size < int.from_bytes(head[4:8], "little") + 8
            )
        if head[:16] == ASF:
            return _asf(head, size)
        if head[:3] == b"GIF":
            file.seek(max(0, size - TAIL))
            return not file.read().rstrip(b"\0\r\n ").endswith(b";")
        if head[:1] == b"G" == head[188:189]:
            return size % 188 != 0
        if head[4:5] == b"G" == head[196:197]:  # M2TS
            return size % 192 != 0
        return head[4:8] in BOXES and _boxes(file, size)
    finally:
        file.seek(place)


def _asf(head: bytes, size: int) -> bool:
    place = head.find(ASF_PROPERTIES)
    if not 0 <= place <= len(head) - 92:
        return False
    stated, flags = struct.unpack_from("<Q", head, place + 40)[0], struct.unpack_from("<I", head, place + 88)[0]
    return size < stated and not flags & LIVE


def _boxes(file: BinaryIO, size: int) -> bool:
    """Whether a top-level box of an MP4 or QuickTime file extends beyond the end of the file."""
    place = 0
    while place + 16 <= size:
        file.seek(place)
        length, kind, long = struct.unpack(">I4sQ", file.read(16))
        length = long if length == 1 else length
        if length < 8 or kind not in BOXES:  # 0 = to the end of the file; unknown kinds may be appended data
            return False
        place += length
    return place > size
