"""Image files whose depth, axes or rate another program states in its own way, and folders of such frames."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from lddm.io.frame_folder import frame_folders, nearly_frame_folders, read_frame_folder
from lddm.io.image import frame_count, read_image
from lddm.io.recording import UnreadableFile

CLIP = np.stack([np.roll(np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1)), 2 * t, axis=1) for t in range(12)])
PAGES = [Image.fromarray(frame) for frame in CLIP]


def stack(path, description, pages=PAGES):
    """A TIFF that has its description on the first page only, as tifffile writes it."""
    pages[0].save(path, save_all=True, append_images=pages[1:], tiffinfo={270: description})
    content, tag = bytearray(path.read_bytes()), struct.pack("<HH", 270, 2)
    where = content.find(tag)
    while (where := content.find(tag, where + 1)) > 0:
        struct.pack_into("<H", content, where, 269)  # DocumentName
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [3, 4])
def test_twelve_bits_in_sixteen_bit_colour_are_noted(tmp_path, suffix, channels):
    values = np.repeat((CLIP[0].astype(np.uint16) * 16)[..., None], channels, -1)
    values[..., 3:] = 65535
    cv2.imwrite(str(tmp_path / f"c.{suffix}"), values)
    recording = read_image(tmp_path / f"c.{suffix}")
    assert np.abs(recording.frames[0].astype(int) - CLIP[0]).max() <= 1
    assert "12-bit" in recording.notes[0] and not recording.colour


def test_sixteen_bit_grey_with_transparency_keeps_its_depth(tmp_path):
    planes = np.stack([CLIP[0].astype(np.uint16) * 16, np.full(CLIP[0].shape, 65535, np.uint16)], -1)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in planes)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 64, 48, 16, 4, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    packed = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    (tmp_path / "la.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    assert np.abs(read_image(tmp_path / "la.png").frames[0].astype(int) - CLIP[0]).max() <= 1


@pytest.mark.parametrize(
    ("name", "duration", "rate", "noted"),
    [
        ("a.webp", 17, 1000 / 17, False),
        ("a.png", 17, 1000 / 17, False),
        ("a.png", 10, 100, False),
        ("a.webp", 10, 10, True),
    ],
)
def test_only_durations_that_browsers_do_not_show_are_changed_and_said(tmp_path, name, duration, rate, noted):
    PAGES[0].save(tmp_path / name, save_all=True, append_images=PAGES[1:], duration=duration)
    recording = read_image(tmp_path / name)
    assert recording.fps == pytest.approx(rate, rel=1e-3)
    assert bool(recording.notes) == noted


OME = '<?xml version="1.0"?><OME><Image><Pixels DimensionOrder="XYCZT" SizeX="64" SizeY="48" SizeT="{}" SizeZ="{}" {}>'


@pytest.mark.parametrize(
    ("description", "rate"),
    [
        ("ImageJ=1.11a\nimages=12\nframes=12\nfps=20.0\n", 20),
        ("ImageJ=1.11a\nimages=12\nframes=12\nfps=7\nfinterval=0.05\n", 20),
        ("ImageJ=1.53t\nimages=12\nframes=12\nfinterval=50\ntunit=ms\n", 20),
        (OME.format(12, 1, 'SizeC="1" TimeIncrement="0.05"'), 20),
        (OME.format(12, 1, 'SizeC="1" TimeIncrement="50" TimeIncrementUnit="ms"'), 20),
        ("ImageJ=1.53t\nimages=12\nframes=12\nfinterval=50\ntunit=moons\n", np.nan),
    ],
)
def test_a_rate_stated_on_the_first_page_counts(tmp_path, description, rate):
    recording = read_image(stack(tmp_path / "r.tif", description))
    assert recording.fps == pytest.approx(rate, nan_ok=True) and np.array_equal(recording.frames, CLIP)


@pytest.mark.parametrize(
    "description",
    [
        "ImageJ=1.53t\nimages=24\nchannels=2\nframes=12\nhyperstack=true\n",
        OME.format(12, 1, 'SizeC="2"'),
        '{"shape": [12, 2, 48, 64], "axes": "TCYX"}',
    ],
)
def test_channels_are_not_moments(tmp_path, description):
    both = [page for frame in CLIP for page in (Image.fromarray(frame), Image.fromarray(255 - frame))]
    path = stack(tmp_path / "c.tif", description, both)
    recording = read_image(path)
    assert frame_count(path) == 12 and np.array_equal(recording.frames, CLIP) and "2 channels" in recording.notes[0]


@pytest.mark.parametrize(
    "description",
    [
        OME.format(1, 12, 'SizeC="1"'),
        "ImageJ=1.5\nimages=12\nslices=6\nframes=2\n",
        '{"shape": [12, 48, 64], "axes": "ZYX"}',
    ],
)
def test_slices_of_a_tiff_are_no_video(tmp_path, description):
    with pytest.raises(UnreadableFile, match="slices"):
        read_image(stack(tmp_path / "z.tif", description))


def test_slices_of_imagej_may_be_moments_and_it_is_said(tmp_path):
    recording = read_image(stack(tmp_path / "z.tif", "ImageJ=1.53t\nimages=12\nslices=12\nloop=false\n"))
    assert np.array_equal(recording.frames, CLIP) and "slices" in recording.notes[0]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("kept", "noted"), [(12, False), (7, True)])
@pytest.mark.parametrize("description", ["ImageJ=1.53t\nimages=12\nframes=12\n", '{"shape": [12, 48, 64]}'])
def test_images_behind_the_only_page_are_read(tmp_path, dtype, kept, noted, description):
    values = CLIP.astype(dtype) * (257 if dtype == np.uint16 else 1)
    Image.fromarray(values[0]).save(tmp_path / "a.tif", tiffinfo={270: description})
    with Image.open(tmp_path / "a.tif") as image:
        offset = image.tag_v2[273][0]
    content = (tmp_path / "a.tif").read_bytes()
    assert offset + values[0].nbytes == len(content)
    (tmp_path / "a.tif").write_bytes(content + values[1:kept].tobytes())
    recording = read_image(tmp_path / "a.tif")
    assert np.array_equal(recording.frames, CLIP[:kept]) and bool(recording.notes) == noted


@pytest.mark.parametrize(
    "stated", ["frames=999999999999\n", "frames=-3\n", "frames=x\n", "channels=99999\nframes=99999\n"]
)
def test_a_description_of_nonsense_changes_nothing(tmp_path, stated):
    assert len(read_image(stack(tmp_path / "n.tif", "ImageJ=1\n" + stated)).frames) == 12


def folder_of(path, frames, names):
    path.mkdir()
    for frame, name in zip(frames, names, strict=True):
        Image.fromarray(frame).save(path / name)
    return path


NAMES = [f"{number:03d}.png" for number in range(12)]


def test_frames_of_a_folder_share_one_scale(tmp_path):
    dim = np.where(np.arange(12) // 4 == 1, 1 / 17, 1.0)[:, None, None]
    values = (CLIP * 257.0 * dim).astype(np.uint16)
    recording = read_frame_folder(folder_of(tmp_path / "v", values, NAMES), 99)
    assert np.abs(recording.frames - values / 257.0).max() <= 0.5 and recording.notes == ()


@pytest.mark.parametrize("first", [0, 5])
def test_a_frame_stored_with_fewer_bits_keeps_its_grey_levels(tmp_path, first):
    folder = folder_of(tmp_path / "v", CLIP.astype(np.uint16) * 257, NAMES)
    Image.fromarray(CLIP[first]).save(folder / NAMES[first])
    assert np.array_equal(read_frame_folder(folder, 99).frames, CLIP)


@pytest.mark.parametrize("number", [0, 7])
@pytest.mark.parametrize("damage", ["bytes", "size"])
def test_a_frame_that_does_not_fit_is_left_out_and_moves_no_other(tmp_path, number, damage):
    folder = folder_of(tmp_path / "v", CLIP, NAMES)
    (folder / "about.json").write_text('{"fps": 20}')
    if damage == "bytes":
        (folder / NAMES[number]).write_bytes(b"x")
    else:
        Image.fromarray(CLIP[number, :40]).save(folder / NAMES[number])
    assert folder in frame_folders(folder.iterdir())
    recording = read_frame_folder(folder, 99)
    whole = [k for k in range(12) if k != number]
    assert np.array_equal(recording.frames, CLIP[whole]) and "1 frames" in recording.notes[0]
    assert recording.times == pytest.approx((np.array(whole) - whole[0]) / 20)
    assert np.array_equal(read_frame_folder(folder, 1).frames, CLIP[whole[:1]])
    (folder / "about.json").unlink()
    assert "times do not account for dropped frames" in read_frame_folder(folder, 99).notes[-1]


@pytest.mark.parametrize("pattern", ["frame{:03d}_crop.png", "frame ({}).png", "f{:03d}_v2.png", "s2_f{}.png"])
def test_one_number_that_differs_makes_a_video(tmp_path, pattern):
    folder = folder_of(tmp_path / "v", CLIP, [pattern.format(number) for number in range(12)])
    assert frame_folders(folder.iterdir())[folder][10].name == pattern.format(10)
    assert np.array_equal(read_frame_folder(folder, 99).frames, CLIP)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([*NAMES[:11], "thumb.png"], "1 other images"),
        ([f"{k}_{n:02d}.png" for k in "ab" for n in range(8)], "8 other images"),
        ([f"{n * n}.png" for n in range(12)], "gaps"),
    ],
)
def test_frames_that_become_stills_are_said(tmp_path, names, reason):
    folder = folder_of(tmp_path / "v", np.concatenate([CLIP, CLIP])[: len(names)], names)
    assert not frame_folders(folder.iterdir()) and reason in nearly_frame_folders(folder.iterdir())[folder]


def test_sixteen_bit_colour_in_planes_is_refused(tmp_path):
    plane = (CLIP[0].astype("<u2") * 16).tobytes()
    size, data = len(plane), 8
    bits, offsets, sizes = data + 3 * size, data + 3 * size + 6, data + 3 * size + 18
    longs = {256: 64, 257: 48, 278: 48}
    shorts = {259: 1, 262: 2, 277: 3, 284: 2}
    entries = {tag: struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in shorts.items()}
    entries |= {tag: struct.pack("<HHII", tag, 4, 1, value) for tag, value in longs.items()}
    entries |= {258: struct.pack("<HHII", 258, 3, 3, bits)}
    entries |= {tag: struct.pack("<HHII", tag, 4, 3, place) for tag, place in ((273, offsets), (279, sizes))}
    tables = struct.pack("<3H3I3I", 16, 16, 16, *(data + k * size for k in range(3)), *[size] * 3)
    directory = struct.pack("<H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4)
    (tmp_path / "p.tif").write_bytes(b"II*\0" + struct.pack("<I", sizes + 12) + 3 * plane + tables + directory)
    with pytest.raises(UnreadableFile, match="separate planes"):
        read_image(tmp_path / "p.tif")
