"""Writer of synthetic cine loops as DICOM files that cannot be mistaken for a patient's."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

MARK = "SYNTHETIC"
BYTE_CAPTURE = "1.2.840.10008.5.1.4.1.1.7.2"  # Multi-frame Grayscale Byte Secondary Capture Image Storage


def write_dicom(
    path: str | Path,
    frames: np.ndarray,
    fps: float,
    comment: str = "",
    spacing: tuple[float, float] | None = None,
    aspect: float = 1.0,
) -> None:
    """Write a synthetic cine loop as a multi-frame secondary capture image (PS3.3 A.8.3).

    The word SYNTHETIC is burned into the lower left of each frame, because viewers show pixels first. The file identifies
    nobody: patient, study and series are new, and ImageType and ConversionType state that the image was not acquired.

    Args:
        path: the file, overwritten.
        frames: uint8 (T, H, W).
        fps: frame rate in Hz.
        comment: stored in ImageComments.
        spacing: (row, column) pixel spacing in mm, if known; stored in PixelSpacing.
        aspect: height / width of a pixel, used if the spacing is unknown; stored in PixelAspectRatio.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(BYTE_CAPTURE)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.Modality, image.Manufacturer = "US", "LDDM"
    image.ConversionType = "SYN"  # synthetic image
    image.ImageType = ["DERIVED", "SECONDARY"]
    image.PatientName = image.PatientID = MARK
    image.PatientBirthDate = image.PatientSex = image.StudyDate = image.StudyTime = ""
    image.AccessionNumber = image.ReferringPhysicianName = image.StudyID = image.PatientOrientation = ""
    image.SeriesNumber, image.InstanceNumber = 1, 1
    image.SeriesDescription = "synthetic"
    image.ImageComments = comment
    image.BurnedInAnnotation = "YES"  # the mark
    image.NumberOfFrames, image.Rows, image.Columns = frames.shape
    image.FrameTime = f"{1000 / fps:.6g}"
    image.FrameIncrementPointer = 0x00181063  # FrameTime
    image.CineRate = max(1, round(fps))
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 8, 8, 7, 0
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = 0, 1, "US"  # unspecified units
    image.PresentationLUTShape = "IDENTITY"
    image.LossyImageCompression = "00"
    if spacing is not None:
        image.PixelSpacing = [f"{value:.10g}" for value in spacing]
    elif aspect != 1:
        image.PixelAspectRatio = [str(value) for value in Fraction(aspect).limit_denominator(1000).as_integer_ratio()]
    pixels = marked(frames).tobytes()
    image.PixelData = pixels + b"\0" * (len(pixels) % 2)
    image["PixelData"].VR = "OB"
    image.save_as(path, enforce_file_format=True)


def marked(frames: np.ndarray) -> np.ndarray:
    """A copy of the frames uint8 (T, H, W) with the mark, white on black, in the lower left corner."""
    height, width = frames.shape[1:]
    font, thickness = cv2.FONT_HERSHEY_PLAIN, max(1, width // 400)
    (unit, _), _ = cv2.getTextSize(MARK, font, 1.0, thickness)
    scale = min(0.9 * width / unit, max(0.5, 0.3 * width / unit))
    (across, up), below = cv2.getTextSize(MARK, font, scale, thickness)
    label = np.zeros((min(up + below + 2, height), min(across + 2, width)), np.uint8)
    cv2.putText(label, MARK, (1, label.shape[0] - below), font, scale, 255, thickness, cv2.LINE_AA)
    out = np.array(frames)
    out[:, height - label.shape[0] :, : label.shape[1]] = label
    return out
