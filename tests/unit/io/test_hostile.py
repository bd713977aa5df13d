"""Damaged and hostile input: whatever a file holds, a reader gives frames or one clear error, in bounded memory."""

import os
import shutil
import struct
import zlib
from fractions import Fraction

import av
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError

from lddm.cli.options import open_data
from lddm.data.frames import FrameStore
from lddm.data.index import build_index
from lddm.data.preprocess import prepare_file
from lddm.data.synthetic import load_synthetic
from lddm.errors import LddmError
from lddm.io.dicom.read import decode_dicom, write_dicom
from lddm.io.video import UnreadableFile, decode_image, decode_video, write_video
from lddm.settings import build
from lddm.settings.data import FolderSource, IndexSettings, PreprocessSettings
from lddm.training.weights import load_weights

FRAMES = np.random.default_rng(0).integers(0, 255, (20, 48, 64), dtype=np.uint8)
READERS = {
    "v.mp4": decode_video,
    "v.avi": decode_video,
    "v.gif": decode_video,
    "v.mov": decode_video,
    "v.mkv": decode_video,
    "v.mpeg": decode_video,
    "v.wmv": decode_video,
    "i.png": decode_image,
    "i.jpg": decode_image,
    "i.bmp": decode_image,
    "i.tif": decode_image,
    "a.png": decode_image,
    "a.webp": decode_image,
    "d.dcm": decode_dicom,
    "s.dcm": decode_dicom,
    "r.dcm": decode_dicom,
    "h.dcm": decode_dicom,
}
SYNTAXES = {  # FFmpeg's encoder and transfer syntax; None = RLE by pydicom
    "s": ("jpegls", "gray", "1.2.840.10008.1.2.4.80"),
    "h": ("jpeg2000", "gray", "1.2.840.10008.1.2.4.201"),
    "r": None,
}
CODECS = {
    ".mov": ("mov", "mjpeg", "yuvj420p"),
    ".mkv": ("matroska", "ffv1", "gray"),
    ".mpeg": ("mpeg", "mpeg2video", "yuv420p"),
    ".wmv": ("asf", "wmv2", "yuv420p"),
}
FUZZ = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write_as(path, container, codec, pixels):
    """A video in another container and codec."""
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=25)
        stream.height, stream.width = FRAMES.shape[1:]
        stream.pix_fmt = pixels
        for frame in FRAMES:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        file.mux(stream.encode())


def write_compressed(path, how):
    """A DICOM file of three compressed frames."""
    import pydicom
    from pydicom.encaps import encapsulate

    write_dicom(path, FRAMES[:3, :16, :16], 10)
    image = pydicom.dcmread(path)
    if how is None:
        image.compress(pydicom.uid.RLELossless)
    else:
        codes = []
        for frame in FRAMES[:3, :16, :16]:
            codec = av.CodecContext.create(how[0], "w")
            codec.width = codec.height = 16
            codec.pix_fmt, codec.time_base = how[1], Fraction(1, 10)
            shown = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="gray")
            codes.append(b"".join(bytes(packet) for packet in [*codec.encode(shown), *codec.encode(None)]))
        image.PixelData = encapsulate(codes)
        image["PixelData"].is_undefined_length = True
        image.file_meta.TransferSyntaxUID = how[2]
    image.save_as(path)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """One valid file of each kind, as bytes."""
    folder, found = tmp_path_factory.mktemp("valid"), {}
    for name in READERS:
        path = folder / name
        if name.startswith("i"):
            from PIL import Image

            Image.fromarray(FRAMES[0]).save(path)
        elif name.startswith("a"):
            from PIL import Image

            pages = [Image.fromarray(frame) for frame in FRAMES[:4]]
            pages[0].save(path, save_all=True, append_images=pages[1:], duration=100)
        elif path.stem in SYNTAXES:
            write_compressed(path, SYNTAXES[path.stem])
        elif name == "d.dcm":
            write_dicom(path, FRAMES[:3, :16, :16], 10)
        elif path.suffix in CODECS:
            write_as(path, *CODECS[path.suffix])
        else:
            write_video(path, FRAMES, 10)
        found[name] = path.read_bytes()
    return found


@pytest.mark.parametrize("name", READERS)
@FUZZ
@given(data=st.data())
def test_mutated_files_are_read_or_refused(originals, tmp_path, name, data):
    content = bytearray(originals[name])
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    path = tmp_path / name
    path.write_bytes(content)
    try:
        frames = READERS[name](path)
    except UnreadableFile as error:
        assert error.message and "Hint" in str(error)
    else:
        frames = frames[0] if isinstance(frames, tuple) else frames[None]
        assert frames.dtype == np.uint8 and frames.ndim == 3 and frames.size > 0


@pytest.mark.parametrize("name", ["v.mp4", "i.png", "d.dcm"])  # one for each reader
@FUZZ
@given(content=st.binary(max_size=400))
@example(content=b"")
@example(content=b"\0" * 128 + b"DICM")
def test_random_bytes_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    try:
        READERS[name](tmp_path / name)
    except UnreadableFile:
        pass


def png_of_declared_size(width, height):
    """A PNG whose header promises more than the file holds."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("width", "height"), [(2**31 - 1, 2**31 - 1), (100_000, 100_000), (1, 2**31 - 1)])
def test_absurd_declared_sizes_are_refused_before_memory_is_taken(tmp_path, width, height):
    (tmp_path / "i.png").write_bytes(png_of_declared_size(width, height))
    with pytest.raises(UnreadableFile):
        decode_image(tmp_path / "i.png")


def test_of_a_dicom_that_declares_a_million_frames_those_that_are_there_are_read(tmp_path):
    import pydicom

    write_dicom(tmp_path / "d.dcm", FRAMES, 10)
    header = pydicom.dcmread(tmp_path / "d.dcm")
    header.NumberOfFrames = 1_000_000
    header.save_as(tmp_path / "d.dcm")
    assert len(decode_dicom(tmp_path / "d.dcm")[0]) == len(FRAMES)


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "0", "1e400"])
def test_a_frame_time_that_is_no_time_is_unknown(tmp_path, value):
    import pydicom

    write_dicom(tmp_path / "d.dcm", FRAMES, 10)
    header = pydicom.dcmread(tmp_path / "d.dcm")
    del header.FrameTime, header.CineRate
    with pydicom.config.disable_value_validation():
        header.add_new("FrameTime", "DS", b"")
        header["FrameTime"]._value = value
        header.save_as(tmp_path / "d.dcm")
    assert np.isnan(decode_dicom(tmp_path / "d.dcm")[1])


def test_reading_stops_when_frames_fill_the_memory_they_may_take(tmp_path, monkeypatch, caplog):
    write_video(tmp_path / "v.avi", FRAMES, 10)
    monkeypatch.setattr("lddm.io.video.MAX_BYTES", 5 * FRAMES[0].size)
    frames, _ = decode_video(tmp_path / "v.avi")
    assert len(frames) == 5 and "only the first 5 frames are read" in caplog.text


NAMES = [
    "a b.png",
    "quote'.png",
    'double".png',
    "new\nline.png",
    "ünïcode-肺.png",
    "-rf.png",
    "$(touch x).png",
    "%s.png",
]


def test_names_of_all_kinds_get_ids_and_are_read(tmp_path):
    from PIL import Image

    for number, name in enumerate(NAMES):
        place = tmp_path / "own" / ("benign", "malignant")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(FRAMES[number]).save(place / name, "PNG")
    for number in range(4):
        write_video(tmp_path / "own" / ("benign", "malignant")[number % 2] / f"v {number};.mp4", FRAMES, 10)
    loop = tmp_path / "own/benign/loop"
    loop.symlink_to(loop)
    (tmp_path / "own/benign/up").symlink_to("..")
    sources = IndexSettings(sources=[FolderSource(folder="own")])
    index = build_index(sources, tmp_path, 0)
    assert index["id"].is_unique and index["id"].str.fullmatch(r"[a-z0-9-]+").all()
    usable = [row for row in index.astype(object).where(index.notna(), None).to_dict("records") if not row["excluded"]]
    assert len(usable) == len(NAMES) + 4
    for row in usable:
        done = prepare_file(row, sources, PreprocessSettings(size=32, clip_length=4), tmp_path, 0)
        assert done.about["excluded"] is None, (row["path"], done.about["excluded"])
    assert not os.path.exists("x")


KEYS = ["index", "autoencoder", "classification", "split", "seed", "experiment", "sweep", "tracking"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@FUZZ
@given(raw=ANYTHING, key=st.sampled_from(KEYS))
def test_any_settings_are_taken_or_explained(raw, key):
    try:
        settings_ = build.load({key: raw})
    except LddmError as error:
        assert "mistake" in str(error) or "Hint" in str(error)
    else:
        assert build.load(yaml.safe_load(yaml.safe_dump(settings_.model_dump(mode="json")))) == settings_


TAGS = {
    "call": "!!python/object/apply:os.system ['touch hacked']",
    "new": "!!python/object/new:os.system ['touch hacked']",
    "name": "!!python/name:os.system",
    "own": "!mine 3",
    "itself": "&a [*a, *a]",
}


@pytest.mark.parametrize("text", TAGS.values(), ids=TAGS)
@pytest.mark.parametrize("key", ["seed", "experiment", "index"])
def test_yaml_tags_are_errors_and_never_code(tmp_path, monkeypatch, text, key):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.yaml").write_text(f"{key}: {text}\n")
    with pytest.raises((LddmError, WorkflowError), match="mistake|not valid"):
        build.load(load_configfile("own.yaml"))  # the reader of config files is Snakemake's
    assert [path.name for path in tmp_path.iterdir()] == ["own.yaml"]


@pytest.mark.parametrize("content", [b"", b"\x80\x04cos\nsystem\n(S'touch x'\ntR.", struct.pack("<Q", 2**62) + b"{}"])
def test_weights_that_are_pickles_or_lies_are_refused(tmp_path, content):
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(LddmError):
        load_weights(tmp_path / "m.safetensors", "autoencoder")


def test_a_pickled_array_is_never_unpickled(tiny_experiment, tmp_path):
    shutil.copytree(tiny_experiment / "frames", tmp_path / "frames")
    np.save(tmp_path / "frames/frames.npy", np.array([{"evil": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(LddmError, match="cannot be read"):
        FrameStore.open(tmp_path / "frames")


@pytest.mark.parametrize(("name", "column"), [("clips.parquet", "first_frame"), ("videos.parquet", "id")])
def test_a_table_of_a_store_without_a_column_is_named(tiny_experiment, tmp_path, name, column):
    """One changed byte in the name of a column leaves a table that can be read."""
    shutil.copytree(tiny_experiment / "frames", tmp_path / "frames")
    path = tmp_path / "frames" / name
    pd.read_parquet(path).rename(columns={column: f"{column}x"}).to_parquet(path)
    with pytest.raises(LddmError, match=f"(?s){name} cannot be read: expected the column {column}.*rule preprocess"):
        FrameStore.open(tmp_path / "frames")


def test_splits_and_manifests_without_a_column_are_named(tmp_path):
    pd.DataFrame({"fold": [0]}).to_parquet(tmp_path / "splits.parquet")
    with pytest.raises(LddmError, match="(?s)splits.parquet cannot be read: expected the column id.*rule split"):
        open_data(tmp_path / "frames", tmp_path / "splits.parquet")
    pd.DataFrame({"sample_id": ["a"]}).to_parquet(tmp_path / "shard.parquet")
    with pytest.raises(LddmError, match="(?s)shard.parquet cannot be read: expected the column gen.*rule synthesize"):
        load_synthetic([tmp_path / "shard.npy"])


@pytest.mark.parametrize("name", ["frames.npy", "videos.parquet", "clips.parquet", "meta.json"])
@FUZZ
@given(data=st.data())
def test_a_damaged_store_is_opened_or_named_with_its_rule(tiny_experiment, tmp_path, name, data):
    shutil.copytree(tiny_experiment / "frames", tmp_path / "frames", dirs_exist_ok=True)
    path = tmp_path / "frames" / name
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, min(len(content), 128 if name == "frames.npy" else 10**6) - 1))
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        store = FrameStore.open(tmp_path / "frames")
    except LddmError as error:
        assert "run the rule preprocess again" in str(error) or "run its rule again" in str(error)
    else:
        assert store.frames.dtype == np.uint8 and store.frames.ndim == 3


def test_a_memory_map_whose_header_is_no_python_is_named(tiny_experiment, tmp_path):
    shutil.copytree(tiny_experiment / "frames", tmp_path / "frames")
    path = tmp_path / "frames/frames.npy"
    path.write_bytes(path.read_bytes().replace(b"}", b"(", 1))  # the tokenizer's error is none of NumPy's
    with pytest.raises(LddmError, match=r"frames\.npy cannot be read.*\n.*run the rule preprocess again"):
        FrameStore.open(tmp_path / "frames")
