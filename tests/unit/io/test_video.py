"""Files in, grey frames out; what is broken is named, never guessed."""

import struct

import numpy as np
import pytest
from PIL import ExifTags, Image

from lddm.errors import LddmError
from lddm.io.recording import upright
from lddm.io.video import UnreadableFile, decode_image, decode_video, read_video, write_video


@pytest.fixture
def frames():
    rows, columns = np.mgrid[:40, :48]
    return np.stack([((rows * 3 + columns * 2 + 8 * t) % 200 + 20).astype(np.uint8) for t in range(12)])


@pytest.mark.parametrize(("suffix", "error"), [(".mp4", 6.0), (".avi", 0.0), (".gif", 0.6)])
def test_what_is_written_can_be_read(tmp_path, frames, suffix, error):
    path = tmp_path / f"clip{suffix}"
    write_video(path, frames, 10, comment="synthetic")
    back, fps = decode_video(path)
    assert back.shape == frames.shape and fps == pytest.approx(10, rel=0.02)
    assert np.abs(back.astype(float) - frames).mean() <= error


@pytest.mark.parametrize("suffix", [".mpeg", ".mov", ".mp4", ".avi"])
def test_every_container_of_the_lung_collection(tmp_path, frames, suffix):
    import av

    path = tmp_path / f"clip{suffix}"
    codec = {".mpeg": "mpeg2video", ".mov": "mjpeg", ".mp4": "mpeg4", ".avi": "mpeg4"}[suffix]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = 48, 40
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode())
    back, fps = decode_video(path)
    assert len(back) == 12 and back.shape[1:] == (40, 48) and fps == pytest.approx(25)
    assert np.corrcoef(back[3].ravel(), frames[3].ravel())[0, 1] > 0.95


def test_reading_stops_at_max_frames(tmp_path, frames):
    write_video(tmp_path / "clip.avi", frames, 10)
    assert len(decode_video(tmp_path / "clip.avi", max_frames=5)[0]) == 5


def test_a_cut_off_video_keeps_its_good_frames_and_garbage_is_refused(tmp_path, frames):
    many = np.concatenate([frames] * 8)
    write_video(tmp_path / "clip.gif", many, 10)
    whole = (tmp_path / "clip.gif").read_bytes()
    (tmp_path / "cut.gif").write_bytes(whole[: len(whole) // 2])
    assert 0 < len(decode_video(tmp_path / "cut.gif")[0]) < 96
    (tmp_path / "noise.mp4").write_bytes(b"\x00\x01garbage" * 100)
    with pytest.raises(UnreadableFile, match="noise.mp4"):
        decode_video(tmp_path / "noise.mp4")


def test_images_of_all_modes_become_grey(tmp_path):
    grey = np.tile(np.arange(0, 250, 5, dtype=np.uint8), (40, 1))
    Image.fromarray(grey).save(tmp_path / "l.png")
    Image.fromarray(np.repeat(grey[..., None], 3, axis=2)).save(tmp_path / "rgb.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "i16.png")
    assert np.array_equal(decode_image(tmp_path / "l.png"), grey)
    assert np.array_equal(decode_image(tmp_path / "rgb.png"), grey)
    assert np.corrcoef(decode_image(tmp_path / "i16.png").ravel(), grey.ravel())[0, 1] > 0.999
    transparent = Image.fromarray(np.dstack([grey, grey, grey, np.zeros_like(grey)]))
    transparent.save(tmp_path / "rgba.png")
    assert decode_image(tmp_path / "rgba.png").max() == 0  # invisible pixels are black, whatever lies below


def test_a_bomb_and_a_text_file_are_refused(tmp_path, monkeypatch):
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(UnreadableFile, match="text.png"):
        decode_image(tmp_path / "text.png")
    monkeypatch.setattr("lddm.io.recording.MAX_PIXELS", 100)
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "big.png")
    with pytest.raises(UnreadableFile, match="20 x 20"):
        decode_image(tmp_path / "big.png")


def test_png_folder_and_npz_say_that_they_are_synthetic(tmp_path, frames):
    write_video(tmp_path / "folder", frames, 10, "synthetic")
    assert len(list((tmp_path / "folder").glob("*.png"))) == 12
    assert "synthetic" in (tmp_path / "folder/about.json").read_text()
    write_video(tmp_path / "clip.npz", frames, 10, "synthetic")
    loaded = np.load(tmp_path / "clip.npz")
    assert np.array_equal(loaded["frames"], frames) and loaded["comment"] == "synthetic"
    with pytest.raises(LddmError, match=r"\.xyz"):
        write_video(tmp_path / "clip.xyz", frames, 10)
    assert not list(tmp_path.glob(".*"))  # nothing half-written stays


@pytest.mark.parametrize("shape", [(39, 48), (40, 47), (39, 47)])
def test_an_odd_size_survives_h264(tmp_path, frames, shape):
    odd = frames[:, : shape[0], : shape[1]]
    write_video(tmp_path / "odd.mp4", odd, 10, "synthetic")
    back = read_video(tmp_path / "odd.mp4").frames
    assert back.shape == odd.shape and np.abs(back.astype(float) - odd).mean() <= 6


def test_the_shape_and_the_size_of_pixels_are_kept(tmp_path, frames):
    import json

    import av

    write_video(tmp_path / "high.mp4", frames, 10, aspect=1.5)
    with av.open(str(tmp_path / "high.mp4")) as container:
        assert float(container.streams.video[0].sample_aspect_ratio) == pytest.approx(1 / 1.5)
    assert read_video(tmp_path / "high.mp4").frames.shape == (12, 60, 48)  # square pixels again
    write_video(tmp_path / "known.mp4", frames, 10, spacing=(0.2, 0.1))
    assert read_video(tmp_path / "known.mp4").frames.shape == (12, 80, 48)
    write_video(tmp_path / "known.npz", frames, 10, spacing=(0.2, 0.1))
    write_video(tmp_path / "folder", frames, 10, spacing=(0.2, 0.1))
    assert np.load(tmp_path / "known.npz")["spacing_mm"].tolist() == [0.2, 0.1]
    assert json.loads((tmp_path / "folder/about.json").read_text())["spacing_mm"] == [0.2, 0.1]


def encode(path, frames, codec="mpeg4", pixels="yuv420p", rate=10, times=None, aspect=None, interlaced=False):
    """A video with time stamps in ms, a sample aspect ratio, or fields."""
    from fractions import Fraction

    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:], pixels
        stream.bit_rate = 8_000_000
        if aspect:
            stream.codec_context.sample_aspect_ratio = Fraction(*aspect)
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if interlaced:
            stream.codec_context.flags |= 0x20040000  # interlaced DCT and motion estimation
        for number, values in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(values), format="gray").reformat(format=pixels)
            if times is not None:
                frame.pts, frame.time_base = round(times[number] * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turned(path, matrix):
    """Write a display matrix (a, b, c, d) into the track header of an MP4 or MOV file."""
    content = bytearray(path.read_bytes())
    place = content.find(b"tkhd") + 44
    a, b, c, d = (65536 * value for value in matrix)
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("matrix", "orientation"),
    [
        ((-1, 0, 0, 1), 2),
        ((-1, 0, 0, -1), 3),
        ((1, 0, 0, -1), 4),
        ((0, 1, 1, 0), 5),
        ((0, 1, -1, 0), 6),
        ((0, -1, -1, 0), 7),
        ((0, -1, 1, 0), 8),
    ],
)
def test_videos_are_turned_as_their_display_matrix_says(tmp_path, frames, matrix, orientation):
    path = encode(tmp_path / "v.mp4", frames)
    plain = read_video(path).frames
    turned(path, matrix)
    recording = read_video(path)
    assert recording.orientation == orientation
    assert np.array_equal(recording.frames, upright(plain, orientation))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm"])
def test_frames_carry_their_times(tmp_path, frames, suffix):
    times = [0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.4, 0.6, 0.8, 1.0, 1.04, 1.08]
    path = encode(tmp_path / f"v.{suffix}", frames, "libvpx" if suffix == "webm" else "mpeg4", rate=25, times=times)
    recording = read_video(path)
    assert recording.times == pytest.approx(times, abs=2e-3) and "uneven" in recording.notes[0]


def test_equal_frames_that_pillow_merges_keep_their_time(tmp_path, frames):
    many = [Image.fromarray(frames[t]) for t in (0, 1, 2, 2, 2, 2, 3, 4, 5, 6, 7, 8)]
    many[0].save(tmp_path / "v.gif", save_all=True, append_images=many[1:], duration=100, loop=0)
    times = read_video(tmp_path / "v.gif").times
    assert times == pytest.approx([0, 0.1, 0.2, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1], abs=1e-3)


@pytest.mark.parametrize(("aspect", "shape"), [((2, 1), (40, 96)), ((1, 2), (80, 48)), ((9, 8), (40, 54))])
@pytest.mark.parametrize("suffix", ["mp4", "mpeg", "mkv"])
def test_pixels_are_made_square(tmp_path, frames, aspect, shape, suffix):
    codec = "mpeg2video" if suffix == "mpeg" else "mpeg4"
    if codec == "mpeg2video":  # states the aspect of the picture: 4:3 or 16:9
        aspect, shape = (10, 9), (40, 53)
    recording = read_video(encode(tmp_path / f"v.{suffix}", frames, codec, aspect=aspect, rate=25))
    assert recording.frames.shape[1:] == shape and "square pixels" in recording.notes[0]


def test_transparent_pixels_of_a_gif_are_black(tmp_path, frames):
    palette, pages = [value for level in range(256) for value in (level,) * 3], []
    for frame in np.where(frames > 60, frames, 0).astype(np.uint8):
        page = Image.frombytes("P", frame.shape[::-1], frame.tobytes())
        page.putpalette(palette)
        pages.append(page)
    pages[0].save(tmp_path / "v.gif", save_all=True, append_images=pages[1:], duration=100, transparency=0, disposal=2)
    found = read_video(tmp_path / "v.gif").frames
    assert (found[frames <= 60] == 0).all() and np.abs(found.astype(int) - frames)[frames > 60].max() <= 1


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_transparent_pixels_of_a_webm_are_black(tmp_path, frames, codec):
    import av

    with av.open(str(tmp_path / "a.webm"), "w") as container:
        stream = container.add_stream(codec, rate=10, options={"auto-alt-ref": "0", "deadline": "realtime"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:], "yuva420p"
        for values in frames:
            rgba = np.full((*values.shape, 4), 200, np.uint8)
            rgba[..., 3] = 0
            rgba[8:24, 8:24, 3] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgba, format="rgba")))
        container.mux(stream.encode())
    recording = read_video(tmp_path / "a.webm")
    assert len(recording.frames) == len(frames) and recording.fps == 10
    assert recording.frames[:, :4, :4].max() < 8 and recording.frames[:, 12:20, 12:20].min() > 180


def test_a_file_that_breaks_off_without_an_error_and_two_streams_are_noted(tmp_path, frames):
    import av

    with av.open(str(tmp_path / "two.mkv"), "w") as container:
        streams = [container.add_stream("ffv1", rate=10) for _ in range(2)]
        for stream in streams:
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:], "gray"
        for values in frames:
            for stream in streams:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="gray")))
        for stream in streams:
            container.mux(stream.encode())
    assert "2 video streams" in read_video(tmp_path / "two.mkv").notes[0]
    content = encode(tmp_path / "one.mkv", frames, "ffv1", "gray").read_bytes()
    assert read_video(tmp_path / "one.mkv").notes == ()
    (tmp_path / "one.mkv").write_bytes(content[: len(content) // 2])
    assert "the file may be truncated" in read_video(tmp_path / "one.mkv").notes[0]


@pytest.mark.parametrize("name", ["a.mp4", "a.png"])
def test_a_reason_does_not_name_the_folder(tmp_path, name):
    from lddm.data.sources.base import read_recording

    (tmp_path / name).write_bytes(b"nothing that can be read")
    with pytest.raises(UnreadableFile) as caught:
        read_recording(tmp_path / name, 9)
    assert str(tmp_path) not in str(caught.value) and name in str(caught.value)


@pytest.mark.parametrize(("duration", "rate"), [(10, 10), (20, 50), (40, 25)])
def test_short_durations_of_a_gif_count_as_in_browsers(tmp_path, frames, duration, rate):
    images = [Image.fromarray(np.roll(values, 3 * number, 1)) for number, values in enumerate(frames)]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=duration)
    assert read_video(tmp_path / "a.gif").fps == pytest.approx(rate, rel=0.01)


def test_absurd_rates_are_unknown(tmp_path, frames):
    path = encode(tmp_path / "v.avi", frames, "mjpeg", "yuvj420p")
    content = bytearray(path.read_bytes())
    struct.pack_into("<II", content, content.find(b"strh") + 28, 1, 1_000_000)
    path.write_bytes(content)
    recording = read_video(path)
    assert len(recording.frames) == 12 and np.isnan(recording.fps)


def test_interlaced_frames_are_deinterlaced(tmp_path):
    rows, columns = np.mgrid[:96, :128]
    moments = np.stack([((columns + 12 * t) // 16 % 2 * 180 + 30).astype(np.uint8) for t in range(24)])
    woven = np.where(rows % 2 == 0, moments[::2], moments[1::2])
    path = encode(tmp_path / "v.mpeg", woven, "mpeg2video", rate=25, interlaced=True)

    def combing(frames):  # how much more neighbouring rows differ than every second
        lines = frames[2:-2].astype(int)
        return np.abs(np.diff(lines, axis=1)).mean() / (1 + np.abs(lines[:, 2:] - lines[:, :-2]).mean())

    recording = read_video(path)
    assert len(recording.frames) == 12 and "deinterlaced" in recording.notes[0]
    assert combing(recording.frames) < 0.3 * combing(woven)
    assert recording.fps == pytest.approx(25)


def test_a_cover_image_is_passed_over(tmp_path, frames):
    import av

    path = tmp_path / "v.mkv"
    encode(tmp_path / "plain.mp4", frames)
    with av.open(str(tmp_path / "plain.mp4")) as plain, av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 200, 160, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        film = container.add_stream_from_template(plain.streams.video[0])
        picture = av.VideoFrame.from_ndarray(np.full((200, 160), 99, np.uint8), format="gray").reformat(
            format="yuvj420p"
        )
        container.mux(cover.encode(picture))
        for packet in plain.demux(video=0):
            if packet.dts is not None:
                packet.stream = film
                container.mux(packet)
        container.mux(cover.encode())
    assert read_video(path).frames.shape == (12, 40, 48)


def test_colour_doppler_is_flagged(tmp_path, frames):
    import av

    colour = np.stack([frames] * 3, axis=-1)
    for name, box in (("grey", 0), ("flow", 16)):
        values = colour.copy()
        values[:, :box, :box] = (200, 20, 20)
        with av.open(str(tmp_path / f"{name}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.height, stream.width, stream.pix_fmt = 40, 48, "yuv420p"
            for frame in values:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    assert read_video(tmp_path / "flow.mp4").colour and not read_video(tmp_path / "grey.mp4").colour


def test_a_video_that_is_cut_says_so(tmp_path, frames):
    write_video(tmp_path / "v.avi", frames, 10)
    assert read_video(tmp_path / "v.avi", 12).notes == ()
    assert read_video(tmp_path / "v.avi", 11).notes == ("cut: only the first 11 frames are read",)


def test_an_animated_webp_states_its_comment(tmp_path, frames):
    write_video(tmp_path / "v.webp", frames, 10, comment="synthetic")
    with Image.open(tmp_path / "v.webp") as image:
        assert image.getexif()[ExifTags.Base.ImageDescription] == "synthetic" and image.n_frames == len(frames)


def test_each_png_of_a_folder_states_the_comment(tmp_path, frames):
    write_video(tmp_path / "v", frames, 10, comment="synthetic, µ")
    for path in (tmp_path / "v").glob("*.png"):
        with Image.open(path) as image:
            assert image.text["Comment"] == "synthetic, µ"
