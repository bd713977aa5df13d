"""Videos that are cut off, damaged in the middle, interlaced by their container only, or deeper than 8 bits."""

import struct

import av
import numpy as np
import pytest
from PIL import Image

from lddm.data.sources.base import read_recording
from lddm.io.recording import UnreadableFile
from lddm.io.video import read_video

ROWS, COLUMNS = np.mgrid[:48, :64]
CLIP = np.stack([(128 + 100 * np.sin(COLUMNS / 5 + ROWS / 7 + t / 3)).astype(np.uint8) for t in range(40)])


def film(path, frames=CLIP, codec="mjpeg", pixels="yuvj420p", rate=20, times=None, format=None, **options):
    with av.open(str(path), "w", format=format) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:], pixels
        for number, values in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(values, format="gray16le" if values.dtype == np.uint16 else "gray")
            frame.pts = number if times is None else times[number]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def cut(path, where):
    path.write_bytes(path.read_bytes()[:where])
    return path


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "rate"),
    [
        ("a.avi", "mjpeg", "yuvj420p", 20),
        ("a.wmv", "wmv2", "yuv420p", 20),
        ("a.mpg", "mpeg2video", "yuv420p", 25),
        ("a.ts", "mpeg2video", "yuv420p", 25),
        ("a.gif", "", "", 20),
    ],
)
def test_a_file_without_its_end_is_said_and_a_whole_one_is_not(tmp_path, name, codec, pixels, rate):
    path = tmp_path / name
    if name == "a.gif":
        pages = [Image.fromarray(frame) for frame in CLIP]
        pages[0].save(path, save_all=True, append_images=pages[1:], duration=50)
    else:
        film(path, CLIP, codec, pixels, rate)
    whole = read_video(path)
    assert len(whole.frames) == 40 and whole.notes == ()
    content = path.read_bytes()
    chunk = content.find(b"00dc", len(content) * 6 // 10)
    recording = read_video(cut(path, chunk if name == "a.avi" else len(content) * 6 // 10))
    assert 15 < len(recording.frames) < 35 and "truncated" in recording.notes[0]


def test_a_late_start_and_a_rest_at_the_end_are_no_cut(tmp_path):
    film(tmp_path / "late.mkv", times=range(200, 240))
    assert read_video(tmp_path / "late.mkv").notes == ()
    pages = [Image.fromarray(frame) for frame in CLIP]
    pages[0].save(tmp_path / "rest.gif", save_all=True, append_images=pages[1:], duration=[50] * 39 + [3000])
    assert read_video(tmp_path / "rest.gif").notes == ()


def test_a_damaged_frame_costs_itself_and_keeps_the_times_of_the_others(tmp_path):
    content = bytearray(film(tmp_path / "a.avi").read_bytes())
    where = content.find(b"\xff\xd8", len(content) // 2)
    length = content.find(b"00dc", where) - where
    content[where : where + length] = bytes(length)
    (tmp_path / "a.avi").write_bytes(content)
    recording = read_video(tmp_path / "a.avi")
    assert len(recording.frames) == 39 and recording.notes[0] == "damaged: 1 frames dropped"
    assert recording.fps == pytest.approx(20) and recording.times[-1] == pytest.approx(39 / 20)


@pytest.mark.parametrize("order", ["tt", "bb"])
def test_a_container_that_says_interlaced_is_believed(tmp_path, order):
    moments = np.stack([((COLUMNS + 6 * t) // 8 % 2 * 180 + 30).astype(np.uint8) for t in range(24)])
    first, second = (moments[::2], moments[1::2]) if order == "tt" else (moments[1::2], moments[::2])
    woven = np.where(ROWS % 2 == 0, first, second)
    recording = read_video(film(tmp_path / "i.mkv", woven, "ffv1", "yuv420p", 25, field_order=order))

    def combing(frames):
        lines = frames[2:-2].astype(int)
        return np.abs(np.diff(lines, axis=1)).mean() / (1 + np.abs(lines[:, 2:] - lines[:, :-2]).mean())

    assert "deinterlaced" in recording.notes[0] and len(recording.frames) == 12
    assert combing(recording.frames) < 0.3 * combing(woven)


@pytest.mark.parametrize(("factor", "noted"), [(257, False), (16, True)])
def test_sixteen_bit_video_has_the_grey_levels_of_images(tmp_path, factor, noted):
    path = film(tmp_path / "d.mkv", CLIP.astype(np.uint16) * factor, "ffv1", "gray16le")
    recording = read_video(path)
    assert np.abs(recording.frames.astype(int) - CLIP).max() <= 1 and recording.fps == pytest.approx(20)
    assert any("12-bit" in note for note in recording.notes) == noted


@pytest.mark.parametrize(
    ("name", "said"), [("still.mp4", "a JPEG image"), ("raw.mp4", "a raw H.264 stream"), ("page.avi", "a web page")]
)
def test_another_format_under_the_suffix_of_a_video_is_named(tmp_path, name, said):
    path = tmp_path / name
    if name == "still.mp4":
        Image.fromarray(CLIP[0]).save(path, "JPEG")
    elif name == "raw.mp4":
        film(path, codec="libx264", pixels="yuv420p", format="h264")
    else:
        path.write_bytes(b"<!DOCTYPE html><html>not found</html>")
    with pytest.raises(UnreadableFile, match=said):
        read_recording(path, 9)


def test_a_video_under_the_suffix_of_an_image_is_named(tmp_path):
    film(tmp_path / "v.avi").rename(tmp_path / "v.png")
    with pytest.raises(UnreadableFile, match="an AVI video"):
        read_recording(tmp_path / "v.png", 9)


def test_a_size_in_the_header_of_an_mp4_that_is_not_there_is_said(tmp_path):
    path = film(tmp_path / "a.mp4", codec="mpeg4", pixels="yuv420p")
    assert read_video(path).notes == ()
    path.write_bytes(path.read_bytes() + struct.pack(">I4s", 5000, b"free") + bytes(20))
    assert "ends before its stated end" in read_video(path).notes[0]


def test_a_damaged_file_under_its_own_suffix_is_not_called_misnamed(tmp_path):
    path = film(tmp_path / "a.mp4", codec="mpeg4", pixels="yuv420p")
    with pytest.raises(UnreadableFile, match="cannot be decoded: (?!it is)"):
        read_recording(cut(path, 3000), 9)
