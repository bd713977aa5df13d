"""Location of the encoded frames in a DICOM file, even if the header is wrong or the file is truncated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from pydicom import uid
from pydicom.dataset import Dataset

from lddm.io.dicom.attributes import complete
from lddm.io.dicom.codes import LONGEST, begins_code, boundaries, syntax_of
from lddm.io.recording import UnreadableFile

ITEM, DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
UNDEFINED = 0xFFFFFFFF
KEYWORDS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
LONG = {b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN"}  # VRs with a four-byte length after two reserved bytes
VIDEO = {
    syntax
    for number in (100, 101, 102, 103, 104, 105, 106, 107, 108)
    for syntax in (f"1.2.840.10008.1.2.4.{number}", f"1.2.840.10008.1.2.4.{number}.1")
}  # MPEG-2, MPEG-4 / H.264 and HEVC: all frames are one stream (PS3.5 8.2.5-8.2.8)


@dataclass(frozen=True)
class PixelElement:
    """Location of the pixel data.

    Attributes:
        keyword: PixelData, FloatPixelData or DoubleFloatPixelData.
        syntax: UID of the transfer syntax; inferred from the data if the file does not state it.
        start: position of the value in the file.
        end: position after the value, at most the end of the file.
        parts: for each frame the (position, length) of its pieces.
        stated: NumberOfFrames, or 0 if it is missing.
        cut: whether the file ends before the last frame does.
        words: whether the value is a sequence of 16-bit words (VR OW), which are swapped in big endian.
        notes: assumptions.
    """

    keyword: str
    syntax: str
    start: int
    end: int
    parts: list[list[tuple[int, int]]]
    stated: int
    cut: bool
    words: bool = False
    notes: tuple[str, ...] = ()


def locate(file: BinaryIO, header: Dataset, stated_syntax: str) -> PixelElement:
    """Find the frames of a file that pydicom has read up to its pixel data, and complete its attributes.

    Raises:
        UnreadableFile: no pixel data, or frames that cannot be separated.
    """
    tag_at = file.tell()
    size = file.seek(0, 2)
    file.seek(tag_at)
    implicit, little = header.original_encoding
    order = "little" if little is not False else "big"
    head = file.read(12)
    tag = (int.from_bytes(head[:2], order) << 16) | int.from_bytes(head[2:4], order)  # type: ignore[arg-type]
    if len(head) < 8 or tag not in KEYWORDS:
        raise UnreadableFile("the file contains no pixel data", "check that the file is an image")
    explicit = (
        head[4:6] in LONG and head[6:8] == b"\0\0"
    )  # as implicit VR this would be an odd length, which is not allowed
    if not explicit:
        start, length = tag_at + 8, int.from_bytes(head[4:8], order)  # type: ignore[arg-type]
    else:
        start, length = tag_at + 12, int.from_bytes(head[8:12], order)  # type: ignore[arg-type]
    encapsulated = length == UNDEFINED
    end = size if encapsulated else min(start + length, size)
    stated = _whole_number(header.get("NumberOfFrames"))
    syntax = stated_syntax
    if encapsulated and (not syntax or not uid.UID(syntax).is_encapsulated):
        syntax = _told_by_code(file, start, end)
    elif not syntax:
        syntax = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
        syntax = syntax if little is not False else uid.ExplicitVRBigEndian
    notes = complete(header, encapsulated) if KEYWORDS[tag] == "PixelData" else ()
    if syntax in VIDEO or uid.UID(syntax).is_encapsulated:
        pieces, table, cut = _fragments(file, start, end)
        table = table or _extended_table(header)
        parts = [pieces] if syntax in VIDEO else _frames(file, pieces, table, syntax, stated)
        if syntax not in VIDEO and len(parts) < stated:
            held = len(parts)
            parts = _split(file, parts, stated)
            notes = (*notes, "a fragment contains several frames: separated") if len(parts) > held else notes
    else:
        each = frame_length(header, KEYWORDS[tag])
        count = (end - start) // each
        if int(header.BitsAllocated) == 1 and int(header.Rows) * int(header.Columns) % 8 and stated > 1:
            raise UnreadableFile(
                "frames of 1 bit per pixel do not end at a byte boundary", "convert it to 8 bits per pixel"
            )
        parts = [[(start + place * each, each)] for place in range(count)]
        cut = not encapsulated and start + length > size
    words = explicit and head[4:6] == b"OW"
    return PixelElement(KEYWORDS[tag], syntax, start, end, parts, stated, cut, words, notes)


def read_parts(file: BinaryIO, parts: list[tuple[int, int]], words_from: int | None = None) -> bytes:
    """The bytes of one frame.

    Args:
        file: the open file.
        parts: position and length of its pieces.
        words_from: position of the first 16-bit word if bytes must be swapped; None = bytes in file order.
    """
    if words_from is not None:
        ((start, length),) = parts
        odd = (start - words_from) % 2  # a frame of odd length ends within a word
        return _exchanged(read_parts(file, [(start - odd, odd + length + (odd + length) % 2)]))[odd : odd + length]
    found = []
    for start, length in parts:
        file.seek(start)
        found.append(file.read(length))
    return b"".join(found)


def _exchanged(words: bytes) -> bytes:
    """Swap the two bytes of each 16-bit word."""
    out = bytearray(words)
    out[0::2], out[1::2] = words[1::2], words[0::2]
    return bytes(out)


def frame_length(header: Dataset, keyword: str = "PixelData") -> int:
    """Bytes of an uncompressed frame."""
    bits = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(keyword) or int(header.BitsAllocated)
    pixels = int(header.Rows) * int(header.Columns) * int(header.get("SamplesPerPixel", 1) or 1)
    if header.get("PhotometricInterpretation") in ("YBR_FULL_422", "YBR_PARTIAL_422"):
        pixels = pixels * 2 // 3
    return max(1, (pixels * bits + 7) // 8)


def _fragments(file: BinaryIO, start: int, end: int) -> tuple[list[tuple[int, int]], list[int], bool]:
    """Items of encapsulated pixel data (PS3.5 A.4): fragments, Basic Offset Table, and whether the last is truncated."""
    pieces: list[tuple[int, int]] = []
    table: list[int] = []
    place, first, cut = start, True, True
    while place + 8 <= end:
        file.seek(place)
        head = file.read(8)
        if head[:4] != ITEM:
            cut = head[:4] != DELIMITER
            break
        length = int.from_bytes(head[4:], "little")
        held = min(length, end - place - 8)
        if first:
            raw = file.read(min(held, 4 * 10**6))
            table = [int.from_bytes(raw[k : k + 4], "little") for k in range(0, len(raw) - 3, 4)]
            first = False
        elif held:
            pieces.append((place + 8, held))
        if held < length:
            break
        place += 8 + length
    return pieces, table, cut


def _extended_table(header: Dataset) -> list[int]:
    raw = header.get("ExtendedOffsetTable") or b""
    return [int.from_bytes(raw[k : k + 8], "little") for k in range(0, len(raw) - 7, 8)]


def _frames(
    file: BinaryIO, pieces: list[tuple[int, int]], table: list[int], syntax: str, stated: int
) -> list[list[tuple[int, int]]]:
    """Group fragments into frames, by the offset table if it is consistent, else by the first bytes of the codestreams."""
    if not pieces:
        return []
    begin = pieces[0][0] - 8
    places = {start - 8 - begin: number for number, (start, _) in enumerate(pieces)}
    fitting = [places[offset] for offset in table if offset in places]  # offsets in a truncated part are missing
    if len(table) > 1 and fitting and fitting[0] == 0 and fitting == sorted(set(fitting)):
        firsts = fitting
        begun = [number for number, (start, _) in enumerate(pieces) if _begins_code(file, start)]
        if stated and len(fitting) != stated == len(begun) and begun[0] == 0:
            firsts = begun  # the table is damaged and would merge two frames
    elif syntax == uid.RLELossless:  # one fragment per frame, according to the standard
        firsts = list(range(len(pieces)))
    else:
        firsts = [number for number, (start, _) in enumerate(pieces) if _begins_code(file, start)]
        if not firsts:
            firsts = list(range(len(pieces))) if stated > 1 else [0]
        elif len(firsts) > len(pieces) // 2 and stated == len(pieces):
            firsts = list(range(len(pieces)))  # tolerate a damaged first byte
        firsts[0] = 0
    return [pieces[a:b] for a, b in zip(firsts, [*firsts[1:], len(pieces)], strict=True)]


def _split(file: BinaryIO, frames: list[list[tuple[int, int]]], stated: int) -> list[list[tuple[int, int]]]:
    """Split fragments with several frames (forbidden by PS3.5 A.4), if this gives the number stated in the header."""
    found = []
    for parts in frames:
        ends = [*boundaries(read_parts(file, parts)), sum(length for _, length in parts)]
        found += [_slice(parts, begin, end) for begin, end in zip([0, *ends], ends, strict=False)]
    return found if len(found) == stated else frames


def _slice(parts: list[tuple[int, int]], begin: int, end: int) -> list[tuple[int, int]]:
    """The pieces of bytes begin to end - 1 of a frame."""
    taken, place = [], 0
    for start, length in parts:
        first, last = max(begin, place), min(end, place + length)
        if first < last:
            taken.append((start + first - place, last - first))
        place += length
    return taken


def _begins_code(file: BinaryIO, start: int) -> bool:
    file.seek(start)
    return begins_code(file.read(LONGEST))


def _told_by_code(file: BinaryIO, start: int, end: int) -> str:
    """Transfer syntax of encapsulated frames, from the first bytes of the first frame."""
    pieces, _, _ = _fragments(file, start, end)
    if not pieces:
        raise UnreadableFile("the file contains no pixel data", "check that the file is an image")
    syntax = syntax_of(read_parts(file, pieces[:1]))
    if not syntax:
        raise UnreadableFile(
            "the transfer syntax is not stated and cannot be inferred from the frames",
            "export it again as a DICOM file with File Meta Information",
        )
    return syntax


def _whole_number(value: object) -> int:
    try:
        return max(0, int(value))  # type: ignore[call-overload]
    except (TypeError, ValueError):
        return 0
