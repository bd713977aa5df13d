"""Decoding of the frames of a DICOM file in one pass; only damaged frames are lost."""

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
from lddm.io.dicom.attributes import check
from lddm.io.dicom.codes import codestream, stated_size
from lddm.io.dicom.frames import PixelElement, read_parts
from lddm.io.dicom.grey import PARTIAL, GreyLevels
from lddm.io.recording import MAX_PIXELS, FrameBuffer, UnreadableFile

PREFERRED = ("pillow", dicom_ffmpeg.LABEL, "pydicom", "pyjpegls", "pylibjpeg")  # not gdcm: see lddm.io.dicom.ffmpeg
CODED = {*uid.JPEGTransferSyntaxes, *uid.JPEGLSTransferSyntaxes, *uid.JPEG2000TransferSyntaxes}
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
        uint8 (T, H, W), the position of each frame in the file, whether any frame is coloured, and notes.

    Raises:
        UnreadableFile: no decoder for the transfer syntax, or no frame can be decoded.
    """
    decoder, plugins = _decoder(element.syntax)
    said = list(element.notes)
    if element.keyword == "PixelData":
        check(header, decoder.UID.is_encapsulated)
        said += _partial_range(header, decoder.UID)
    levels = GreyLevels(header)
    options = as_pixel_options(header, number_of_frames=1, pixel_keyword=element.keyword)
    if (
        header.get("PhotometricInterpretation") == PARTIAL
    ):  # as full range, so that pydicom does not convert the samples
        options |= {"photometric_interpretation": "YBR_FULL_422", "as_rgb": False}
    big = element.syntax == uid.ExplicitVRBigEndian
    swapped = element.start if big and element.words and header.get("BitsAllocated") == 8 else None
    options["be_swap_ow"] = big and element.words and swapped is None
    few = element.parts[:limit][:: max(1, len(element.parts) // 4)]
    shift = 0 if decoder.UID.is_encapsulated else _shift(header, options, (read_parts(file, part) for part in few), big)
    options.pop("extended_offsets", None)
    if options.get("samples_per_pixel", 1) > 1:
        options.setdefault("planar_configuration", 0)
    frames = FrameBuffer()
    kept: list[int] = []
    error: Exception | None = None
    for number, parts in enumerate(element.parts[:limit]):
        try:
            values = _decode(decoder, plugins, read_parts(file, parts, swapped), options)
            if frames.append(levels(values >> shift if shift else values)):
                kept.append(number)
        except Exception as failure:  # a damaged frame can raise any exception of its decoder
            error = failure
    if not kept:
        raise _unreadable(element, error)
    notes = [*levels.notes, *said]
    failed = min(limit, len(element.parts)) - len(kept)
    if failed:
        notes.append(f"{failed} damaged frames dropped")
    if element.cut:
        notes.append("the file is truncated")
    if element.stated != len(element.parts) and not (element.stated == 0 and len(element.parts) == 1):
        stated = element.stated or "no number of"
        notes.append(f"the header states {stated} frames, the file contains {len(element.parts)}")
    converted = levels.finish(frames.array())
    notes += [note for note in levels.notes if note not in notes]
    return converted, kept, levels.colour, tuple(notes)


def _shift(header: Dataset, options: dict[str, Any], frames: Iterable[bytes], big: bool) -> int:
    """Number of empty low bits, if HighBit places the samples higher than BitsStored implies; pydicom does not shift them.

    # ASSUME: HighBit is often wrong, so the values of some frames decide: no low bit is set, and a bit above BitsStored is.
    """
    stored, high, width = options.get("bits_stored"), header.get("HighBit"), options.get("bits_allocated")
    if width != 16 or high is None or stored is None or not stored <= high < width:
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
            f"no decoder for the transfer syntax ({_known(syntax)})", "convert it, e.g. with gdcmconv --raw or dcmconv"
        ) from None
    if not decoder.UID.is_encapsulated:
        return decoder, [""]
    plugins = [plugin for plugin in PREFERRED if plugin in decoder.available_plugins]
    if not plugins:
        raise UnreadableFile(
            f"no installed decoder for the transfer syntax ({decoder.UID.name})",
            f"install {' or '.join(decoder.missing_dependencies)}",
        )
    return decoder, plugins


def _known(syntax: str) -> str:
    """Name of a transfer syntax; UIDs unknown to the standard are not quoted, since a damaged one may contain names."""
    return uid.UID(syntax).name if uid.UID(syntax).name != syntax else "unknown transfer syntax"


def _decode(decoder: Decoder, plugins: list[str], code: bytes, options: dict) -> np.ndarray:
    """Samples of one frame: (H, W) or (H, W, 3), colour as RGB."""
    if not decoder.UID.is_encapsulated:
        return decoder.as_array(code, **options)[0]
    code = codestream(code)
    size = stated_size(code)
    wanted = (options["rows"], options["columns"], options["samples_per_pixel"])
    if size is not None and size != wanted and size[0] * size[1] <= MAX_PIXELS:  # otherwise the codestream is damaged
        raise _OtherSize(size, wanted)
    failure: Exception = ValueError("no plugin")
    for plugin in plugins:
        try:
            return decoder.as_array(encapsulate([code]), decoding_plugin=plugin, index=0, **options)[0]
        except Exception as error:  # the next plugin may succeed
            failure = error
    raise failure


class _OtherSize(ValueError):
    """A frame whose codestream states other rows, columns or samples per pixel than the header."""

    def __init__(self, size: tuple[int, int, int], wanted: tuple[int, int, int]) -> None:
        shown = ["{} x {} pixels of {} samples".format(*one) for one in (size, wanted)]
        super().__init__(f"the frames have {shown[0]}, but the header states {shown[1]}")


def _partial_range(header: Dataset, syntax: uid.UID) -> list[str]:
    """Correct the colour space of codestreams labelled YBR_PARTIAL_422 or 420; returns notes.

    # ASSUME: a JPEG has the full range, as in JFIF; with the label ICT pydicom inverts the colour transform of JPEG 2000.
    """
    stated = header.PhotometricInterpretation
    if not stated.startswith("YBR_PARTIAL") or syntax not in CODED:
        return []
    header.PhotometricInterpretation = "YBR_ICT" if "2000" in syntax.name else "YBR_FULL"
    return [f"PhotometricInterpretation {stated} is read as full range, as in JPEG"]


def _unreadable(element: PixelElement, error: Exception | None) -> UnreadableFile:
    name = _known(element.syntax)
    if isinstance(error, _OtherSize):
        return UnreadableFile(str(error), "correct the header, e.g. with dcmodify of DCMTK, or export it again")
    if not element.parts:
        return UnreadableFile("the file contains no complete frame", "copy the file again: it seems to be truncated")
    hint = MISSING.get(
        uid.UID(element.syntax), "check that it is a complete DICOM image, or convert it, e.g. with dcmconv"
    )
    kind = type(error).__name__ if error else "no frame"
    return UnreadableFile(f"the frames ({name}) cannot be decoded ({kind})", hint)
