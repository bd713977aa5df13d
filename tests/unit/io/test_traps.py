"""Files that are not what they seem: lists of other files, pipes, links, names that are no text, and bombs."""

import os
import socket
import struct
import subprocess
import sys
import zlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lddm.data.identity import read_identity
from lddm.data.index import SOURCES, write_index
from lddm.data.preprocess import prepare_file
from lddm.data.sources.base import COLUMNS
from lddm.io.dicom.read import decode_dicom, is_cine, write_dicom
from lddm.io.video import UnreadableFile, decode_image, decode_video, write_video
from lddm.settings.data import BusiSource, BusvSource, FolderSource, IndexSettings, PreprocessSettings

FRAMES = np.random.default_rng(0).integers(0, 255, (20, 48, 64), dtype=np.uint8)
PLAYLISTS = {
    "a list of files": "ffconcat version 1.0\nfile inside.avi\n",
    "a stream": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\ninside.avi\n#EXT-X-ENDLIST\n",
    "an address": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
}


@pytest.mark.parametrize("text", PLAYLISTS.values(), ids=PLAYLISTS)
@pytest.mark.parametrize("suffix", ["avi", "mp4", "mkv"])
def test_a_video_that_names_other_files_or_addresses_opens_none_of_them(tmp_path, text, suffix):
    write_video(tmp_path / "inside.avi", FRAMES, 10)
    (tmp_path / f"list.{suffix}").write_text(text)
    with pytest.raises(UnreadableFile, match=f"list.{suffix} cannot be decoded"):
        decode_video(tmp_path / f"list.{suffix}")
    assert len(decode_video(tmp_path / "inside.avi")[0]) == 20


def test_a_codec_that_nobody_has_is_a_reason(tmp_path):
    write_video(tmp_path / "v.avi", FRAMES, 10)
    content = (tmp_path / "v.avi").read_bytes()
    (tmp_path / "odd.avi").write_bytes(content.replace(b"FFV1", b"Q@#%"))
    with pytest.raises(UnreadableFile, match="no video that can be decoded"):
        decode_video(tmp_path / "odd.avi")


@pytest.mark.parametrize("values", [[np.nan, np.nan], [np.nan, 0.25, np.inf, 0.75, -np.inf]])
def test_an_image_of_floats_may_hold_what_is_no_number(tmp_path, values, recwarn):
    Image.fromarray(np.float32([values])).save(tmp_path / "f.tif")
    (found,) = decode_image(tmp_path / "f.tif")
    assert found.tolist() == ([0, 0] if len(values) == 2 else [0, 0, 255, 255, 0]) and not len(recwarn)


PLACES = {"folder": "mine", "busi": "mine", "busv": "mine/rawframes"}
SETTINGS = {"folder": FolderSource(folder="mine"), "busi": BusiSource(folder="mine"), "busv": BusvSource(folder="mine")}


def listed(kind, root):
    """What the source makes of its folder, after a way through the index file: path -> reason or None."""
    rows = SOURCES[kind].rows(SETTINGS[kind], root, ["benign", "malignant"])
    write_index(pd.DataFrame(rows, columns=list(COLUMNS)), root / "index.parquet")
    table = pd.read_parquet(root / "index.parquet").astype(object)
    found = {}
    for row in table.where(table.notna(), None).to_dict("records"):
        sources = IndexSettings(sources=[SETTINGS[kind]])
        done = prepare_file(row, sources, PreprocessSettings(size=32, clip_length=4), root, 0)
        found[row["path"].removeprefix(f"{PLACES[kind]}/benign/")] = done.about["excluded"]
    return found


@pytest.mark.timeout(60)  # a pipe that is opened would wait for ever
@pytest.mark.parametrize("kind", ["folder", "busi"])
def test_pipes_links_and_names_that_are_no_text_get_a_reason(tmp_path, kind):
    place, secret = tmp_path / "data/mine/benign", tmp_path / "secret.png"
    place.mkdir(parents=True)
    Image.fromarray(FRAMES[0]).save(place / "good.png")
    Image.fromarray(FRAMES[1]).save(secret)
    os.mkfifo(place / "pipe.png")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(os.path.relpath(place / "s.png"))  # the way to a socket must be short
    (place / "folder.png").mkdir()
    (place / "empty.png").touch()
    for name, target in {"gone": "nowhere", "loop": "loop.png", "out": secret, "zero": "/dev/zero"}.items():
        (place / f"{name}.png").symlink_to(target)
    with open(os.fsencode(place) + b"/\xff\xe9.png", "wb") as file:
        file.write((place / "good.png").read_bytes())
    found = listed(kind, tmp_path / "data")
    assert found.pop("good.png") is None
    wanted = {
        "pipe.png": "neither a file nor a folder",
        "s.png": "neither a file nor a folder",
        "empty.png": "is empty",
        "gone.png": "cannot be opened",
        "loop.png": "cannot be opened",
        "out.png": "outside the data folder",
        "zero.png": "outside the data folder",
        "\\xff\\xe9.png": "is not UTF-8",
    } | ({"folder.png": "contains no numbered frames"} if kind == "busi" else {})
    assert found.keys() == wanted.keys()
    assert all(found[name].startswith("unreadable: ") and words in found[name] for name, words in wanted.items()), found


@pytest.mark.timeout(60)
def test_a_video_of_frames_may_hold_no_links_and_what_is_no_file_is_no_frame(tmp_path):
    for name in ("plain", "links", "pipes"):
        (tmp_path / "mine/rawframes/benign" / name).mkdir(parents=True)
        for number in range(20):
            path = tmp_path / "mine/rawframes/benign" / name / f"{number:06d}.png"
            if name == "plain" or number % 4:
                Image.fromarray(FRAMES[number]).save(path)
            elif name == "links":
                Image.fromarray(FRAMES[number]).save(tmp_path / "secret.png")
                path.symlink_to(tmp_path / "secret.png")
            else:
                os.mkfifo(path)
    found = listed("busv", tmp_path)
    assert "frames are links" in found["links"]
    assert "too short" in found["pipes"]  # runs of three frames are left
    assert found["plain"] is None


# Bombs: each is read in a process that may not take more memory than this beside what its imports took.
ROOM = 250 * 2**20
IN_LITTLE_ROOM = """
import resource, sys
from pathlib import Path
import numpy, av, pydicom, PIL.Image, PIL.TiffImagePlugin, PIL.PngImagePlugin, pydicom.pixels
from lddm.io.dicom.read import decode_dicom
from lddm.io.video import UnreadableFile, decode_image, decode_video
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + {room}, taken + {room}))
try:
    made = {reader}(Path(sys.argv[1]))
    print("read", *(made[0].shape if isinstance(made, tuple) else made.shape))
except UnreadableFile as error:
    print("refused", error.message)
"""


def in_little_room(reader, path):
    """What a reader makes of a file, said by a process that may take little memory."""
    code = IN_LITTLE_ROOM.format(reader=reader, room=ROOM)
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_of_a_gif_of_100000_frames_the_first_ones_are_read(tmp_path):
    write_video(tmp_path / "v.gif", FRAMES[:3, :16, :16], 10)
    whole = (tmp_path / "v.gif").read_bytes()
    starts = [at for at in range(len(whole)) if whole.startswith(b"\x21\xf9\x04", at)]
    assert len(starts) == 3
    (tmp_path / "v.gif").write_bytes(whole[: starts[1]] + whole[starts[1] : starts[2]] * 100_000 + b";")
    assert in_little_room("decode_video", tmp_path / "v.gif") == "read 2000 16 16"


def deflated(path, unpacked):
    """A DICOM file whose compressed data set unpacks to so many bytes more than it has."""
    write_dicom(path, FRAMES[:3, :16, :16], 10)
    whole = path.read_bytes()
    syntax = b"1.2.840.10008.1.2.1\0"
    head = whole[: 144 + int.from_bytes(whole[140:144], "little")]
    assert syntax in head
    longer = head.replace(b"\x14\0" + syntax, b"\x16\0" + b"1.2.840.10008.1.2.1.99")
    longer = longer[:140] + (len(longer) - 144).to_bytes(4, "little") + longer[144:]
    squeezed = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = squeezed.compress(whole[len(head) :] + b"\xfc\xff\xfc\xffOB\0\0" + unpacked.to_bytes(4, "little"))
    for _ in range(unpacked // 2**20):
        body += squeezed.compress(bytes(2**20))
    path.write_bytes(longer + body + squeezed.flush())


def test_a_dicom_file_that_unpacks_to_a_thousand_times_its_size_is_refused(tmp_path):
    deflated(tmp_path / "bomb.dcm", 2**29)
    assert (tmp_path / "bomb.dcm").stat().st_size < 2**20
    assert in_little_room("decode_dicom", tmp_path / "bomb.dcm") == "refused bomb.dcm is a deflated DICOM file"
    for reader in (decode_dicom, is_cine, read_identity):
        with pytest.raises(UnreadableFile, match="deflated"):
            reader(tmp_path / "bomb.dcm")


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_png_whose_text_or_pixels_unpack_to_512_mebibytes_is_refused_or_cut(tmp_path):
    squeezed = zlib.compressobj(6)
    zeros = b"".join(squeezed.compress(bytes(2**20)) for _ in range(512)) + squeezed.flush()
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 48, 8, 0, 0, 0, 0))
    (tmp_path / "text.png").write_bytes(head + chunk(b"zTXt", b"Comment\0\0" + zeros) + chunk(b"IEND", b""))
    assert in_little_room("decode_image", tmp_path / "text.png").startswith("refused text.png cannot be decoded")
    (tmp_path / "pixels.png").write_bytes(head + chunk(b"IDAT", zeros) + chunk(b"IEND", b""))
    assert in_little_room("decode_image", tmp_path / "pixels.png") == "read 48 64"  # what the header declares, no more


PEAK = """
import re, sys
from pathlib import Path
from lddm.io.video import decode_video
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
before = peak()
frames, _ = decode_video(Path(sys.argv[1]))
print(frames.nbytes / 2**20, peak() - before)
"""


def test_a_long_video_takes_its_memory_once(tmp_path):
    write_video(tmp_path / "v.avi", np.zeros((150, 1024, 1024), np.uint8), 10)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path / "v.avi")], capture_output=True, text=True, check=True
    )
    size, grown = map(float, done.stdout.split())
    assert size == 150 and 150 < grown < 240  # not twice
