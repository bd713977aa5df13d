"""DICOM images and cine loops, cropped to the ultrasound region; no identifier leaves this module."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from lddm.data.identity import TAGS, canonical, identity_of
from lddm.data.pseudonyms import SESSION_KEY, pseudonym
from lddm.data.video_io import MAX_BYTES, MAX_PIXELS, UnreadableFile, stack

logger = logging.getLogger(__name__)

HINT = "check that it is a whole DICOM image: python -m pydicom show FILE (which prints names)"
TISSUE = 1  # RegionDataType and RegionSpatialFormat "2D / tissue" (DICOM PS3.3 C.8.5.5)


def is_dicom(path: str | Path) -> bool:
    """Whether the file has the DICOM preamble."""
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


DEFLATED = "1.2.840.10008.1.2.1.99"


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Any error as an UnreadableFile, and no word of pydicom's: it quotes what it finds odd, which may be a name.

    In a damaged header a value can reach over those that follow, so that any of them may hold the patient's.
    """
    import pydicom  # noqa: F401 (its import sets the level of its log)

    words = logging.getLogger("pydicom")
    level = words.level
    words.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UnreadableFile:
        raise
    except Exception as error:  # a damaged file raises whatever the element at the damage raises, late and anywhere
        raise UnreadableFile(f"{name} cannot be decoded ({type(error).__name__})", HINT) from None
    finally:
        words.setLevel(level)


def decode_dicom(path: str | Path, max_frames: int = 2000) -> tuple[np.ndarray, float]:
    """Decode an ultrasound image or cine loop to grayscale.

    The largest 2-D tissue region of SequenceOfUltrasoundRegions is cut out, so that patient text burned in beside it
    does not survive. Without regions the whole frame is kept and a warning is logged.

    Returns:
        uint8 (T, H, W) and the frame rate in Hz (NaN for one frame or where no valid tag says it).

    Raises:
        UnreadableFile: no DICOM, no pixels, or absurd sizes.
    """
    import pydicom
    from pydicom.pixels import pixel_array

    path = Path(path)
    with _readable(path.name):
        _refuse_deflated(path)
        header = pydicom.dcmread(path, stop_before_pixels=True)
        height, width = int(header.Rows), int(header.Columns)
        count = int(getattr(header, "NumberOfFrames", 1) or 1)
        if height * width > MAX_PIXELS or min(height, width, count) < 1:
            raise UnreadableFile(f"{path.name} declares {count} frames of {width} x {height}", "check the header")
        count = min(count, max_frames, max(1, MAX_BYTES // (height * width)))
        frames = [_to_grey(pixel_array(path, index=i), header) for i in range(count)]
        top, bottom, left, right = _region(header, height, width, path.name)
        rate = _frame_rate(header) if count > 1 else float("nan")
    return stack(frames)[:, top:bottom, left:right], rate


def write_dicom(path: str | Path, frames: np.ndarray, fps: float, comment: str = "") -> None:
    """Write a synthetic cine loop as an ultrasound multi-frame image.

    It names nobody: patient, study and series are new, and its type says that it is derived, not measured.

    Args:
        path: the file, overwritten.
        frames: uint8 (T, H, W).
        fps: frame rate in Hz.
        comment: kept in ImageComments and burned into no pixel.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.Modality, image.Manufacturer = "US", "LDDM"
    image.ImageType = ["DERIVED", "SECONDARY"]
    image.PatientName = image.PatientID = "SYNTHETIC"
    image.PatientBirthDate = image.PatientSex = image.StudyDate = image.StudyTime = ""
    image.AccessionNumber = image.ReferringPhysicianName = image.StudyID = ""
    image.SeriesNumber, image.InstanceNumber = 1, 1
    image.SeriesDescription = "synthetic"
    image.ImageComments = comment
    image.BurnedInAnnotation = "NO"
    image.NumberOfFrames, image.Rows, image.Columns = frames.shape
    image.FrameTime = f"{1000 / fps:.6g}"
    image.FrameIncrementPointer = 0x00181063  # FrameTime
    image.CineRate = round(fps)
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 8, 8, 7, 0
    pixels = np.ascontiguousarray(frames).tobytes()
    image.PixelData = pixels + b"\0" * (len(pixels) % 2)
    image.save_as(path, enforce_file_format=True)


def look(path: Path) -> tuple[bool, str | None]:
    """Whether a file has several frames, and a pseudonym of the patient, which holds for this process only.

    The pseudonym is None where the file names nobody. The index has its own: see lddm.data.patients.

    Raises:
        UnreadableFile: the header is damaged.
    """
    import pydicom

    with _readable(path.name):
        _refuse_deflated(path)
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["NumberOfFrames", *TAGS])
        text = canonical([identity_of(header)])
        return int(header.get("NumberOfFrames", 1) or 1) > 1, pseudonym(text, SESSION_KEY) if text else None


def _refuse_deflated(path: Path) -> None:
    """A deflated data set is unpacked whole before its first element is read, so that a small file can fill the memory."""
    from pydicom.filereader import read_file_meta_info

    if read_file_meta_info(path).get("TransferSyntaxUID") == DEFLATED:
        raise UnreadableFile(f"{path.name} is a deflated DICOM file", "unpack it first, e.g. with dcmconv of DCMTK")


def _to_grey(frame: np.ndarray, header) -> np.ndarray:
    """pydicom gives RGB for colour, whatever it was stored as, and raw values for monochrome."""
    values = frame.astype(np.float64)
    if values.ndim == 3:
        values = values @ [0.299, 0.587, 0.114]  # luminance (ITU-R BT.601)
    bits = int(header.get("BitsStored", 8))
    if bits > 8:
        values = values / 2 ** (bits - 8)
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        values = 255 - values
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _region(header, height: int, width: int, name: str) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of the largest tissue region."""
    best, area = None, 0
    for region in header.get("SequenceOfUltrasoundRegions", None) or []:
        try:
            left, top = int(region.RegionLocationMinX0), int(region.RegionLocationMinY0)
            right, bottom = int(region.RegionLocationMaxX1) + 1, int(region.RegionLocationMaxY1) + 1
            tissue = int(region.get("RegionSpatialFormat", 0)) == TISSUE
        except (AttributeError, TypeError, ValueError):
            continue
        left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        size = (right - left) * (bottom - top)
        if tissue and right - left >= 8 and bottom - top >= 8 and size > area:
            best, area = (top, bottom, left, right), size
    if best is None:
        logger.warning("%s names no 2-D ultrasound region: text beside the image, if any, stays in the frame", name)
        return 0, height, 0, width
    return best


def _frame_rate(header) -> float:
    for tag, of in (("FrameTime", lambda ms: 1000 / ms), ("CineRate", float), ("RecommendedDisplayFrameRate", float)):
        try:
            value = float(header[tag].value)
            rate = of(value)
        except (KeyError, TypeError, ValueError, ZeroDivisionError, NotImplementedError):
            continue
        if math.isfinite(rate) and 0.1 <= rate <= 1000:
            return rate
    return float("nan")
