"""Checking a folder before a run, and fetching public data from a server that the test starts."""

import threading
import zipfile
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import cv2
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from lddm.cli import raw_data
from lddm.data import fetch as module
from lddm.data.check import check_data
from lddm.data.fetch import fetch, unzip
from lddm.data.layout import recognise
from lddm.data.video_io import write_video
from lddm.errors import LddmError
from lddm.files import sha256
from lddm.settings import build

RNG = np.random.default_rng(0)


def texture(number, frames=40):
    still = cv2.resize(np.random.default_rng(number).integers(0, 255, (12, 16), dtype=np.uint8), (96, 72))
    return np.stack([np.roll(still, round(4 * np.sin(t / 5)), axis=0) for t in range(frames)])


@pytest.fixture
def folder(tmp_path):
    """Two classes of videos, with a still, a copy of a video, a broken file and a text."""
    for number in range(6):
        place = tmp_path / "mine" / ("healthy", "sick")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        write_video(place / f"{number}.mp4", texture(number), 20)
    write_video(tmp_path / "mine/healthy/again.mp4", texture(0), 20)
    cv2.imwrite(str(tmp_path / "mine/sick/still.png"), texture(9)[0])
    (tmp_path / "mine/sick/broken.mp4").write_bytes(b"no video")
    (tmp_path / "mine/sick/notes.txt").write_text("nothing")
    return tmp_path / "mine"


def test_a_folder_is_read_and_explained(folder):
    found = check_data(folder)
    assert found.kind == "folder" and len(found.videos) == 9
    assert found.videos["excluded"].notna().sum() == 1 and len(found.clips) >= 7
    advice = " ".join(found.advice)
    assert "patients are unknown" in advice and "near-duplicates in 1 clusters" in advice
    assert "class sick: videos of 3 patients" in advice
    settings = build.load(yaml.safe_load(found.config))  # it can be used as it stands
    assert settings.index.classes == ["healthy", "sick"] and settings.index.sources[0].folder == "mine"
    assert settings.data_root == str(folder.parent)
    done = CliRunner().invoke(raw_data.app, ["check-data", str(folder)])
    assert done.exit_code == 0 and "unreadable (1)" in done.output and "kind: folder" in done.output


def test_stills_alone_and_a_third_class_are_said(tmp_path):
    place = tmp_path / "My stills: 2"
    for name in ("a", "no", "yes"):
        (place / name).mkdir(parents=True)
        cv2.imwrite(str(place / name / "x.png"), texture(len(name))[0])
    found = check_data(place)
    advice = " ".join(found.advice)
    assert "3 class folders (a, no, yes)" in advice and "only be a pool of stills" in advice
    settings = build.load(yaml.safe_load(found.config))
    assert settings.index.classes == ["a", "no"] and settings.experiment == "my-stills-2"


def test_folders_are_told_by_their_layout(tmp_path):
    for name, inside in (("b", "Dataset_BUSI_with_GT"), ("v", "rawframes")):
        (tmp_path / name / inside).mkdir(parents=True)
    (tmp_path / "p").mkdir()
    (tmp_path / "p/dataset_metadata.csv").touch()
    assert [recognise(tmp_path / name).kind for name in "bvp"] == ["busi", "busv", "pocus"]
    (tmp_path / "e").mkdir()
    for wrong, words in (("e", "no folders of classes"), ("none", "is not a folder")):
        with pytest.raises(LddmError, match=words):
            recognise(tmp_path / wrong)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path):
    """Address of a folder that is served."""
    served = tmp_path / "served"
    served.mkdir()
    running = HTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(served)))
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield served, f"http://127.0.0.1:{running.server_port}"
    running.shutdown()


def test_a_data_set_is_fetched_checked_and_put_in_its_place(server, tmp_path):
    served, address = server
    with zipfile.ZipFile(served / "a.zip", "w") as archive:
        archive.writestr("repo-master/data/dataset_metadata.csv", "Filename,Label\n")
        archive.writestr("repo-master/other/big.bin", b"0" * 100)
    digest, root = sha256(served / "a.zip"), tmp_path / "data"
    with pytest.raises(LddmError, match="could not be fetched"):
        fetch("pocus", root, f"{address}/a.zip", "0" * 64)
    assert not (root / "pocus").exists()
    made = fetch("pocus", root, f"{address}/a.zip", digest)
    assert made == root / "pocus" and sorted(p.name for p in made.iterdir()) == [
        "ARCHIVE_SHA256",
        "dataset_metadata.csv",
    ]
    assert digest in (made / "ARCHIVE_SHA256").read_text()
    assert [path.name for path in root.iterdir()] == ["pocus"]  # no archive and nothing half-unpacked is left
    served.joinpath("a.zip").unlink()
    assert fetch("pocus", root, f"{address}/a.zip") == made  # it is there
    with pytest.raises(LddmError, match="could not be fetched"):
        fetch("busi", root, f"{address}/none.zip")
    with pytest.raises(LddmError, match="ask as the README"):
        fetch("busv", root)
    with pytest.raises(LddmError, match="expected one of busi"):
        fetch("echonet", root)


@pytest.mark.parametrize("name", ["../out.txt", "/tmp/out.txt", "a/../../out.txt", "..\\out.txt"])
def test_an_archive_cannot_write_outside_its_folder(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), "x")
    with pytest.raises(LddmError, match="outside its folder"):
        unzip(tmp_path / "a.zip", tmp_path / "made")
    assert not (tmp_path / "out.txt").exists() and not (tmp_path / "made").exists()


def test_bombs_links_and_other_files_are_refused(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * 2_000_000)
    monkeypatch.setattr(module, "PROBED", 1_000_000)
    with pytest.raises(LddmError, match="unpacks to 2000000 bytes"):
        unzip(tmp_path / "bomb.zip", tmp_path / "made")
    monkeypatch.setattr(module, "LARGEST", 1_000_000)
    with pytest.raises(LddmError, match="too much for a data set"):
        unzip(tmp_path / "bomb.zip", tmp_path / "made")
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(LddmError, match="holds a link"):
        unzip(tmp_path / "link.zip", tmp_path / "made")
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(LddmError, match="no zip archive"):
        unzip(tmp_path / "text.zip", tmp_path / "made")
