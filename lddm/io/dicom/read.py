"""Reader of DICOM images and cine loops, cropped to the ultrasound region; no identifier leaves this module."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lddm.io.dicom.silence import silent_pydicom
from lddm.io.dicom.write import write_dicom
from lddm.io.recording import MAX_BYTES, Recording, UnreadableFile, check_size, square_pixels

__all__ = ["decode_dicom", "is_cine", "is_dicom", "read_dicom", "write_dicom"]

logger = logging.getLogger(__name__)

HINT = "check that it is a complete DICOM image: python -m pydicom show FILE (which prints names)"
DEFLATED = "1.2.840.10008.1.2.1.99"
ULTRASOUND = {"US", "IVUS", "EC", "CD", "DD"}  # the last three are retired: echocardiography, colour and duplex Doppler
VRS = set(
    "AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)


def is_dicom(path: str | Path) -> bool:
    """Whether the file has the DICOM preamble or, without a preamble, begins with two well-formed data elements."""
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError:
        return False
    return head[128:132] == b"DICM" or any(_begins_with_elements(head, order) for order in ("little", "big"))


def _begins_with_elements(head: bytes, order: str) -> bool:
    """Whether a file without preamble begins like a data set: two elements of groups 2 or 8 in ascending order."""
    place, before = 0, -1
    for _ in range(2):
        element = head[place : place + 12]
        if len(element) < 12:
            return False
        group, number = (int.from_bytes(element[k : k + 2], order) for k in (0, 2))  # type: ignore[arg-type]
        if group not in (2, 8) or (group << 16 | number) <= before:
            return False
        before = group << 16 | number
        vr = element[4:6].decode("latin-1")
        if vr in ("OB", "OW", "SQ", "UN", "UT"):
            start, length = 12, int.from_bytes(element[8:12], order)  # type: ignore[arg-type]
        elif vr in VRS:
            start, length = 8, int.from_bytes(element[6:8], order)  # type: ignore[arg-type]
        else:
            start, length = 8, int.from_bytes(element[4:8], order)  # type: ignore[arg-type]
        if length > 256 or length % 2:  # the first elements are identifiers and dates
            return False
        place += start + length
    return True


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Convert every exception to UnreadableFile and suppress pydicom's messages, which can quote patient names.

    In a damaged header a value can extend over the following ones, so any of them may contain the patient's name.
    """
    try:
        with silent_pydicom():
            yield
    except UnreadableFile as error:
        named = error.message if name in error.message else f"{name}: {error.message}"
        raise UnreadableFile(named, error.hint) from None
    except Exception as error:  # a damaged element can raise any exception, also on later access
        raise UnreadableFile(f"{name} cannot be decoded ({type(error).__name__})", HINT) from None


def decode_dicom(path: str | Path, max_frames: int = 2000) -> tuple[np.ndarray, float]:
    """Decode an ultrasound image or cine loop to grayscale.

    Returns:
        As `read_dicom`: uint8 (T, H, W) and the nominal frame rate in Hz (NaN for one frame, or if the file does not state
        one).

    Raises:
        UnreadableFile: see `read_dicom`.
    """
    recording = read_dicom(path, max_frames)
    return recording.frames, recording.rate


def read_dicom(path: str | Path, max_frames: int = 2000) -> Recording:
    """Decode an ultrasound image or cine loop.

    Frames are cropped to the largest 2-D tissue region of SequenceOfUltrasoundRegions, which removes patient text burned in
    outside it. Without regions the whole frame is kept, with a note. Palette, rescale, window and MONOCHROME1 are applied.
    If a file is truncated, or NumberOfFrames is missing or wrong, the existing frames are read.

    Raises:
        UnreadableFile: not DICOM, no pixels, no decoder, slices of a volume, M-mode or spectra only, or absurd sizes.
    """
    path = Path(path)
    with _readable(path.name), open(path, "rb") as file:
        return _read(file, path, max_frames)


def is_cine(path: str | Path) -> bool:
    """Whether a DICOM file has several frames in time; False for the slices of a volume.

    Raises:
        UnreadableFile: the header is damaged.
    """
    from lddm.io.dicom.frames import VIDEO, locate
    from lddm.io.dicom.time import is_volume

    path = Path(path)
    with _readable(path.name), open(path, "rb") as file:
        header = _header(file, path)
        if is_volume(header):
            return False
        if "Rows" not in header:
            return int(header.get("NumberOfFrames", 1) or 1) > 1
        element = locate(file, header, _syntax(header))
        return element.stated != 1 if element.syntax in VIDEO else len(element.parts) > 1


def refuse_deflated(path: Path) -> None:
    """Raise UnreadableFile for deflated data sets: pydicom inflates them completely, so a small file can fill the memory."""
    with open(path, "rb") as file:
        head = file.read(132 + 4096)  # the file meta information, with preamble or without
    if DEFLATED.encode() in head:
        raise UnreadableFile(f"{path.name} is a deflated DICOM file", "decompress it first, e.g. with dcmconv of DCMTK")


def _header(file: BinaryIO, path: Path):
    """Read the data set without pixels; the file position is then at the pixel data element."""
    import pydicom

    refuse_deflated(path)
    return pydicom.dcmread(file, stop_before_pixels=True, force=is_dicom(path))


def _region(header, height: int, width: int, name: str) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of the region, or of the whole frame (with a warning) if there is none."""
    from lddm.io.dicom.region import ultrasound_region

    region, notes, _ = ultrasound_region(header, height, width)
    if region is None:
        logger.warning("%s: %s", name, notes[0])
    return region.box if region is not None else (0, height, 0, width)


def _syntax(header) -> str:
    """UID of the stated transfer syntax; empty if there is none."""
    return str(getattr(header, "file_meta", {}).get("TransferSyntaxUID", "") or "")


def _read(file: BinaryIO, path: Path, max_frames: int) -> Recording:
    from lddm.io.dicom.decode import decode_frames
    from lddm.io.dicom.frames import VIDEO, locate
    from lddm.io.dicom.region import has_colour_flow, pixel_size, ultrasound_region
    from lddm.io.dicom.stream import read_stream
    from lddm.io.dicom.time import cine_times, is_volume

    header = _header(file, path)
    if is_volume(header):
        raise UnreadableFile("the frames are slices of a volume, not time points", "export a 2-D cine loop")
    if any(not header.get(keyword) for keyword in ("Rows", "Columns", "BitsAllocated")):
        raise UnreadableFile("no image (e.g. a DICOMDIR or a report), or its size is missing", "remove this file")
    height, width = int(header.Rows), int(header.Columns)
    check_size(path.name, width, height)
    region, notes, only_traces = ultrasound_region(header, height, width)
    if only_traces:
        raise UnreadableFile("only M-mode or spectral Doppler", "remove this file")
    if str(header.get("Modality", "US") or "US") not in ULTRASOUND:
        notes = (*notes, "the modality is not ultrasound")
    element = locate(file, header, _syntax(header))
    scale = (1.0, 1.0)
    held = 1 if int(header.get("BitsAllocated", 8) or 8) <= 8 else 4  # bytes per pixel until all frames are scaled
    limit = min(max_frames, max(1, MAX_BYTES // (height * width * held)))
    if element.syntax in VIDEO:
        streamed, scale = read_stream(file, element, path.name, limit, height, width)
        frames, kept, colour, said = streamed.frames, list(range(len(streamed.frames))), streamed.colour, streamed.notes
        there = len(frames) if len(frames) < limit else max(element.stated, len(frames))
        if element.stated > 1 and len(frames) not in (element.stated, limit):
            said = (*said, f"the header states {element.stated} frames, the file contains {len(frames)}")
        times, fps, how = cine_times(header, len(frames))
        if not np.isfinite(fps):  # the stream's own times
            times, fps, how = streamed.times, streamed.fps, ()
    else:
        frames, kept, colour, said = decode_frames(file, header, element, limit)
        there = max(len(element.parts), element.stated) if element.cut else len(element.parts)
        times, fps, how = cine_times(header, max(kept) + 1)
        times = times[kept] - times[kept[0]]
    if max_frames > 1:
        notes = (*notes, *said, *how)
    top, bottom, left, right = _region(header, height, width, path.name)
    spacing, aspect = pixel_size(header, region)
    if scale != (1, 1):  # the pixels of the stream were made square
        aspect = 1.0
        spacing = (spacing[0] / scale[0], spacing[1] / scale[1]) if spacing is not None else None
        top, bottom = round(top * scale[0]), round(bottom * scale[0])
        left, right = round(left * scale[1]), round(right * scale[1])
    frames = frames[:, top:bottom, left:right]
    if abs(aspect - 1) >= 0.01:
        notes = (*notes, f"pixels {aspect:.3g} times as high as wide: resampled to square pixels")
        before, frames = frames.shape, square_pixels(frames, aspect)
        if spacing is not None:
            spacing = (spacing[0] * before[1] / frames.shape[1], spacing[1] * before[2] / frames.shape[2])
    if max_frames > 1 and there > len(frames) >= limit:
        notes = (*notes, f"cut: only the first {len(frames)} of {there} frames are read")
    return Recording(
        frames,
        times,
        fps if len(frames) > 1 else float("nan"),
        region=region.box if region is not None else None,
        spacing=spacing,
        aspect=aspect,
        colour=colour or has_colour_flow(header),
        notes=notes,
    )
