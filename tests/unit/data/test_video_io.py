"""Files in, grey frames out; what is broken is named, never guessed."""

import numpy as np
import pytest
from PIL import Image

from lddm.data.video_io import UnreadableFile, decode_image, decode_video, write_video
from lddm.errors import LddmError


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
    monkeypatch.setattr("lddm.data.recording.MAX_PIXELS", 100)
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
