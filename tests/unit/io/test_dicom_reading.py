"""DICOM files as archives hold them: transfer syntaxes, photometrics, values, frame times, regions, and damage."""

import base64
import io
import os
from pathlib import Path

import av
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate

from lddm.io.dicom import ffmpeg as dicom_ffmpeg
from lddm.io.dicom.read import decode_dicom, is_cine, is_dicom, read_dicom
from lddm.io.recording import UnreadableFile

ROWS, COLUMNS = np.mgrid[:16, :24]
GREY = ((COLUMNS * 7 + ROWS * 13) % 251).astype(np.uint8)
# One frame each, made by other encoders than the decoder that is tested (OpenJPH, CharLS, liblj92): `GREY`, and 12 bits of
# 16 * GREY + 7.
CODES = {
    "htj2k": (
        "/0//UQApQAAAAAAYAAAAEAAAAAAAAAAAAAAAGAAAABAAAAAAAAAAAAABBwEB/1AACAACAAAAAv9SAAwAAgABAAUEBEAB/1wAEyBI"
        "UFBQUFBQUFBQUFBQSEhI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAQsAAf+TwCQAx3QAwBKAtgEHdADAEsATQBKA"
        "9ADHdAAKlAGBdAD0AAd0AMAVEAVcAVaQKPsABXu1AHoCCcDaABABvFYACAqICvsAAAB8VgDAFpQBasAWmI9H8+Gi8HQseP3AJwkx"
        "lCBYAAsRRwxkMOQ7GG7T/MAgghAeLCNZAH/ygIUeeHlrBMCAJeBB9GIGyQDALpYBdTALbKTHeH/+o/P5dp43g384Pp+u42vG/vOk"
        "MMnw34ALoL4ALwNCcAEenA8aH9kaHRsPjBj2sa0xIhujAwMDA/H9SBllAALDEzlgj24YLECxAXzq+/T9vZ7X9+X19/1LACJOkQKE"
        "Se8QLGC/AP/Z"
    ),
    "jpegls12": (
        "/9j/9wALDAAQABgBAREA/9oACAEBAAAAAE0Xxfbovt1ttlrtVptFns1lsljsVhsFfr1drkDAMDebjabDWajSaDOZjKZDGYjCYC+X"
        "i6XC2GA9FksFcrFUqFMpFEoE8nE0mEslEkkEcjEUiG8YyEQSA/vz6+Pb08vDu7Oro5uTi4uDe3G4TWxramloZ2ZlZGNjYmFgYF9f"
        "Xl5dXHhtDxbdOnLlw3btmzVo0Zs2bJkxYsWBsDBeuXLlq1atWrFixYsVq1apUqUqTWFKhOnTp06dZZZZZZZZVVVVVVUegFVE0000"
        "0000000kkkkkkkgJIAF8CKCCCCCCCCCCCCCEIQhAH8DBBpAAQjGMYxjGMYxjGMYgAhAz05tAAHK1rWta1rWta1qANQM5e97s4AGM"
        "5znOc5znObgDEGaznOc5ZgALb3ve973vOQBaDMb3ve972ygAU73vd73vYApBlu973ve73tkAAp3ve970ASgyn/9/73ve73tjAP/Z"
    ),
    "ljpeg12": (
        "/9j/xAAXAAEBAQEAAAAAAAAAAAAAAAAHDAgL/8MACwwAEAAYAQARAP/aAAgBAAAGAADgDODg4ODg4ODg4ODg4ODg4ODg4ODg4ODh"
        "tBoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaNoNDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDRtBoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaNoN"
        "DQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDRtBoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaNoNDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDRtBoaG"
        "hoaGhoaGhoaGhoaGhoaGhoaGhogt9oNDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDRBb8I+hA2g0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0QW9CA0NG0"
        "GhoaGhoaGhoaGhoaGhoaGhogt+EfQgNDQ0bQaGhoaGhoaGhoaGhoaGhogt+EfQgNDQ0NDRtBoaGhoaGhoaGhoaGhogt+EfQgNDQ0"
        "NDQ0NG0GhoaGhoaGhoaGhogt+EfQgNDQ0NDQ0NDQ0bQaGhoaGhoaGhogt+EfQgNDQ0NDQ0NDQ0NDRtBoaGhoaGhogt+EfQgNDQ0N"
        "DQ0NDQ0NDQ0NAP/Z"
    ),
}

SMOOTH = np.stack([((ROWS * 4 + COLUMNS * 3 + 9 * t) % 180 + 20).astype(np.uint8) for t in range(6)])


def data_set(frames, syntax=uid.ExplicitVRLittleEndian, **tags):
    """An ultrasound multi-frame image of frames (T, H, W) or (T, H, W, 3)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = uid.UltrasoundMultiFrameImageStorage
    meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = uid.generate_uid(), syntax
    order = {"is_implicit_VR": syntax.is_implicit_VR, "is_little_endian": syntax.is_little_endian}
    ds = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128, **order)
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.Modality, ds.PatientName, ds.PatientID = "US", "Planted^Name", "PLANTED-ID"
    ds.NumberOfFrames, ds.Rows, ds.Columns = frames.shape[:3]
    ds.SamplesPerPixel = 3 if frames.ndim == 4 else 1
    if frames.ndim == 4:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation = "RGB" if frames.ndim == 4 else "MONOCHROME2"
    bits = 8 * frames.dtype.itemsize
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, bits, bits - 1
    ds.PixelRepresentation = int(frames.dtype.kind == "i")
    ds.FrameTime = 100
    ds.PixelData = frames.tobytes() + b"\0" * (frames.nbytes % 2)
    ds["PixelData"].VR = "OB" if bits == 8 else "OW"
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    return ds


def compressed(ds, codes, syntax, **how):
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate(codes, **how)
    ds["PixelData"].is_undefined_length = True
    ds["PixelData"].VR = "OB"
    return ds


def jpegs(frames, kind="JPEG", **options):
    codes = []
    for frame in frames:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, kind, **(options or {"quality": 95}))
        codes.append(file.getvalue())
    return codes


def saved(ds, path):
    ds.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cine.dcm"


def film(codec, container, frames):
    """The frames as one video stream, bytes."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as box:
        stream = box.add_stream(codec, rate=10)
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "1", "x265-params": "log-level=none"}
        if codec == "mpeg2video":
            stream.bit_rate = 4_000_000
        for frame in frames:
            box.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        box.mux(stream.encode())
    return file.getvalue()


@pytest.mark.parametrize(
    ("code", "syntax", "bits"),
    [
        ("htj2k", uid.HTJ2KLossless, 8),
        ("htj2k", uid.HTJ2K, 8),
        ("jpegls12", uid.JPEGLSLossless, 12),
        ("ljpeg12", uid.JPEGLosslessSV1, 12),
        ("ljpeg12", uid.JPEGLossless, 12),
    ],
)
def test_lossless_codes_of_other_encoders_are_decoded_bit_for_bit(path, code, syntax, bits):
    frames = np.stack([GREY] * 2) if bits == 8 else np.stack([16 * GREY.astype(np.uint16) + 7] * 2)
    ds = data_set(frames, BitsStored=bits, HighBit=bits - 1)
    compressed(ds, [base64.b64decode(CODES[code])] * 2, syntax)
    wanted = GREY if bits == 8 else np.rint((16.0 * GREY + 7) * 255 / 4095)
    assert np.array_equal(decode_dicom(saved(ds, path))[0], [wanted] * 2)


@pytest.mark.parametrize(
    ("syntax", "kind", "options", "tolerance"),
    [
        (uid.JPEGBaseline8Bit, "JPEG", {"quality": 95}, 1.0),
        (uid.JPEGExtended12Bit, "JPEG", {"quality": 95}, 1.0),
        (uid.JPEG2000Lossless, "JPEG2000", {"no_jp2": True, "irreversible": False}, 0),
        (uid.JPEG2000Lossless, "JPEG2000", {"no_jp2": False, "irreversible": False}, 0),  # in JP2 boxes
        (uid.JPEG2000, "JPEG2000", {"no_jp2": True, "irreversible": True, "quality_layers": [2]}, 2.0),
    ],
)
@pytest.mark.parametrize("colour", [False, True])
def test_jpeg_and_jpeg_2000(path, syntax, kind, options, tolerance, colour):
    frames = np.repeat(SMOOTH[..., None], 3, axis=-1) if colour else SMOOTH
    ds = compressed(data_set(frames), jpegs(frames, kind, **options), syntax)
    if colour:
        ds.PhotometricInterpretation = "YBR_FULL_422" if kind == "JPEG" else "YBR_RCT"
    recording = read_dicom(saved(ds, path))
    assert np.abs(recording.frames.astype(int) - SMOOTH).mean() <= tolerance and not recording.colour


@pytest.mark.timeout(60)
def test_a_damaged_jp2_box_costs_its_frame(path):
    codes = jpegs(SMOOTH, "JPEG2000", no_jp2=False, irreversible=False)
    first = int.from_bytes(codes[1][:4], "big")  # the length of the signature box; that of the next box becomes 0
    codes[1] = codes[1][:first] + bytes(4) + codes[1][first + 4 : first + 20]
    codes[0] = codes[0][:first] + bytes(4) + codes[0][first + 4 :]
    recording = read_dicom(saved(compressed(data_set(SMOOTH), codes, uid.JPEG2000Lossless), path))
    assert np.array_equal(recording.frames, np.delete(SMOOTH, 1, axis=0))


@pytest.mark.parametrize(
    ("codec", "container", "syntax"),
    [
        ("mpeg2video", "mpeg2video", uid.MPEG2MPML),
        ("mpeg2video", "mpegts", uid.MPEG2MPHL),
        ("libx264", "mp4", uid.MPEG4HP41),
        ("libx264", "h264", uid.MPEG4HP41BD),
        ("libx265", "hevc", uid.HEVCMP51),
    ],
)
@pytest.mark.parametrize("pieces", [1, 3])
def test_video_streams_inside_dicom(path, codec, container, syntax, pieces):
    frames = np.kron(SMOOTH, np.ones((1, 4, 4), np.uint8))
    code = film(codec, container, frames)
    code += b"\0" * (-len(code) % (2 * pieces))
    step = len(code) // pieces
    parts = [code[k : k + step] for k in range(0, len(code), step)]
    ds = data_set(np.repeat(frames[..., None], 3, axis=-1), PhotometricInterpretation="YBR_PARTIAL_420")
    recording = read_dicom(saved(compressed(ds, parts, syntax), path))
    assert recording.frames.shape == frames.shape and recording.fps == pytest.approx(10)
    assert np.abs(recording.frames.astype(int) - frames).mean() < 6
    assert is_cine(path)


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian])
@pytest.mark.parametrize("bits", [8, 16])
def test_uncompressed_frames_in_either_byte_order(path, syntax, bits):
    frames = SMOOTH if bits == 8 else SMOOTH.astype(np.uint16) * 257
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    ds = data_set(frames, syntax, PixelData=frames.astype(f"{order}u{bits // 8}").tobytes())
    ds["PixelData"].VR = "OB" if bits == 8 else "OW"
    assert np.array_equal(decode_dicom(saved(ds, path))[0], SMOOTH)


def test_big_endian_words_of_8_bit_samples_are_swapped(path):
    ds = data_set(SMOOTH, uid.ExplicitVRBigEndian)
    ds.PixelData = np.frombuffer(SMOOTH.tobytes(), "<u2").astype(">u2").tobytes()
    ds["PixelData"].VR = "OW"
    assert np.array_equal(decode_dicom(saved(ds, path))[0], SMOOTH)


def test_what_cannot_be_decoded_names_its_syntax_and_what_is_missing(path):
    ds = compressed(data_set(SMOOTH.astype(np.uint16), BitsStored=12), [b"\xff\xd8\xff\xd9"] * 6, uid.JPEGExtended12Bit)
    with pytest.raises(UnreadableFile, match=r"JPEG Extended.*\n.*pylibjpeg"):
        decode_dicom(saved(ds, path))
    ds = compressed(data_set(SMOOTH), [b"abcd"] * 6, uid.UID("1.2.840.10008.1.2.4.94"))
    with pytest.raises(UnreadableFile, match="JPIP Referenced"):
        decode_dicom(saved(ds, path))
    ds = compressed(data_set(SMOOTH), [b"abcd"] * 6, uid.UID("1.2.3.4567"))
    with pytest.raises(UnreadableFile) as caught:
        decode_dicom(saved(ds, path))
    assert "4567" not in str(caught.value)  # a UID that the standard does not list may be anything


def test_jpeg_ls_with_interleaved_samples_is_refused_since_ffmpeg_decodes_it_to_black():
    head = b"\xff\xd8\xff\xf7\0\x11\x08\0\x10\0\x18\x03\x01\x11\0\x02\x11\0\x03\x11\0"
    scan = b"\xff\xda\0\x0c\x03\x01\0\x02\0\x03\0\0%c\0\0\0"
    assert dicom_ffmpeg._interleaved_samples(head + scan % 2)
    assert not dicom_ffmpeg._interleaved_samples(head + scan % 1)


def palette(values, entries=256, bits=16):
    tags = {}
    for channel, column in zip(("Red", "Green", "Blue"), np.atleast_2d(values), strict=True):
        tags[f"{channel}PaletteColorLookupTableDescriptor"] = [entries, 0, bits]
        tags[f"{channel}PaletteColorLookupTableData"] = np.asarray(column, f"<u{bits // 8}").tobytes()
    return tags


@pytest.mark.parametrize("scale", [257, 1], ids=["16 bit", "8 bit in 16"])
def test_palette_indices_are_looked_up(path, scale):
    table = np.random.default_rng(0).permutation(256)
    ds = data_set(SMOOTH, PhotometricInterpretation="PALETTE COLOR", **palette([table * scale] * 3))
    recording = read_dicom(saved(ds, path))
    assert np.array_equal(recording.frames, table[SMOOTH]) and not recording.colour
    hot = np.stack([np.arange(256) * 257, np.zeros(256), np.zeros(256)])
    ds = data_set(SMOOTH, PhotometricInterpretation="PALETTE COLOR", **palette(hot))
    recording = read_dicom(saved(ds, path))
    assert recording.colour and np.abs(recording.frames - 0.299 * SMOOTH).max() <= 1


WIDE = SMOOTH.astype(np.uint16) * 16


@pytest.mark.parametrize(
    ("frames", "tags", "wanted"),
    [
        (SMOOTH.astype(np.int16) - 128, {"RescaleIntercept": 128, "RescaleSlope": 1}, SMOOTH),
        ((SMOOTH.astype(np.int16) - 128).astype(np.int8), {}, SMOOTH),
        (WIDE.astype(np.int16) - 2048, {"BitsStored": 12, "HighBit": 11}, SMOOTH),
        (WIDE, {"WindowCenter": 2048, "WindowWidth": 4096}, SMOOTH),
        (WIDE, {"WindowCenter": [2048, 9], "WindowWidth": [4096, 3]}, SMOOTH),
        (WIDE, {"BitsStored": 12, "HighBit": 11}, SMOOTH),
        (WIDE, {}, SMOOTH),  # 12 bits in 16, without a word
        (SMOOTH.astype(np.uint16), {}, SMOOTH),
        (SMOOTH.astype(np.uint16) * 257, {}, SMOOTH),
        (SMOOTH, {"PhotometricInterpretation": "MONOCHROME1"}, 255 - SMOOTH.astype(int)),
        (WIDE, {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12}, 255 - SMOOTH.astype(int)),
        (SMOOTH, {"WindowCenter": 128, "WindowWidth": 256}, SMOOTH),
        (SMOOTH, {"WindowCenter": 64, "WindowWidth": 128}, np.clip(2.0 * SMOOTH, 0, 255)),
        (SMOOTH, {"WindowCenter": 64, "WindowWidth": 0}, SMOOTH),  # not valid: ignored
        (255 - SMOOTH, {"RescaleIntercept": 255, "RescaleSlope": -1}, SMOOTH),
    ],
)
def test_values_are_rescaled_windowed_and_brought_to_8_bits(path, frames, tags, wanted):
    found = read_dicom(saved(data_set(frames, **tags), path)).frames
    assert np.abs(found - np.asarray(wanted, dtype=float)).max() <= 1.5


@pytest.mark.parametrize(
    ("frames", "tags"),
    [
        (SMOOTH, {"RescaleSlope": 2, "RescaleIntercept": 0}),
        (SMOOTH, {"RescaleSlope": 0.5, "RescaleIntercept": -128}),
        (SMOOTH.astype(np.uint16) * 16, {"BitsStored": 12, "HighBit": 11, "RescaleSlope": 4, "RescaleIntercept": -9}),
        (SMOOTH.astype(np.uint16) << 8, {"BitsStored": 8, "HighBit": 15}),
    ],
    ids=["slope 2", "slope and intercept", "12 bits rescaled", "high bit 15"],
)
def test_a_unit_or_a_high_bit_changes_no_grey_level(path, frames, tags):
    assert np.abs(decode_dicom(saved(data_set(frames, **tags), path))[0] - SMOOTH.astype(int)).max() <= 1


def test_the_depth_of_a_palette_is_that_of_the_table_not_of_a_dark_frame(path):
    indices = np.stack([np.full_like(GREY, 10), np.full_like(GREY, 255)])
    ds = data_set(indices, PhotometricInterpretation="PALETTE COLOR", **palette([np.arange(256) ** 2] * 3))
    assert decode_dicom(saved(ds, path))[0].max(axis=(1, 2)).tolist() == [0, 253]


@pytest.mark.parametrize("planar", [0, 1])
def test_colour_in_either_planar_configuration(path, planar):
    colour = np.zeros((*SMOOTH.shape, 3), np.uint8)
    colour[..., 0], colour[..., 2] = SMOOTH, 30
    stored = np.moveaxis(colour, -1, 1) if planar else colour
    ds = data_set(colour, PlanarConfiguration=planar, PixelData=stored.tobytes())
    recording = read_dicom(saved(ds, path))
    assert recording.colour and np.abs(recording.frames - (0.299 * SMOOTH + 0.114 * 30)).max() <= 1


VECTOR, TIME = 0x00181065, 0x00181063


@pytest.mark.parametrize(
    ("tags", "rate"),
    [
        ({"FrameTime": 40}, 25),
        ({"FrameTime": None, "FrameTimeVector": [0] + [100] * 5, "FrameIncrementPointer": VECTOR}, 10),
        ({"FrameTime": None, "FrameTimeVector": [100] * 6}, 10),  # the first increment belongs to no interval
        ({"FrameTime": None, "FrameTimeVector": [100] * 5}, 10),
        ({"FrameTime": 40, "FrameTimeVector": [0] + [20] * 5, "FrameIncrementPointer": VECTOR}, 50),
        ({"FrameTime": 40, "FrameTimeVector": [0] + [20] * 5, "FrameIncrementPointer": TIME}, 25),
        ({"FrameTime": 40, "FrameTimeVector": [0] + [20] * 5}, 25),
        ({"FrameTime": None, "FrameTimeVector": [0] + [20] * 5, "CineRate": 10}, 50),
        ({"FrameTime": None, "ActualFrameDuration": 50, "CineRate": 10}, 20),
        ({"FrameTime": None, "CineRate": 30}, 30),
        ({"FrameTime": None, "RecommendedDisplayFrameRate": 12}, 12),
        ({"FrameTime": 0.001, "CineRate": 30}, 30),  # 1,000,000 Hz
        ({"FrameTime": 10**6, "FrameTimeVector": [0] + [20] * 5}, 50),
        ({"FrameTime": None, "CineRate": 10**6}, np.nan),
        ({"FrameTime": None, "FrameTimeVector": [0, 0, 0, 0, 0, 0]}, np.nan),
        ({"FrameTime": None, "FrameTimeVector": 100}, 10),
        ({"FrameTime": None}, np.nan),
    ],
)
def test_the_frame_rate_comes_from_the_tag_that_counts(path, tags, rate):
    ds = data_set(SMOOTH)
    for keyword, value in tags.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    recording = read_dicom(saved(ds, path))
    assert recording.fps == pytest.approx(rate, nan_ok=True)
    assert np.diff(recording.times) == pytest.approx(1 / rate, nan_ok=True)
    shown = {"CineRate", "RecommendedDisplayFrameRate"} & tags.keys() and rate in (30, 12)
    assert any("a display rate" in note for note in recording.notes) == bool(shown)


def test_an_uneven_frame_time_vector_gives_each_frame_its_time(path):
    ds = data_set(SMOOTH, FrameTimeVector=[0, 40, 40, 200, 40, 200], FrameIncrementPointer=VECTOR)
    recording = read_dicom(saved(ds, path))
    assert recording.times == pytest.approx([0, 0.04, 0.08, 0.28, 0.32, 0.52])
    assert any("uneven" in note for note in recording.notes)


@pytest.mark.parametrize(
    "tags",
    [
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.2"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1"},
        {"DimensionOrganizationType": "3D"},
        {"FrameIncrementPointer": 0x00540080},
        {"FrameIncrementPointer": 0x3004000C},
    ],
)
def test_slices_of_a_volume_are_no_video(path, tags):
    saved(data_set(SMOOTH, **tags), path)
    assert not is_cine(path)
    with pytest.raises(UnreadableFile, match="slices of a volume"):
        decode_dicom(path)


def region(kind, box, spatial=1, **more):
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType = spatial, kind
    item.RegionLocationMinX0, item.RegionLocationMinY0 = box[0], box[1]
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = box[2], box[3]
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return item


def test_frames_at_several_places_in_space_are_slices(path):
    groups = []
    for number in range(len(SMOOTH)):
        plane, group = Dataset(), Dataset()
        plane.ImagePositionPatient = [0, 0, float(number)]
        group.PlanePositionSequence = [plane]
        groups.append(group)
    ds = data_set(SMOOTH, PerFrameFunctionalGroupsSequence=groups)
    assert is_cine(saved(ds, path))  # a tracked sweep: it states the time of its frames
    del ds.FrameTime
    assert not is_cine(saved(ds, path))


def test_explicit_elements_under_an_implicit_transfer_syntax_are_read_as_they_are(path):
    content = saved(data_set(SMOOTH), path).read_bytes()
    path.write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0"))
    assert np.array_equal(read_dicom(path).frames, SMOOTH)


def test_the_tissue_region_wins_over_a_larger_colour_flow_box(path):
    flow, tissue = region(2, (0, 0, 23, 15)), region(1, (4, 2, 19, 13))
    recording = read_dicom(saved(data_set(SMOOTH, SequenceOfUltrasoundRegions=[flow, tissue]), path))
    assert recording.region == (2, 14, 4, 20) and recording.colour
    assert np.array_equal(recording.frames, SMOOTH[:, 2:14, 4:20])
    recording = read_dicom(saved(data_set(SMOOTH, SequenceOfUltrasoundRegions=[flow]), path))
    assert recording.region == (0, 16, 0, 24) and any("colour flow" in note for note in recording.notes)


def test_a_loop_that_shows_only_m_mode_is_refused(path):
    with pytest.raises(UnreadableFile, match="M-mode"):
        decode_dicom(saved(data_set(SMOOTH, SequenceOfUltrasoundRegions=[region(1, (0, 0, 23, 15), 2)]), path))


def test_pixel_size_and_shape(path):
    size = {"PhysicalUnitsXDirection": 3, "PhysicalUnitsYDirection": 3, "PhysicalDeltaX": 0.02, "PhysicalDeltaY": 0.04}
    ds = data_set(SMOOTH, SequenceOfUltrasoundRegions=[region(1, (0, 0, 23, 15), **size)])
    recording = read_dicom(saved(ds, path))
    assert recording.frames.shape[1:] == (32, 24) and recording.spacing == pytest.approx((0.2, 0.2))
    recording = read_dicom(saved(data_set(SMOOTH, PixelSpacing=[0.3, 0.3]), path))
    assert recording.spacing == (0.3, 0.3) and recording.frames.shape[1:] == (16, 24)
    recording = read_dicom(saved(data_set(SMOOTH, PixelAspectRatio=["1", "2"]), path))
    assert recording.frames.shape[1:] == (16, 48) and recording.spacing is None
    recording = read_dicom(saved(data_set(SMOOTH, PixelAspectRatio=["1", "99"]), path))
    assert recording.frames.shape[1:] == (16, 24)


def test_a_missing_or_wrong_number_of_frames(path):
    ds = data_set(SMOOTH)
    del ds.NumberOfFrames
    recording = read_dicom(saved(ds, path))
    assert np.array_equal(recording.frames, SMOOTH) and is_cine(path)
    assert any("contains 6" in note for note in recording.notes)
    for stated in (1, 4, 9):
        assert len(decode_dicom(saved(data_set(SMOOTH, NumberOfFrames=stated), path))[0]) == 6
    for stated, how in ((1, {"has_bot": False}), (9, {"has_bot": True}), (9, {"has_bot": False})):
        ds = compressed(data_set(SMOOTH, NumberOfFrames=stated), jpegs(SMOOTH), uid.JPEGBaseline8Bit, **how)
        assert len(decode_dicom(saved(ds, path))[0]) == 6, (stated, how)


def test_missing_attributes_take_their_usual_values_with_a_note(path):
    ds = data_set(SMOOTH)
    for keyword in ("SamplesPerPixel", "PhotometricInterpretation", "BitsStored", "PixelRepresentation"):
        del ds[keyword]
    recording = read_dicom(saved(ds, path))
    assert np.array_equal(recording.frames, SMOOTH)
    assert any("the header lacks SamplesPerPixel, Photometric" in note for note in recording.notes)


def test_a_file_without_an_image_says_so(path):
    ds = data_set(SMOOTH, Modality="SR")
    del ds.PixelData, ds.Rows, ds.Columns
    with pytest.raises(UnreadableFile, match="no image"):
        read_dicom(saved(ds, path))


def test_a_damaged_offset_table_joins_no_frames(path):
    ds = compressed(data_set(SMOOTH), jpegs(SMOOTH), uid.JPEGBaseline8Bit)
    code = bytearray(ds.PixelData)
    code[12:16] = b"\x10\0\0\0"  # the offset of the second frame
    ds.PixelData = bytes(code)
    assert len(read_dicom(saved(ds, path)).frames) == len(SMOOTH)


@pytest.mark.parametrize("has_bot", [True, False])
def test_frames_in_several_fragments(path, has_bot):
    ds = compressed(data_set(SMOOTH), jpegs(SMOOTH), uid.JPEGBaseline8Bit, fragments_per_frame=3, has_bot=has_bot)
    recording = read_dicom(saved(ds, path))
    assert np.abs(recording.frames.astype(int) - SMOOTH).mean() < 1 and len(recording.frames) == 6


@pytest.mark.parametrize("native", [True, False])
def test_a_cut_off_file_gives_the_frames_before_the_cut(path, native):
    ds = data_set(SMOOTH) if native else compressed(data_set(SMOOTH), jpegs(SMOOTH), uid.JPEGBaseline8Bit)
    whole = saved(ds, path).read_bytes()
    path.write_bytes(whole[: -2 * GREY.size - 100] if native else whole[: len(whole) - 1500])
    recording = read_dicom(path)
    assert 1 <= len(recording.frames) < 6 and any("truncated" in note for note in recording.notes)
    assert np.abs(recording.frames.astype(int) - SMOOTH[: len(recording.frames)]).mean() < 10


def test_a_damaged_frame_in_the_middle_costs_that_frame_and_not_the_times_of_the_others(path):
    codes = jpegs(SMOOTH)
    codes[2] = b"\xff\xd8" + b"\x07" * 40
    recording = read_dicom(saved(compressed(data_set(SMOOTH), codes, uid.JPEGBaseline8Bit), path))
    assert recording.times == pytest.approx([0, 0.1, 0.3, 0.4, 0.5])
    assert any("1 damaged" in note for note in recording.notes)


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian])
def test_files_without_preamble_or_meta(path, syntax):
    ds = data_set(SMOOTH, syntax)
    whole = saved(ds, path).read_bytes()
    path.write_bytes(whole[132:])
    assert is_dicom(path) and np.array_equal(decode_dicom(path)[0], SMOOTH)
    meta = pydicom.filereader.read_file_meta_info  # its length is in its first element
    path.write_bytes(whole)
    path.write_bytes(whole[144 + meta(path).FileMetaInformationGroupLength :])
    assert is_dicom(path) and np.array_equal(decode_dicom(path)[0], SMOOTH) and is_cine(path)


@pytest.mark.parametrize("syntax", [uid.JPEGBaseline8Bit, uid.JPEG2000Lossless, uid.RLELossless, uid.JPEGLSLossless])
def test_compressed_frames_without_a_stated_transfer_syntax(path, syntax):
    frames = SMOOTH
    if syntax == uid.RLELossless:
        ds = data_set(SMOOTH)
        ds.compress(syntax)
    elif syntax == uid.JPEGLSLossless:
        frames = np.stack([GREY] * 2)
        wide = 16 * frames.astype(np.uint16) + 7
        ds = compressed(data_set(wide, BitsStored=12), [base64.b64decode(CODES["jpegls12"])] * 2, syntax)
    else:
        kind = ("JPEG", {"quality": 95}) if syntax == uid.JPEGBaseline8Bit else ("JPEG2000", {"no_jp2": True})
        ds = compressed(data_set(SMOOTH), jpegs(SMOOTH, kind[0], **kind[1]), syntax)
    saved(ds, path)
    whole = path.read_bytes()
    length = pydicom.filereader.read_file_meta_info(path).FileMetaInformationGroupLength
    path.write_bytes(whole[144 + length :])
    assert np.abs(decode_dicom(path)[0].astype(int) - frames).mean() < 2


@pytest.mark.parametrize("content", [b"\x08\0" * 300, b"plain text, no DICOM file" * 20, b"\0" * 400, b"\x08\0\x05\0"])
def test_other_files_are_not_taken_for_dicom(path, content):
    path.write_bytes(content)
    assert not is_dicom(path)


def test_max_frames_is_noted(path):
    recording = read_dicom(saved(data_set(SMOOTH), path), max_frames=4)
    assert len(recording.frames) == 4 and "cut: only the first 4 of 6 frames are read" in recording.notes


TRUE_MEANS = {  # pydicom's own files: mean grey level by pydicom's decoders, colour table and luminance
    "examples_palette.dcm": True,
    "examples_rgb_color.dcm": True,
    "examples_ybr_color.dcm": False,
    "SC_rgb_jpeg_gdcm.dcm": True,
    "SC_rgb_rle_16bit_2frame.dcm": True,
    "SC_ybr_full_422_uncompressed.dcm": True,
    "SC_rgb_jls_lossy_line.dcm": True,
}


@pytest.mark.parametrize("name", TRUE_MEANS)
def test_files_of_pydicom_against_its_own_conversion(name):
    from pydicom.data import get_testdata_file
    from pydicom.pixels import apply_color_lut

    place = get_testdata_file(name, download=False)
    if place is None:
        pytest.skip("this pydicom does not hold the file")
    dicom_ffmpeg.install()
    ds = pydicom.dcmread(place)
    values = ds.pixel_array
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        values = apply_color_lut(values, ds)
    values = values / (np.iinfo(values.dtype).max / 255) @ [0.299, 0.587, 0.114]
    values = values if values.ndim == 3 else values[None]
    recording = read_dicom(place)
    top, bottom, left, right = recording.region or (0, ds.Rows, 0, ds.Columns)
    assert np.abs(recording.frames - values[:, top:bottom, left:right]).max() <= 1
    assert recording.colour == TRUE_MEANS[name]


SHARED = Path(os.environ.get("LDDM_TEST_DATA", Path(__file__).resolve().parents[4] / "shared/data")) / "dicom-cine"
shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the echocardiography loops of the shared data are not here")


@shared
def test_palette_loops_as_rle_and_as_jpeg_ls_are_the_same_and_right():
    rle, jpegls = (read_dicom(SHARED / name) for name in ("US-PAL-8-10x-echo.dcm", "jpeg-ls-Palette.dcm"))
    assert rle.frames.shape == (10, 430, 600) and np.array_equal(rle.frames, jpegls.frames)
    assert rle.fps == pytest.approx(1000 / 76) and rle.colour
    ds = pydicom.dcmread(SHARED / "US-PAL-8-10x-echo.dcm")
    tables = [
        np.frombuffer(ds[f"{channel}PaletteColorLookupTableData"].value, f"<u{bits // 8}") / (2**bits - 1) * 255
        for channel in ("Red", "Green", "Blue")
        for bits in (ds[f"{channel}PaletteColorLookupTableDescriptor"].value[2],)
    ]
    indices = ds.pixel_array
    grey = sum(weight * table[indices] for weight, table in zip((0.299, 0.587, 0.114), tables, strict=True))
    assert np.abs(rle.frames - grey).max() <= 1


@shared
def test_jpeg_and_rgb_loops_agree_with_ffmpeg_and_have_the_times_of_their_vector():
    jpeg = read_dicom(SHARED / "IM00001.fragmented_no_bot_jpeg_baseline.50.dcm")
    rgb = read_dicom(SHARED / "IM00001.implicit_little_endian.dcm")
    assert jpeg.frames.shape == rgb.frames.shape == (8, 202, 320) and jpeg.region == rgb.region
    ds = pydicom.dcmread(SHARED / "IM00001.fragmented_no_bot_jpeg_baseline.50.dcm")
    codes = b"".join(pydicom.encaps.generate_fragments(ds.PixelData)).split(b"\xff\xd8\xff")[1:]
    codec = av.CodecContext.create("mjpeg", "r")
    top, bottom, left, right = jpeg.region
    for code, ours, other in zip(codes, jpeg.frames, rgb.frames, strict=True):
        (frame,) = codec.decode(av.Packet(b"\xff\xd8\xff" + code))
        theirs = frame.to_ndarray(format="gray")[top:bottom, left:right].astype(int)
        assert np.abs(ours - theirs).mean() < 1.5 and np.abs(ours.astype(int) - other).mean() < 2
    vector = [float(value) for value in ds.FrameTimeVector]
    assert jpeg.times == pytest.approx(np.append(0, np.cumsum(vector[1:])) / 1000)
