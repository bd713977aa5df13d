"""DICOM headers as devices and converters write them: empty, retired, misspelt, contradicting, or in forms seldom seen."""

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from lddm.io.dicom.read import is_cine, read_dicom
from lddm.io.recording import UnreadableFile
from tests.unit.io.test_dicom_reading import (
    SMOOTH,
    VECTOR,
    WIDE,
    compressed,
    data_set,
    jpegs,
    palette,
    region,
    saved,
)

TWELVE = {"BitsStored": 12, "HighBit": 11}
COLOUR = np.repeat(SMOOTH[..., None], 3, axis=-1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cine.dcm"


def changed(ds, **tags):
    """The data set with other tags; None deletes one."""
    for keyword, value in tags.items():
        if value is not None:
            setattr(ds, keyword, value)
        elif keyword in ds:
            delattr(ds, keyword)
    return ds


def read(path, ds):
    return read_dicom(saved(ds, path))


def noted(recording, text):
    return any(text in note for note in recording.notes)


@pytest.mark.parametrize("frames", [SMOOTH, WIDE], ids=["8 bits", "12 bits"])
@pytest.mark.parametrize("other", ["", 300], ids=["both", "width only"])
def test_an_empty_window_is_no_window(path, frames, other):
    tags = {"WindowCenter": other, "WindowWidth": ""} | (TWELVE if frames is WIDE else {})
    recording = read(path, data_set(frames, **tags))
    assert np.abs(recording.frames.astype(int) - SMOOTH).max() <= 1
    assert noted(recording, "invalid window ignored") == bool(other)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID", ""])
def test_a_window_after_rescaling_that_inverts(path, function):
    tags = {"RescaleSlope": -1, "RescaleIntercept": 4095, "WindowCenter": 2048, "WindowWidth": 800, **TWELVE}
    recording = read(path, data_set(WIDE, VOILUTFunction=function, **tags))
    values = 4095.0 - WIDE
    if function == "SIGMOID":
        wanted = 255 / (1 + np.exp(-4 * (values - 2048) / 800))
    else:
        center, width = (2048, 800) if function == "LINEAR_EXACT" else (2047.5, 799)
        wanted = np.clip((values - center) / width + 0.5, 0, 1) * 255
    assert np.abs(recording.frames - wanted).max() <= 1 and not noted(recording, "window")


@pytest.mark.parametrize(
    ("tags", "scale", "note"),
    [
        ({"RescaleSlope": "", "RescaleIntercept": 5, "WindowCenter": 133, "WindowWidth": 256}, 1, False),
        ({"RescaleIntercept": 5, "WindowCenter": 133, "WindowWidth": 256}, 1, False),
        ({"RescaleSlope": 2, "RescaleIntercept": "", "WindowCenter": 256, "WindowWidth": 512}, 1, False),
        ({"RescaleSlope": 0, "RescaleIntercept": 0, "WindowCenter": 128, "WindowWidth": 256}, 1, True),
        ({"RescaleSlope": 0, "RescaleIntercept": 0, "WindowCenter": 64, "WindowWidth": 128}, 2, True),
    ],
)
def test_incomplete_or_absurd_rescaling(path, tags, scale, note):
    recording = read(path, data_set(SMOOTH, **tags))
    assert np.abs(recording.frames - np.clip(scale * SMOOTH.astype(float), 0, 255)).max() <= 2
    assert noted(recording, "invalid rescaling ignored") == note and not noted(recording, "window")


@pytest.mark.parametrize("packed", [True, False])
def test_a_voi_table_of_8_bit_entries(path, packed):
    entries = 255 - np.arange(256)
    table = Dataset()
    table.LUTDescriptor = [256, 0, 8]
    table.LUTData = entries.astype("u1" if packed else "<u2").tobytes()
    table["LUTData"].VR = "OW"
    recording = read(path, data_set(SMOOTH, VOILUTSequence=[table]))
    assert np.array_equal(recording.frames, 255 - SMOOTH)


def test_a_voi_table_of_8_bits_for_samples_of_12(path):
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [4096, 0, 8], (np.arange(4096) // 16).astype("<u2").tobytes()
    table["LUTData"].VR = "OW"
    recording = read(path, data_set(WIDE, VOILUTSequence=[table], **TWELVE))
    assert np.array_equal(recording.frames, SMOOTH)
    table.LUTData = table.LUTData[:100]
    recording = read(path, data_set(WIDE, VOILUTSequence=[table], **TWELVE))
    assert np.abs(recording.frames.astype(int) - SMOOTH).max() <= 1 and noted(recording, "invalid VOI LUT ignored")


@pytest.mark.parametrize("packed", [True, False])
def test_a_modality_table_of_8_bit_entries(path, packed):
    table = Dataset()
    table.LUTDescriptor, table.LUTData = (
        [4096, 0, 8],
        (np.arange(4096) // 16).astype("u1" if packed else "<u2").tobytes(),
    )
    table["LUTData"].VR = "OW"
    assert np.array_equal(read(path, data_set(WIDE, ModalityLUTSequence=[table], **TWELVE)).frames, SMOOTH)


@pytest.mark.parametrize("term", ["YBR_PARTIAL_422", "YBR_PARTIAL_420"])
def test_a_jpeg_labelled_partial_range_has_the_full_range(path, term):
    ds = compressed(data_set(COLOUR, PhotometricInterpretation=term), jpegs(COLOUR), uid.JPEGBaseline8Bit)
    recording = read(path, ds)
    assert np.abs(recording.frames.astype(int) - SMOOTH).mean() < 1 and noted(recording, term)


def test_samples_of_partial_range(path):
    luma = np.rint(16 + SMOOTH * (219 / 255)).astype(np.uint8)
    grey = np.full_like(luma[:, :, ::2], 128)
    stored = np.stack([luma[:, :, ::2], luma[:, :, 1::2], grey, grey], axis=-1)
    ds = data_set(COLOUR, PhotometricInterpretation="YBR_PARTIAL_422", PixelData=stored.tobytes())
    recording = read(path, ds)
    assert recording.frames.shape == SMOOTH.shape and np.abs(recording.frames.astype(int) - SMOOTH).max() <= 1


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"PhotometricInterpretation": "HSV"}, "HSV, a retired form"),
        ({"PhotometricInterpretation": "YBR_PARTIAL_420"}, "YBR_PARTIAL_420, a format of compressed video"),
        ({"PhotometricInterpretation": "Doe^John"}, "PhotometricInterpretation is not a term defined by DICOM"),
        ({"PhotometricInterpretation": "MONOCHROME2"}, "SamplesPerPixel is 3, but"),
        ({"BitsStored": 12}, "BitsAllocated 8 and BitsStored 12"),
    ],
)
def test_attributes_that_cannot_be_read_by_are_named(path, tags, reason):
    with pytest.raises(UnreadableFile, match=reason) as caught:
        read(path, data_set(COLOUR, **tags))
    assert "Doe" not in str(caught.value)


@pytest.mark.parametrize("term", ["MONOCHROME 1", "monochrome1", "MONOCHROME_1"])
def test_a_misspelt_term_that_can_mean_one_only(path, term):
    recording = read(path, data_set(SMOOTH, PhotometricInterpretation=term))
    assert np.array_equal(recording.frames, 255 - SMOOTH) and noted(recording, "read as MONOCHROME1")


@pytest.mark.parametrize(
    "lacking", [("SamplesPerPixel", "PlanarConfiguration"), ("SamplesPerPixel",), ("PlanarConfiguration",)]
)
def test_colour_tells_its_samples(path, lacking):
    recording = read(path, changed(data_set(COLOUR), **dict.fromkeys(lacking)))
    assert np.array_equal(recording.frames, SMOOTH) and noted(recording, f"the header lacks {', '.join(lacking)}")
    assert is_cine(path)


def test_codes_of_another_size_than_the_header_states(path):
    codes_ = jpegs(SMOOTH)
    for tags in ({"Rows": 12}, {"Rows": 24, "Columns": 16}):  # the latter has as many pixels
        with pytest.raises(UnreadableFile, match="have 16 x 24 pixels of 1 samples, but the header states"):
            read(path, compressed(data_set(SMOOTH, **tags), codes_, uid.JPEGBaseline8Bit))
    with pytest.raises(UnreadableFile, match="have 16 x 24 pixels of 1 samples, .* of 3 samples"):
        read(path, compressed(data_set(COLOUR), codes_, uid.JPEGBaseline8Bit))
    codes_ = jpegs(SMOOTH, "JPEG2000", no_jp2=True, irreversible=False)
    with pytest.raises(UnreadableFile, match="have 16 x 24 pixels"):
        read(path, compressed(data_set(SMOOTH, Rows=24, Columns=16), codes_, uid.JPEG2000Lossless))


def test_big_endian_words_of_frames_of_odd_length(path):
    frames = SMOOTH[:5, :15, :23]
    ds = data_set(frames, uid.ExplicitVRBigEndian)
    ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
    ds["PixelData"].VR = "OW"
    assert np.array_equal(read(path, ds).frames, frames)


def test_single_bits_are_read_where_frames_end_with_a_byte(path):
    for width, readable in ((24, True), (23, False)):
        bits = SMOOTH[:, :15, :width] > 100
        ds = data_set(bits.astype(np.uint8), BitsAllocated=1, BitsStored=1, HighBit=0)
        packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
        ds.PixelData = packed + b"\0" * (len(packed) % 2)
        if readable:
            assert np.array_equal(read(path, ds).frames, bits * 255)
        else:
            with pytest.raises(UnreadableFile, match="1 bit per pixel"):
                read(path, ds)


def test_float_pixels(path):
    ds = data_set(SMOOTH, FloatPixelData=(SMOOTH / 255).astype(np.float32).tobytes(), BitsAllocated=32)
    ds = changed(ds, PixelData=None, BitsStored=None, HighBit=None, PixelRepresentation=None)
    low, high = int(SMOOTH.min()), int(SMOOTH.max())
    assert np.abs(read(path, ds).frames - (SMOOTH - float(low)) * 255 / (high - low)).max() <= 1


def test_a_dark_palette_is_noted(path):
    table = np.arange(256) * 200 // 255
    recording = read(path, data_set(SMOOTH, PhotometricInterpretation="PALETTE COLOR", **palette([table] * 3)))
    assert np.array_equal(recording.frames, table[SMOOTH]) and noted(recording, "no palette entry exceeds 200")


@pytest.mark.parametrize(
    ("increments", "rate", "note"),
    [
        ([0, 50, 50, 0, 50, 50], 20, "1 increments of FrameTimeVector are not positive"),
        ([0, 50, 50, 50, 50], 20, "FrameTimeVector has 5 values for 6 frames"),  # the last frame is padding
        ([0, 0, 0, 0, 50, 50], 7, "invalid FrameTimeVector ignored"),
    ],
)
def test_faults_in_a_frame_time_vector(path, increments, rate, note):
    ds = data_set(SMOOTH, FrameTimeVector=increments, FrameIncrementPointer=VECTOR, CineRate=7)
    recording = read(path, changed(ds, FrameTime=None))
    assert recording.fps == pytest.approx(rate) and noted(recording, note)
    assert np.diff(recording.times) == pytest.approx(1 / rate)


@pytest.mark.parametrize(("modality", "named"), [("IVUS", False), ("EC", False), ("OT", True)])
def test_intravascular_ultrasound_is_ultrasound(path, modality, named):
    assert noted(read(path, data_set(SMOOTH, Modality=modality)), "not ultrasound") == named


WHOLE, STRIP = (0, 0, 23, 10), (0, 11, 23, 15)


@pytest.mark.parametrize(
    "beside", [region(0, STRIP, 5), region(10, STRIP, 0), region(0, STRIP, 0), region(13, STRIP, 1)]
)
@pytest.mark.parametrize("trace", [region(5, WHOLE, 2), region(3, WHOLE, 3)])
def test_traces_beside_graphics_or_an_ecg_are_no_video(path, trace, beside):
    with pytest.raises(UnreadableFile, match="M-mode or spectral"):
        read(path, data_set(SMOOTH, SequenceOfUltrasoundRegions=[trace, beside]))
    image = region(1, STRIP, 0)  # of no stated format, but tissue
    assert read(path, data_set(SMOOTH, SequenceOfUltrasoundRegions=[trace, image])).region is None


def test_the_second_of_two_images_side_by_side_is_noted(path):
    halves = [region(1, (0, 0, 11, 15)), region(1, (11, 0, 23, 15))]
    recording = read(path, data_set(SMOOTH, SequenceOfUltrasoundRegions=halves))
    assert recording.region == (0, 16, 11, 24) and noted(recording, "1 more 2-D regions outside")
    inside = region(2, (2, 2, 9, 12))
    assert not noted(read(path, data_set(SMOOTH, SequenceOfUltrasoundRegions=[halves[0], inside])), "beside")
