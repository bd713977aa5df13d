"""What a compressed frame says of itself in its first bytes: JPEG, JPEG-LS, JPEG 2000, RLE, and video streams."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydicom import uid

JP2 = b"\x00\x00\x00\x0cjP  "  # the signature box of a JP2 file
SOC_SIZ = b"\xff\x4f\xff\x51"  # the markers with which a JPEG 2000 codestream begins
STARTS = (b"\xff\xd8", SOC_SIZ, JP2)  # of a JPEG or JPEG-LS, and of a JPEG 2000 code
LONGEST = max(map(len, STARTS))
BETWEEN = re.compile(rb"\xff\xd9\0?(?=\xff\xd8\xff|\xff\x4f\xff\x51)")  # one code ends, the next begins


def begins_code(head: bytes) -> bool:
    """Whether a frame begins with these bytes; `LONGEST` are enough."""
    return head.startswith(STARTS)


def boundaries(data: bytes) -> list[int]:
    """Where the second and each further code begins in codes that follow each other."""
    return [match.end() for match in BETWEEN.finditer(data)]


def codestream(code: bytes) -> bytes:
    """JPEG 2000 without its JP2 boxes, which PS3.5 A.4.4 forbids and some devices write.

    pydicom skips them, but never comes to an end at a box of length 0.

    Raises:
        ValueError: no codestream follows.
    """
    if not code.startswith(JP2):
        return code
    start = code.find(SOC_SIZ)
    if start < 0:
        raise ValueError("JP2 boxes without a JPEG 2000 codestream")
    return code[start:]


def stated_size(code: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and samples per pixel that a JPEG, JPEG-LS or JPEG 2000 code states; None where it does not."""
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
    """Bits of a sample in the frame header (SOF0-SOF15 or SOF55); 0 if there is none."""
    for marker, content in segments(code):
        if content and _is_frame_header(marker):
            return content[0]
    return 0


def segments(code: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of the segments of a JPEG or JPEG-LS code up to the first scan."""
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
    """Transfer syntax of a frame or stream, told from its first bytes; empty if they are of no known form."""
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
    )  # PS3.5 G.5: the first segment lies behind it
    return uid.RLELossless if is_rle else ""


def _is_frame_header(marker: int) -> bool:
    return marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC))
