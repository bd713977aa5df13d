"""Paths of videos are refused before anything is drawn, and an input is never overwritten."""

import pytest

from lddm.errors import LddmError
from lddm.io.output_path import check_not_overwritten, check_video_path


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a.mkv", "cannot write '.mkv'"),
        ("there", "there exists"),
        ("there/dir.mp4", "is a directory"),
        ("file.txt/deeper/v.mp4", "file.txt is a file"),
    ],
)
def test_a_path_that_cannot_be_written_is_refused(tmp_path, path, message):
    (tmp_path / "there/dir.mp4").mkdir(parents=True)
    (tmp_path / "file.txt").touch()
    with pytest.raises(LddmError, match=message):
        check_video_path(tmp_path / path)


@pytest.mark.parametrize("path", ["new/folder/v.mp4", "v.dcm", "frames", "V.MP4"])
def test_other_paths_pass(tmp_path, path):
    check_video_path(tmp_path / path)


def test_an_output_is_no_input_also_by_a_link(tmp_path):
    still, link = tmp_path / "a-strip.png", tmp_path / "b.png"
    still.touch()
    link.symlink_to(still)
    check_not_overwritten([still], [tmp_path / "a.mp4"])
    for output in (still, link):
        with pytest.raises(LddmError, match="would be overwritten"):
            check_not_overwritten([still], [tmp_path / "a.mp4", output])


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write anywhere but on a read-only disk
    with pytest.raises(LddmError, match=f"{tmp_path} is not writable"):
        check_video_path(tmp_path / "new/v.mp4")
