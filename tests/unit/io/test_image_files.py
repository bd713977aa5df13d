"""Image files: orientation, transparency, bit depth, several frames in one file, and numbered files in a folder."""

import json

import numpy as np
import pytest
from PIL import Image

from lddm.data.sources.base import read_recording
from lddm.io.frame_folder import frame_folders
from lddm.io.image import decode_image, frame_count, read_image
from lddm.io.recording import UnreadableFile
from lddm.io.video import write_video

ROWS, COLUMNS = np.mgrid[:40, :56]
GREY = ((ROWS * 3 + COLUMNS * 2) % 200 + 20).astype(np.uint8)
CLIP = np.stack([np.roll(GREY, 3 * t, axis=1) for t in range(12)])
PAGES = [Image.fromarray(frame) for frame in CLIP]
ORIENTED = {
    "jpg": {"quality": 98},
    "png": {},
    "webp": {"lossless": True},
    "tif": {"compression": "raw"},
    "lzw.tif": {"compression": "tiff_lzw"},
}


@pytest.mark.parametrize("suffix", ORIENTED)
@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 8])
def test_the_orientation_is_applied_in_every_format(tmp_path, suffix, orientation):
    path, exif = tmp_path / f"i.{suffix}", Image.Exif()
    exif[0x0112] = orientation
    more = {"tiffinfo": {0x0112: orientation}} if suffix.endswith("tif") else {"exif": exif}
    Image.fromarray(GREY).save(path, **ORIENTED[suffix], **more)
    turns = {1: GREY, 3: GREY[::-1, ::-1], 5: GREY.T, 6: np.rot90(GREY, -1), 8: np.rot90(GREY)}
    recording = read_image(path)
    assert np.abs(recording.frames[0].astype(int) - turns[orientation]).mean() < 2
    assert recording.orientation == orientation and bool(recording.notes) == (orientation != 1)


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_transparent_pixels_are_black(tmp_path, mode):
    values = np.full((40, 56), 90, np.uint8)
    values[:, 28:] = 200
    image = Image.fromarray(values).convert(mode)
    transparency = {"L": 200, "RGB": (200, 200, 200), "P": image.getpixel((40, 0))}[mode]
    image.save(tmp_path / "i.png", transparency=transparency)
    found = decode_image(tmp_path / "i.png")
    assert (found[:, :28] == 90).all() and (found[:, 28:] == 0).all()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_files_have_the_grey_levels_of_eight_bit_ones(tmp_path, suffix):
    for name, values in (("full", GREY), ("dim", GREY // 2)):
        Image.fromarray(values.astype(np.uint16) * 257).save(tmp_path / f"{name}.{suffix}")
        assert np.array_equal(decode_image(tmp_path / f"{name}.{suffix}"), values)
    Image.fromarray(GREY.astype(np.uint16) * 16).save(tmp_path / f"12.{suffix}")
    recording = read_image(tmp_path / f"12.{suffix}")
    assert np.abs(recording.frames[0].astype(int) - GREY).max() <= 1 and "12-bit" in recording.notes[0]


@pytest.mark.parametrize("name", ["stack.tif", "anim.png", "anim.webp", "anim.apng"])
def test_files_of_several_frames_are_videos_with_their_times(tmp_path, name):
    path = tmp_path / name
    how = {"duration": 40, "lossless": True} if name != "stack.tif" else {}
    PAGES[0].save(path, format="PNG" if "png" in name else None, save_all=True, append_images=PAGES[1:], **how)
    recording = read_recording(path, 2000)
    assert frame_count(path) == 12 and np.array_equal(recording.frames, CLIP)
    assert recording.fps == pytest.approx(25 if how else np.nan, nan_ok=True)
    assert np.array_equal(decode_image(path), CLIP[0])
    cut = read_recording(path, 5)
    assert len(cut.frames) == 5 and "cut: only the first 5 of 12" in cut.notes[0]


def test_uneven_durations_and_a_poster_frame(tmp_path):
    durations = [40] * 6 + [200] * 6
    PAGES[0].save(tmp_path / "u.png", save_all=True, append_images=PAGES[1:], duration=durations)
    times = read_image(tmp_path / "u.png").times
    assert np.diff(times) == pytest.approx(np.array(durations[:-1]) / 1000)
    poster = Image.fromarray(np.full_like(GREY, 7))
    poster.save(tmp_path / "p.png", save_all=True, append_images=PAGES, default_image=True, duration=100)
    assert np.array_equal(read_image(tmp_path / "p.png").frames, CLIP)


def test_pages_of_other_sizes_and_imagej_rates(tmp_path):
    small = Image.fromarray(GREY[:10, :14])
    PAGES[0].save(tmp_path / "t.tif", save_all=True, append_images=[*PAGES[1:], small])
    recording = read_image(tmp_path / "t.tif")
    assert len(recording.frames) == 12 and "1 pages of another size" in recording.notes[0]
    PAGES[0].save(
        tmp_path / "j.tif",
        save_all=True,
        append_images=PAGES[1:],
        description="ImageJ=1.53\nframes=12\nfinterval=0.05\n",
    )
    assert read_image(tmp_path / "j.tif").fps == pytest.approx(20)


def test_colour_is_flagged_and_grey_is_not(tmp_path):
    colour = np.stack([GREY] * 3, axis=-1)
    Image.fromarray(colour).save(tmp_path / "g.png")
    colour[:20, :, 2] = 0
    Image.fromarray(colour).save(tmp_path / "c.png")
    assert read_image(tmp_path / "c.png").colour and not read_image(tmp_path / "g.png").colour


def write_frames(folder, frames, pattern="{:06d}.png", numbers=None):
    folder.mkdir(parents=True)
    for number, frame in zip(numbers or range(len(frames)), frames, strict=True):
        Image.fromarray(frame).save(folder / pattern.format(number))


@pytest.mark.parametrize("pattern", ["{:06d}.png", "{}.png", "frame_{}.jpg", "img-{:03d}.tif"])
def test_numbered_files_in_a_folder_are_one_video(tmp_path, pattern):
    write_frames(tmp_path / "benign/v1", CLIP, pattern)
    write_frames(tmp_path / "benign/few", CLIP[:3])
    found = frame_folders((tmp_path / "benign").rglob("*"))
    assert list(found) == [tmp_path / "benign/v1"] and len(found[tmp_path / "benign/v1"]) == 12
    recording = read_recording(tmp_path / "benign/v1", 2000)
    assert np.abs(recording.frames.astype(int) - CLIP).mean() < 3 and np.isnan(recording.fps)
    assert recording.assume_rate(30.0).notes == ("frame rate assumed: 30 Hz",)


def test_numbered_stills_are_no_video(tmp_path):
    rng = np.random.default_rng(0)
    stills = [np.kron(rng.integers(0, 255, (5, 7)), np.ones((8, 8))).astype(np.uint8) for _ in range(10)]
    write_frames(tmp_path / "stills", stills, "benign ({}).png")
    write_frames(tmp_path / "sparse", CLIP, numbers=[int(n) for n in np.arange(12) ** 2])
    assert frame_folders(tmp_path.rglob("*")) == {}


def test_a_gap_is_a_cut_and_our_own_folders_keep_their_rate(tmp_path):
    write_frames(tmp_path / "v", CLIP, numbers=[*range(8), *range(20, 24)])
    recording = read_recording(tmp_path / "v", 2000)
    assert np.array_equal(recording.frames, CLIP[:8]) and "8 of 12" in recording.notes[0]
    write_video(tmp_path / "ours", CLIP, 12.5)
    recording = read_recording(tmp_path / "ours", 2000)
    assert recording.fps == 12.5 and np.array_equal(recording.frames, CLIP)
    (tmp_path / "ours/about.json").write_text(json.dumps({"fps": 1e9}))
    assert np.isnan(read_recording(tmp_path / "ours", 2000).fps)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnreadableFile, match="no numbered frames"):
        read_recording(tmp_path / "empty", 2000)


def test_sixteen_bits_with_white_as_zero_are_inverted_as_eight_bits_are(tmp_path):
    values = np.arange(600).reshape(20, 30) * 100

    Image.fromarray((65535 - values).astype(np.uint16)).save(tmp_path / "a.tif")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    place = content.index(bytes([262 % 256, 262 // 256, 3, 0, 1, 0, 0, 0]))
    content[place + 8] = 0
    (tmp_path / "a.tif").write_bytes(content)
    assert np.abs(decode_image(tmp_path / "a.tif") - values / 257).max() <= 1


def test_an_orientation_that_does_not_exist_turns_nothing(tmp_path):
    values = (np.arange(600).reshape(20, 30) % 251).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.tif", tiffinfo={274: 9})
    assert np.array_equal(decode_image(tmp_path / "a.tif"), values)
