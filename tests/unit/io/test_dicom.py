"""DICOM cine loops: the ultrasound region, the frame time, and no identifier."""

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage, generate_uid

from lddm.data.identity import read_identity
from lddm.data.sources import folder
from lddm.io.dicom.read import decode_dicom, is_cine, is_dicom, read_dicom, write_dicom
from lddm.io.video import UnreadableFile
from lddm.settings.data import FolderSource


def write_cine(path, frames, region=None, frame_time=40.0, colour=False):
    """A multi-frame ultrasound DICOM file; region = (x0, y0, x1, y1) in pixels, inclusive."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.PatientName, data.PatientID, data.Modality = "Planted^Name", "PLANTED-ID", "US"
    data.Rows, data.Columns, data.NumberOfFrames = frames.shape[1], frames.shape[2], len(frames)
    data.SamplesPerPixel = 3 if colour else 1
    data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        data.PlanarConfiguration = 0
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.FrameTime = frame_time
    if region is not None:
        item = Dataset()
        item.RegionSpatialFormat, item.RegionDataType = 1, 1
        item.RegionLocationMinX0, item.RegionLocationMinY0 = region[:2]
        item.RegionLocationMaxX1, item.RegionLocationMaxY1 = region[2:]
        data.SequenceOfUltrasoundRegions = [item]
    pixels = np.repeat(frames[..., None], 3, axis=3) if colour else frames
    data.PixelData = pixels.tobytes()
    data.save_as(path, enforce_file_format=True)


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 255, (5, 60, 80), dtype=np.uint8)


@pytest.mark.parametrize("colour", [False, True])
def test_the_region_is_cut_out_and_the_frame_time_kept(tmp_path, frames, colour):
    write_cine(tmp_path / "cine.dcm", frames, region=(10, 20, 69, 59), colour=colour)
    decoded, fps = decode_dicom(tmp_path / "cine.dcm")
    assert fps == pytest.approx(25.0)
    assert np.array_equal(decoded, frames[:, 20:60, 10:70])


def test_without_region_or_with_a_broken_frame_time(tmp_path, frames):
    write_cine(tmp_path / "cine.dcm", frames, frame_time=0.0)
    decoded, fps = decode_dicom(tmp_path / "cine.dcm", max_frames=3)
    assert decoded.shape == (3, 60, 80) and np.isnan(fps)


def test_no_identifier_leaves(tmp_path, frames):
    place = tmp_path / "own" / "benign"
    place.mkdir(parents=True)
    write_cine(place / "a.dcm", frames)
    write_cine(place / "b.dcm", frames)
    assert is_dicom(place / "a.dcm") and is_cine(place / "a.dcm")
    assert "PLANTED" not in repr(read_identity(place / "a.dcm"))
    rows = folder.rows(FolderSource(folder="own"), tmp_path, ["benign", "malignant"])
    assert "planted" not in str(rows).lower()
    assert rows[0]["patient_id"] == rows[1]["patient_id"]  # one patient, recognised by the hash


def test_no_name_is_quoted_from_a_damaged_header(tmp_path, frames, caplog, recwarn):
    path = tmp_path / "cine.dcm"
    write_cine(path, frames)
    whole = path.read_bytes()
    said, rng = [], np.random.default_rng(0)
    for place in range(132, whole.index(b"PLANTED-ID") + 40):
        damaged = bytearray(whole)
        damaged[place] = rng.choice([0, 255, rng.integers(256)])  # a length, and a value reaches over the names
        path.write_bytes(damaged)
        for reader in (decode_dicom, is_cine, read_identity):
            try:
                reader(path)
            except UnreadableFile as error:
                said.append(str(error))
    assert len(said) > 20
    said += [record.getMessage() for record in caplog.records] + [str(warning.message) for warning in recwarn]
    assert [text for text in said if "planted" in text.lower()] == []


def test_a_damaged_file_is_named(tmp_path, frames):
    write_cine(tmp_path / "cine.dcm", frames)
    whole = (tmp_path / "cine.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[: len(whole) - 4 * frames[0].size - 100])
    with pytest.raises(UnreadableFile, match="cut.dcm: the file contains no complete frame"):
        decode_dicom(tmp_path / "cut.dcm")


def test_a_synthetic_cine_loop_reads_back_and_says_that_it_is_synthetic(tmp_path, frames):
    import pydicom

    write_dicom(tmp_path / "s.dcm", frames, 12.5, "synthetic, not for diagnosis")
    back, fps = decode_dicom(tmp_path / "s.dcm")
    changed = (back != frames).any(axis=(0, 2))  # rows
    assert fps == pytest.approx(12.5) and changed[-8:].any() and not changed[: len(changed) * 3 // 4].any()
    assert (back[:, -8:, :20] != frames[:, -8:, :20]).any(axis=(1, 2)).all()  # the mark is in every frame
    header = pydicom.dcmread(tmp_path / "s.dcm")
    assert header.SOPClassUID.name == "Multi-frame Grayscale Byte Secondary Capture Image Storage"
    assert header.BurnedInAnnotation == "YES" and header.ConversionType == "SYN"
    assert header.ImageType[0] == "DERIVED" and header.PatientID == "SYNTHETIC"
    assert "not for diagnosis" in header.ImageComments and header.Modality == "US"
    assert "PixelSpacing" not in header and "PixelAspectRatio" not in header


def test_a_synthetic_loop_keeps_the_size_of_its_pixels(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (3, 48, 64), dtype=np.uint8)
    write_dicom(tmp_path / "s.dcm", frames, 12.5, spacing=(0.31, 0.3101))
    assert read_dicom(tmp_path / "s.dcm").spacing == pytest.approx((0.31, 0.3101))
    write_dicom(tmp_path / "a.dcm", frames, 12.5, aspect=1.25)
    assert read_dicom(tmp_path / "a.dcm").frames.shape == (3, 60, 64)
