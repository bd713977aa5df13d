"""Decoding the frames of a DICOM file one after the other, in one pass; a damaged frame costs that frame."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import Decoder
from pydicom.pixels.utils import as_pixel_options

from lddm.io.dicom import ffmpeg as dicom_ffmpeg
from lddm.io.dicom.frames import PixelElement, read_parts
from lddm.io.dicom.grey import GreyLevels
from lddm.io.recording import FrameBuffer, UnreadableFile

PREFERRED = ("pillow", dicom_ffmpeg.LABEL, "pydicom", "pyjpegls", "pylibjpeg")  # not gdcm: see dicom_ffmpeg
JP2 = b"\x00\x00\x00\x0cjP  "  # the signature box of a JP2 file
SOC_SIZ = b"\xff\x4f\xff\x51"  # the markers with which a JPEG 2000 codestream begins
MISSING = {
    uid.JPEGExtended12Bit: "12 bits need the packages pylibjpeg and pylibjpeg-libjpeg (GPL)",
    uid.JPEGLSLossless: "samples interleaved by pixel need the package pyjpegls",
    uid.JPEGLSNearLossless: "samples interleaved by pixel need the package pyjpegls",
}


def decode_frames(
    file: BinaryIO, header: Dataset, element: PixelElement, limit: int
) -> tuple[np.ndarray, list[int], bool, tuple[str, ...]]:
    """Decode up to `limit` frames to grey.

    Returns:
        uint8 (T, H, W), the place of each frame in the file, whether it is coloured, and notes.

    Raises:
        UnreadableFile: no decoder for the transfer syntax, or no frame can be decoded.
    """
    decoder, plugins = _decoder(element.syntax)
    missing = _fill(header) if element.keyword == "PixelData" else []
    options = as_pixel_options(header, number_of_frames=1, pixel_keyword=element.keyword)
    big = element.syntax == uid.ExplicitVRBigEndian
    options["be_swap_ow"] = big and element.words
    few = element.parts[:limit][:: max(1, len(element.parts) // 4)]
    shift = 0 if decoder.UID.is_encapsulated else _shift(header, options, (read_parts(file, part) for part in few), big)
    options.pop("extended_offsets", None)
    if options.get("samples_per_pixel", 1) > 1:
        options.setdefault("planar_configuration", 0)
    levels = GreyLevels(header)
    frames = FrameBuffer()
    kept: list[int] = []
    error: Exception | None = None
    for number, parts in enumerate(element.parts[:limit]):
        try:
            values = _decode(decoder, plugins, read_parts(file, parts), options)
            if frames.append(levels(values >> shift if shift else values)):
                kept.append(number)
        except Exception as failure:  # a damaged frame raises whatever its decoder raises
            error = failure
    if not kept:
        raise _unreadable(element, plugins, error)
    notes = [*levels.notes, *missing]
    failed = min(limit, len(element.parts)) - len(kept)
    if failed:
        notes.append(f"{failed} damaged frames left out")
    if element.cut:
        notes.append("the file is cut off")
    if element.stated != len(element.parts) and not (element.stated == 0 and len(element.parts) == 1):
        stated = element.stated or "no number of"
        notes.append(f"the header states {stated} frames, the file holds {len(element.parts)}")
    converted = levels.finish(frames.array())
    notes += [note for note in levels.notes if note not in notes]
    return converted, kept, levels.colour, tuple(notes)


def _fill(header: Dataset) -> list[str]:
    """Set attributes that a file lacks to the only value they can have, or the usual one, and note it."""
    samples = 3 if "PlanarConfiguration" in header else 1
    usual = {
        "SamplesPerPixel": samples,
        "PhotometricInterpretation": "MONOCHROME2" if header.get("SamplesPerPixel", samples) == 1 else "RGB",
        "BitsStored": header.get("BitsAllocated"),
        "PixelRepresentation": 0,
    }
    lacking = [keyword for keyword in usual if header.get(keyword) in (None, "")]
    for keyword in lacking:
        setattr(header, keyword, usual[keyword])
    return [f"the header lacks {', '.join(lacking)}: taken for the usual values"] if lacking else []


def _shift(header: Dataset, options: dict[str, Any], frames: Iterable[bytes], big: bool) -> int:
    """Empty bits below the samples, where HighBit puts them higher than BitsStored says; pydicom then keeps the samples.

    # ASSUME: HighBit is often wrong, so the values of some frames decide: no low bit is set, and one above BitsStored is.
    """
    stored, high, width = options["bits_stored"], header.get("HighBit"), options["bits_allocated"]
    if width != 16 or high is None or not stored <= high < width:
        return 0
    order = ">u2" if big else "<u2"
    used = int(np.bitwise_or.reduce([0, *(np.bitwise_or.reduce(np.frombuffer(frame, order)) for frame in frames)]))
    shift = high + 1 - stored
    if used % 2**shift or used < 2**stored:
        return 0
    options["bits_stored"] = high + 1
    return shift


def _decoder(syntax: str) -> tuple[Decoder, list[str]]:
    """pydicom's decoder of a transfer syntax and the plugins to try, in order."""
    dicom_ffmpeg.install()
    try:
        decoder = get_decoder(uid.UID(syntax))
    except NotImplementedError:
        raise UnreadableFile(
            f"its transfer syntax ({_known(syntax)}) has no decoder", "convert it, e.g. with gdcmconv --raw or dcmconv"
        ) from None
    if not decoder.UID.is_encapsulated:
        return decoder, [""]
    plugins = [plugin for plugin in PREFERRED if plugin in decoder.available_plugins]
    if not plugins:
        raise UnreadableFile(
            f"its transfer syntax ({decoder.UID.name}) has no decoder here",
            f"install {' or '.join(decoder.missing_dependencies)}",
        )
    return decoder, plugins


def _known(syntax: str) -> str:
    """Name of a transfer syntax; a UID that the standard does not list is not quoted, since a damaged one may hold names."""
    return uid.UID(syntax).name if uid.UID(syntax).name != syntax else "unknown transfer syntax"


def _decode(decoder: Decoder, plugins: list[str], code: bytes, options: dict) -> np.ndarray:
    """Samples of one frame: (H, W) or (H, W, 3), colour as RGB."""
    if not decoder.UID.is_encapsulated:
        return decoder.as_array(code, **options)[0]
    if code.startswith(JP2):
        code = _codestream(code)
    failure: Exception = ValueError("no plugin")
    for plugin in plugins:
        try:
            return decoder.as_array(encapsulate([code]), decoding_plugin=plugin, index=0, **options)[0]
        except Exception as error:  # the next may do it
            failure = error
    raise failure


def _codestream(code: bytes) -> bytes:
    """JPEG 2000 without its JP2 boxes, which PS3.5 A.4.4 forbids and some devices write.

    pydicom skips them, but never comes to an end at a box of length 0.

    Raises:
        ValueError: no codestream follows.
    """
    start = code.find(SOC_SIZ)
    if start < 0:
        raise ValueError("JP2 boxes without a JPEG 2000 codestream")
    return code[start:]


def _unreadable(element: PixelElement, plugins: list[str], error: Exception | None) -> UnreadableFile:
    name = _known(element.syntax)
    if not element.parts:
        return UnreadableFile("it holds no whole frame", "copy the file again: it seems to be cut off")
    hint = MISSING.get(
        uid.UID(element.syntax), "check that it is a whole DICOM image, or convert it, e.g. with dcmconv"
    )
    kind = type(error).__name__ if error else "no frame"
    return UnreadableFile(f"its frames ({name}) cannot be decoded ({kind})", hint)
