"""Compressed frames and streams of DICOM files that lie otherwise than the header or the standard says."""

import numpy as np
import pydicom
import pytest
from pydicom import uid

from lddm.io.dicom import codes
from lddm.io.dicom.read import is_cine, read_dicom
from lddm.io.recording import UnreadableFile
from tests.unit.io.test_dicom_headers import changed, noted, read
from tests.unit.io.test_dicom_reading import SMOOTH, compressed, data_set, film, jpegs, region, saved

BIG = np.kron(SMOOTH, np.ones((1, 4, 4), np.uint8))  # 64 x 96, for codecs


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cine.dcm"


@pytest.mark.parametrize("together", [2, 6])
@pytest.mark.parametrize("kind", ["JPEG", "JPEG2000"])
def test_several_frames_in_one_fragment(path, together, kind):
    options = {"no_jp2": True, "irreversible": False} if kind == "JPEG2000" else {}
    parts = [code + b"\0" * (len(code) % 2) for code in jpegs(SMOOTH, kind, **options)]
    joined = [b"".join(parts[k : k + together]) for k in range(0, 6, together)]
    syntax = uid.JPEGBaseline8Bit if kind == "JPEG" else uid.JPEG2000Lossless
    recording = read(path, compressed(data_set(SMOOTH), joined, syntax))
    assert recording.frames.shape == SMOOTH.shape and recording.fps == pytest.approx(10)
    assert np.abs(recording.frames.astype(int) - SMOOTH).mean() < 1 and noted(recording, "several frames")


@pytest.mark.parametrize("stated", [1, None])
def test_jp2_boxes_begin_a_frame(path, stated):
    boxed = jpegs(SMOOTH, "JPEG2000", no_jp2=False, irreversible=False)
    ds = compressed(data_set(SMOOTH), boxed, uid.JPEG2000Lossless, has_bot=False)
    recording = read(path, changed(ds, NumberOfFrames=stated))
    assert np.array_equal(recording.frames, SMOOTH) and noted(recording, "the file contains 6") and is_cine(path)


def bare(path):
    """The file without preamble and meta information."""
    length = pydicom.filereader.read_file_meta_info(path).FileMetaInformationGroupLength
    path.write_bytes(path.read_bytes()[144 + length :])
    return path


@pytest.mark.parametrize(
    ("codec", "container"),
    [
        ("libx264", "h264"),
        ("libx265", "hevc"),
        ("mpeg2video", "mpegts"),
        ("mpeg2video", "mpeg2video"),
        ("libx264", "mp4"),
    ],
)
def test_streams_without_a_stated_transfer_syntax(path, codec, container):
    code = film(codec, container, BIG)
    ds = data_set(np.repeat(BIG[..., None], 3, axis=-1), PhotometricInterpretation="YBR_PARTIAL_420")
    saved(compressed(ds, [code + b"\0" * (len(code) % 2)], uid.MPEG4HP41), path)
    recording = read_dicom(bare(path))
    assert recording.frames.shape == BIG.shape and np.abs(recording.frames.astype(int) - BIG).mean() < 6
    assert (codes.syntax_of(code) == uid.HEVCMP51) == (codec == "libx265")


def test_jp2_boxes_and_unknown_codes_without_a_stated_transfer_syntax(path):
    boxed = jpegs(SMOOTH, "JPEG2000", no_jp2=False, irreversible=False)
    saved(compressed(data_set(SMOOTH), boxed, uid.JPEG2000Lossless), path)
    assert np.array_equal(read_dicom(bare(path)).frames, SMOOTH)
    saved(compressed(data_set(SMOOTH), [b"abcdefgh"] * 6, uid.JPEG2000Lossless), path)
    with pytest.raises(UnreadableFile, match="cannot be inferred from the frames"):
        read_dicom(bare(path))


def stream_file(frames, rows, columns, **tags):
    code = film("libx264", "mp4", frames)
    ds = data_set(
        np.zeros((len(frames), rows, columns, 3), np.uint8), PhotometricInterpretation="YBR_PARTIAL_420", **tags
    )
    return compressed(ds, [code + b"\0" * (len(code) % 2)], uid.MPEG4HP41)


def test_a_stream_of_another_size_than_the_header_states(path):
    with pytest.raises(UnreadableFile, match="frames of 64 x 96 pixels, but the header states 128 x 192"):
        read(path, stream_file(BIG, 128, 192, SequenceOfUltrasoundRegions=[region(1, (8, 8, 150, 119))]))
    recording = read(path, stream_file(BIG, 56, 90))  # whole blocks of 16 pixels
    assert recording.frames.shape == (6, 56, 90) and noted(recording, "padding of its blocks cropped")
    assert np.abs(recording.frames.astype(int) - BIG[:, :56, :90]).mean() < 6


def test_the_regions_of_a_stream_that_was_made_square(path, monkeypatch):
    from lddm.io.dicom import stream
    from lddm.io.recording import Recording, square_pixels

    wide = Recording(square_pixels(BIG, 0.5), np.arange(6) / 10, 10.0, aspect=0.5)  # 64 x 192 of 64 x 96
    monkeypatch.setattr(stream, "decode_stream", lambda *_: wide)
    ds = stream_file(BIG, 64, 96, SequenceOfUltrasoundRegions=[region(1, (10, 4, 49, 43))], PixelAspectRatio=["1", "2"])
    assert np.array_equal(read(path, ds).frames, wide.frames[:, 4:44, 20:100])
