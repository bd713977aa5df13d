"""Parsing of codestream headers of compressed frames: JPEG, JPEG-LS, JPEG 2000, RLE, and video streams."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydicom import uid

JP2 = b"\x00\x00\x00\x0cjP  "  # signature box of a JP2 file
SOC_SIZ = b"\xff\x4f\xff\x51"  # first markers of a JPEG 2000 codestream
STARTS = (b"\xff\xd8", SOC_SIZ, JP2)  # first bytes of JPEG and JPEG-LS, and of JPEG 2000
LONGEST = max(map(len, STARTS))
BETWEEN = re.compile(rb"\xff\xd9\0?(?=\xff\xd8\xff|\xff\x4f\xff\x51)")  # end of one codestream, start of the next


def begins_code(head: bytes) -> bool:
    """Whether these bytes are the start of a frame; `LONGEST` bytes are enough."""
    return head.startswith(STARTS)


def boundaries(data: bytes) -> list[int]:
    """Start positions of the second and each further codestream in concatenated codestreams."""
    return [match.end() for match in BETWEEN.finditer(data)]


def codestream(code: bytes) -> bytes:
    """Strip JP2 boxes from JPEG 2000; PS3.5 A.4.4 forbids them, but some devices write them.

    pydicom skips them too, but loops forever at a box of length 0.

    Raises:
        ValueError: no codestream follows the boxes.
    """
    if not code.startswith(JP2):
        return code
    start = code.find(SOC_SIZ)
    if start < 0:
        raise ValueError("JP2 boxes without a JPEG 2000 codestream")
    return code[start:]


def stated_size(code: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and samples per pixel stated in a JPEG, JPEG-LS or JPEG 2000 codestream; None if not stated."""
    if code.startswith(SOC_SIZ) and len(code) >= 42:
        right, bottom, left, top = (int.from_bytes(code[k : k + 4], "big") for k in (8, 12, 16, 20))
        return bottom - top, right - left, int.from_bytes(code[40:42], "big")
    if not code.startswith(b"\xff\xd8"):
        return None
    for marker, content in segments(code):
        if _is_frame_header(marker) and len(content) >= 6:
            rows, columns = int.from_bytes(content[1:3], "big"), int.from_bytes(content[3:5], "big")
            return (rows, columns, content[5]) if rows and columns else None  # 0: a later marker states it
    return None


def precision(code: bytes) -> int:
    """Bits per sample from the frame header (SOF0-SOF15 or SOF55); 0 if there is none."""
    for marker, content in segments(code):
        if content and _is_frame_header(marker):
            return content[0]
    return 0


def segments(code: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of the segments of a JPEG or JPEG-LS codestream up to the first scan."""
    place = 2
    while place + 4 < len(code) and code[place] == 0xFF:
        marker = code[place + 1]
        if marker == 0xFF:  # fill byte
            place += 1
            continue
        length = int.from_bytes(code[place + 2 : place + 4], "big")
        yield marker, code[place + 4 : place + 2 + length]
        if marker == 0xDA:
            return
        place += 2 + length


def syntax_of(code: bytes) -> str:
    """Transfer syntax of a frame or stream, inferred from its first bytes; empty if unknown."""
    if code.startswith((SOC_SIZ, JP2)):
        return uid.JPEG2000
    if code.startswith(b"\xff\xd8"):
        frame_headers = {0xC0: uid.JPEGBaseline8Bit, 0xC1: uid.JPEGExtended12Bit, 0xC3: uid.JPEGLossless}
        frame_headers[0xF7] = uid.JPEGLSNearLossless
        found = (frame_headers[marker] for marker, _ in segments(code) if marker in frame_headers)
        return next(found, uid.JPEGBaseline8Bit)
    if code.startswith((b"\0\0\1\xb3", b"\0\0\1\xba")):  # sequence header, or pack header of a program stream
        return uid.MPEG2MPML
    if code[4:8] == b"ftyp" or (
        code[:1] == b"\x47" and code[188:189] == b"\x47"
    ):  # MP4, or packets of a transport stream
        return uid.MPEG4HP41
    unit = re.match(rb"\x00?\x00\x00\x01(.)", code, re.DOTALL)  # the first unit of an H.264 or HEVC stream
    if unit:
        return uid.HEVCMP51 if unit[1][0] >> 1 & 0x3F in (32, 33, 35) and unit[1][0] & 1 == 0 else uid.MPEG4HP41
    count = int.from_bytes(code[:4], "little")
    is_rle = (
        1 <= count <= 15 and int.from_bytes(code[4:8], "little") == 64
    )  # PS3.5 G.5: the first segment follows the header
    return uid.RLELossless if is_rle else ""


def _is_frame_header(marker: int) -> bool:
    return marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC))
