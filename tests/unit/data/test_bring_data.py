"""Checking a folder before a run, and fetching public data from a server that the test starts."""

import os
import subprocess
import sys
import threading
import unicodedata
import zipfile
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from lddm.cli import raw_data
from lddm.data import fetch as module
from lddm.data.check import check_data
from lddm.data.fetch import fetch, unzip
from lddm.data.index import build_index
from lddm.data.layout import recognise
from lddm.errors import LddmError
from lddm.files import sha256
from lddm.io.video import write_video
from lddm.settings import build
from lddm.settings.data import FolderSource, IndexSettings
from tests.unit.data.test_patients import cine


@pytest.fixture(autouse=True)
def few_permutations(monkeypatch):
    monkeypatch.setattr("lddm.data.leaks.PERMUTATIONS", 19)


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
    assert "3 class folders (a, no, yes)" in advice and "only serve as a pool of stills" in advice
    settings = build.load(yaml.safe_load(found.config))
    assert settings.index.classes == ["a", "no"] and settings.experiment == "my-stills-2"


def test_folders_are_told_by_their_layout(tmp_path):
    for name, inside in (("b", "Dataset_BUSI_with_GT"), ("v", "rawframes")):
        (tmp_path / name / inside).mkdir(parents=True)
    (tmp_path / "p").mkdir()
    (tmp_path / "p/dataset_metadata.csv").touch()
    assert [recognise(tmp_path / name).kind for name in "bvp"] == ["busi", "busv", "pocus"]
    (tmp_path / "e").mkdir()
    for wrong, words in (("e", "no class folders"), ("none", "is not a folder")):
        with pytest.raises(LddmError, match=words):
            recognise(tmp_path / wrong)


def test_each_of_two_sources_of_one_kind_is_looked_for(tmp_path):
    (tmp_path / "b").mkdir()
    sources = [{"kind": "folder", "folder": "missing"}, {"kind": "folder", "folder": "b"}]
    settings = build.load({"data_root": str(tmp_path), "index": {"sources": sources}})
    with pytest.raises(LddmError, match="source folder: .*missing") as caught:
        build.check_data_folders(settings)
    assert f"{tmp_path}/b" not in str(caught.value)


def image(path, values=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), texture(len(str(path)))[0] if values is None else values)


def test_each_file_that_is_not_used_is_named_with_the_reason(tmp_path):
    place = tmp_path / "mine"
    for name in ("benign", "malignant"):
        image(place / name / "a.png", texture(len(name))[0])
        image(place / name / "a_mask.png", np.zeros((72, 96), np.uint8))
    mask = np.zeros((72, 96), np.uint8)
    mask[20:40, 30:60] = 255
    image(place / "benign/lesion.jpg", mask)  # two-valued, under a name of its own
    image(place / "benign/masks/b.png", texture(3)[0])
    for name in ("__MACOSX/._x.png", "benign/._a.png", "benign/.ipynb_checkpoints/a.png", "benign/Thumbs.db"):
        image(place / "x.png")
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "x.png").rename(place / name)
    for name in ("benign/c.nii.gz", "malignant/d.npy", "benign/notes", "benign/e.dcm", "outside.png"):
        (place / name).write_bytes(b"x" * 200)
    (place / "benign/broken.png").write_bytes(b"x" * 200)
    found = check_data(place)
    reasons = {path.removeprefix("mine/"): reason for path, reason, _ in found.unused.itertuples(index=False)}
    assert set(reasons) == {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()} - {
        "benign/a.png",
        "malignant/a.png",
    }
    for name in ("benign/a_mask.png", "malignant/a_mask.png", "benign/lesion.jpg", "benign/masks/b.png"):
        assert reasons[name] == "a mask, not an ultrasound image"
    for name in ("__MACOSX/._x.png", "benign/._a.png", "benign/.ipynb_checkpoints/a.png", "benign/Thumbs.db"):
        assert reasons[name] == "a hidden or system file"
    assert ".nii.gz" in reasons["benign/c.nii.gz"] and "(no suffix)" in reasons["benign/notes"]
    assert "no DICOM header" in reasons["benign/e.dcm"] and "outside the folders" in reasons["outside.png"]
    assert "unreadable: broken.png" in reasons["benign/broken.png"]
    advice = "\n".join(found.advice)
    assert "5 files are not read: " in advice and ".nii.gz (1)" in advice and "4 files are skipped: a mask" in advice
    assert yaml.safe_load(found.config)["index"]["classes"] == ["benign", "malignant"]
    out = tmp_path / "files.csv"
    done = CliRunner().invoke(raw_data.app, ["check-data", str(place), "--list", "--csv", str(out)])
    assert done.exit_code == 0 and all(name in done.output for name in reasons)
    table = pd.read_csv(out).set_index("path")
    assert len(table) == len(reasons) + 2 and table["used"].sum() == 2 and table.loc["mine/benign/a.png", "used"]
    assert not list(tmp_path.rglob(".lddm_key"))


@pytest.mark.parametrize("names", [("train", "test"), ("Training", "val", "TEST"), ("train", "benign")])
def test_parts_of_a_split_are_not_classes(tmp_path, names):
    for name in names:
        image(tmp_path / "mine" / name / "benign/x.png")
    with pytest.raises(LddmError, match="look like a split, not like classes"):
        check_data(tmp_path / "mine")


def test_a_part_of_a_split_beside_two_classes_is_left_out(tmp_path):
    for name in ("benign", "malignant", "masks", "test"):
        image(tmp_path / "mine" / name / "x.png")
    found = check_data(tmp_path / "mine")
    assert found.advice[0].startswith("test look like a split")
    assert yaml.safe_load(found.config)["index"]["classes"] == ["benign", "malignant"]


@pytest.mark.parametrize("inside", [".", "Dataset_BUSI_with_GT", "copy of BUSI"])
def test_busi_is_recognised_wherever_it_was_copied(tmp_path, inside):
    for name in ("benign", "malignant", "normal"):
        image(tmp_path / "some" / inside / name / f"{name} (1).png")
        image(tmp_path / "some" / inside / name / f"{name} (1)_mask_1.png", np.full((72, 96), 255, np.uint8))
    found = check_data(tmp_path / "some")
    assert found.kind == "busi" and found.videos["excluded"].isna().sum() == 2  # not the class normal, no masks
    settings = build.load(yaml.safe_load(found.config))
    assert (tmp_path / settings.index.sources[0].folder / "benign").is_dir()
    assert sorted(found.unused["reason"].unique()) == [
        "a mask, not an ultrasound image",
        "class 'normal' is not in index.classes",
    ]


def test_folders_of_numbered_frames_are_videos(tmp_path):
    for number in range(4):
        place = tmp_path / "mine" / ("benign", "malignant")[number % 2] / f"v{number}"
        write_video(place, texture(number), 20)
    (tmp_path / "mine/patients.csv").write_text("file,patient_id\nbenign/v0,7\nbenign\\v2\\000003.png,7\nv1,8\n")
    found = check_data(tmp_path / "mine", "patients.csv")
    videos = found.videos.set_index("path")
    assert (videos["kind"] == "video").all() and len(videos) == 4 and videos["excluded"].isna().all()
    assert (
        videos.loc["mine/benign/v0", "patient_id"] == videos.loc["mine/benign/v2", "patient_id"] == "folder-patient-7"
    )
    assert "4 folders of numbered images are read as one video each" in "\n".join(found.advice)
    assert found.unused.empty


def test_files_beside_numbered_frames_and_links_to_folders_are_not_lost(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "mine" / name / "case").mkdir(parents=True)
        for number, frame in enumerate(texture(ord(name), 12)):
            image(tmp_path / "mine" / name / "case" / f"{number}.png", frame)
        write_video(tmp_path / "mine" / name / "case" / "film.mp4", texture(50 + ord(name)), 20)
        (tmp_path / "mine" / name / "case" / "about.json").write_text('{"fps": 10}')
    (tmp_path / "elsewhere").mkdir()
    write_video(tmp_path / "elsewhere" / "lost.mp4", texture(3), 20)
    os.symlink(tmp_path / "elsewhere", tmp_path / "mine" / "a" / "more")
    found = check_data(tmp_path / "mine")
    assert sorted(found.videos["path"]) == [
        "mine/a/case", "mine/a/case/film.mp4", "mine/b/case", "mine/b/case/film.mp4"
    ]  # fmt: skip
    reasons = dict(found.unused_by_reason())
    assert "a link to a folder" in reasons["mine/a/more"]
    assert "mine/a/case/about.json" not in reasons


def test_class_names_in_brackets_are_shown_and_one_word_is_said_of_many_files(tmp_path, caplog):
    for number in range(4):
        cine(tmp_path / "mine" / ("[a]", "b")[number % 2] / f"{number}.dcm", texture(number), PatientID=f"P{number}")
    shown = CliRunner().invoke(raw_data.app, ["check-data", str(tmp_path / "mine")])
    assert shown.exit_code == 0 and "│ [a] " in shown.stdout
    assert "4 files: no 2-D ultrasound region stated" in shown.stdout and "mine/[a]/0.dcm" in shown.stdout
    assert not caplog.records


@pytest.mark.parametrize("name", ["label", "lesion", "Labels_1"])
def test_label_images_beside_images_are_masks_and_a_class_may_be_called_so(tmp_path, name):
    for place in ("lesion", "normal"):
        (tmp_path / "mine" / place).mkdir(parents=True)
        image(tmp_path / "mine" / place / "7.png", texture(1)[0])
        image(tmp_path / "mine" / place / f"7_{name}.png", np.tile(np.uint8([0, 90, 180]), (72, 32)))
    found = check_data(tmp_path / "mine")
    assert sorted(found.videos["path"]) == ["mine/lesion/7.png", "mine/normal/7.png"]


def test_a_mistake_in_a_source_names_the_key_and_not_the_kind():
    with pytest.raises(LddmError, match=r"index.sources.0.fps: expected greater than 0"):
        build.load({"index": {"sources": [{"kind": "folder", "folder": "x", "fps": 0}]}})


@pytest.mark.skipif(sys.platform == "darwin", reason="file names there are UTF-8")
def test_names_that_are_no_utf_8_are_named_and_not_read(folder, tmp_path):
    for name in (b"\xff.mp4", b"x.\xfc"):
        (folder / "sick" / os.fsdecode(name)).write_bytes((folder / "sick/1.mp4").read_bytes())
    shown = CliRunner().invoke(raw_data.app, ["check-data", str(folder), "--list", "--csv", str(tmp_path / "a.csv")])
    assert shown.exit_code == 0, shown.exception
    unused = dict(check_data(folder).unused_by_reason())
    assert "is not UTF-8" in unused["mine/sick/\\xff.mp4"] and "is not UTF-8" in unused["mine/sick/x.\\xfc"]
    assert "\\xff.mp4" in (tmp_path / "a.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("inner", "said"), [(("benign", "malignant"), True), (("p1", "p2"), False), (("train", "test"), False)]
)
def test_hospitals_that_hold_the_classes_are_noticed(tmp_path, inner, said):
    for number, (outer, name) in enumerate((outer, name) for outer in ("Bonn", "Kiel") for name in inner):
        image(tmp_path / "mine" / outer / name / f"{number}.png", texture(number)[0])
    advice = "\n".join(check_data(tmp_path / "mine").advice)
    assert (f"each of the folders Bonn, Kiel contains the folders {', '.join(inner)}" in advice) == said


def test_single_frame_dicom_files_of_one_series_get_a_hint(tmp_path):
    for number in range(9):
        cine(tmp_path / f"mine/benign/{number}.dcm", texture(1)[:1], PatientID="1", SeriesInstanceUID="1.2.3")
    image(tmp_path / "mine/malignant/x.png")
    assert "1 DICOM series consist of single-frame files" in "\n".join(check_data(tmp_path / "mine").advice)


def test_ids_with_several_names_and_placeholders_are_said(tmp_path):
    for number, (who, name) in enumerate([("1", "A^B"), ("1", "C^D"), ("2", "C^D"), ("", "ANONYMOUS")]):
        place = tmp_path / "mine" / ("benign", "malignant")[number % 2]
        cine(place / f"{number}.dcm", texture(number), PatientID=who, PatientName=name)
    found = check_data(tmp_path / "mine")
    advice = "\n".join(found.advice)
    assert "1 patient IDs have several names, 1 names have several patient IDs" in advice
    assert "patients are unknown for 1 of 4 files" in advice
    assert "one patient has" not in advice
    for number in range(4, 8):
        place = tmp_path / "mine" / ("benign", "malignant")[number % 2]
        cine(place / f"{number}.dcm", texture(number), PatientID="STUDY42", PatientName="STUDY42")
        (tmp_path / "mine/benign/0.dcm").unlink(missing_ok=True)
    assert "one patient has 4 of 7 files, in several classes" in "\n".join(check_data(tmp_path / "mine").advice)
    assert found.leaks.patients_in_both == 1 and not (tmp_path / ".lddm_key").exists()


def test_a_csv_of_patients_is_found_from_here_and_named_where_it_is_not(folder, tmp_path, monkeypatch):
    (folder / "list.csv").write_text("file;patient_id\nhealthy\\0.mp4;1\nhealthy\\2.mp4;1\n")
    assert "list.csv has the columns file and patient_id: pass --patients list.csv" in "\n".join(
        check_data(folder).advice
    )
    monkeypatch.chdir(tmp_path)
    found = check_data(folder, "mine/list.csv")
    assert yaml.safe_load(found.config)["index"]["sources"][0]["patients"] == "list.csv"
    assert "patients are unknown for 6 of 8 files" in "\n".join(found.advice)
    with pytest.raises(
        LddmError,
        match="no.csv exists neither below .*mine nor in the working directory\nHint: CSV files in .*: list.csv",
    ):
        check_data(folder, "no.csv")
    (tmp_path / "other.csv").write_text("file,patient_id\na,1\n")
    for outside in ("other.csv", str(tmp_path / "other.csv"), "../other.csv"):
        with pytest.raises(LddmError, match="other.csv lies outside"):
            check_data(folder, outside)
    found = check_data(folder, str(folder / "list.csv"))
    assert yaml.safe_load(found.config)["index"]["sources"][0]["patients"] == "list.csv"


def test_the_config_fits_what_was_found(tmp_path):
    for number in range(12):  # six patients per class need another split
        write_video(tmp_path / "mine" / ("b", "a")[number % 2] / f"{number}.avi", texture(number), 20)
    (tmp_path / "mine/c").mkdir()
    write_video(tmp_path / "mine/c/0.avi", texture(99), 20)
    found = check_data(tmp_path / "mine")
    settings = build.load(yaml.safe_load(found.config))
    assert settings.index.classes == ["a", "b"] and (settings.split.folds, settings.split.min_patients) == (3, 3)
    advice = "\n".join(found.advice)
    assert (
        "the two with the most patients (a, b)" in advice and "the run would stop: class 'a' has 6 patients" in advice
    )


def test_metadata_that_give_the_class_away_are_said_by_check_data(tmp_path):
    for number in range(16):
        label = number % 2
        write_video(tmp_path / "mine" / "ab"[label] / f"{number}.avi", texture(number, 60), [20, 30][label])
    done = CliRunner().invoke(raw_data.app, ["check-data", str(tmp_path / "mine")])
    assert "WARNING: FILE METADATA ALONE PREDICT THE CLASS" in done.output and "frame rate 1.00" in done.output


def test_class_folders_of_a_mac_are_compared_in_one_unicode_form(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "bösartig") for form in ("NFC", "NFD"))
    for name in ("gutartig", decomposed):
        write_video(tmp_path / "mine" / name / "x.avi", texture(len(name)), 20)
    sources = IndexSettings(sources=[FolderSource(folder="mine")], classes=["gutartig", composed])
    table = build_index(sources, tmp_path, 0)
    assert table["excluded"].isna().all() and set(table["class_name"]) == {"gutartig", composed}
    assert composed in check_data(tmp_path / "mine").config
    with pytest.raises(LddmError, match="write 'gutartig' in index.classes"):
        build_index(sources.model_copy(update={"classes": ["Gutartig", composed]}), tmp_path, 0)


def test_names_that_the_locale_cannot_hold_are_one_error(tmp_path):
    for name in ("gut", "bösartig"):
        write_video(tmp_path / "mine" / name / "ä.avi", texture(len(name)), 20)
    environment = os.environ | {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    command = [str(Path(sys.executable).with_name("lddm")), "check-data", str(tmp_path / "mine")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "is not ASCII" in done.stderr and "set PYTHONUTF8=1 or LC_ALL=C.UTF-8" in done.stderr


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
    with pytest.raises(LddmError, match="could not be downloaded"):
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
    with pytest.raises(LddmError, match="could not be downloaded"):
        fetch("busi", root, f"{address}/none.zip")
    with pytest.raises(LddmError, match="described in the README"):
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
    with pytest.raises(LddmError, match="contains a link"):
        unzip(tmp_path / "link.zip", tmp_path / "made")
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(LddmError, match="not a zip archive"):
        unzip(tmp_path / "text.zip", tmp_path / "made")
