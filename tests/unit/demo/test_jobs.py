"""State of the demo page in memory, and rejected requests."""

import io
import threading
import time

import numpy as np
import pydicom
import pydicom.examples
import pytest
from PIL import Image

from lddm.demo import files
from lddm.demo.jobs import KEPT_JOBS, KEPT_STILLS, WAITING, Request, Workbench
from lddm.errors import LddmError
from lddm.io.dicom.read import read_dicom
from lddm.io.recording import Recording, UnreadableFile
from lddm.io.video import read_video
from lddm.synthesis.animate import Animator


def picture(shape=(48, 64), kind="PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 200, shape, dtype=np.uint8)).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def bench():
    bench = Workbench()
    yield bench
    bench.close()


@pytest.fixture
def still(bench):
    return bench.add_still(files.read_still(picture()))


def ended(bench, key, patience=60.0):
    until = time.monotonic() + patience
    while (job := bench.jobs[key]).state in ("waiting", "running"):
        assert time.monotonic() < until
        time.sleep(0.02)
    return job


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_images_are_read_by_their_content(kind):
    recording = files.read_still(picture(kind=kind))
    assert recording.frames.shape == (1, 48, 64) and not recording.colour


def test_a_dicom_still_keeps_no_name():
    path = pydicom.examples.get_path("ybr_color")
    recording = files.read_still(path.read_bytes())
    assert recording.frames.shape[0] == 1 and recording.frames.shape[1:] == read_dicom(path, 1).frames.shape[1:]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not PNG, JPEG or DICOM"),
        (b"GIF89a" + bytes(100), "not PNG, JPEG or DICOM"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n(run) run", "not PNG, JPEG or DICOM"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not PNG, JPEG or DICOM"),
        (picture()[:200], "cannot be decoded"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "cannot be decoded"),
        (bytes(128) + b"DICM" + bytes(300), "the file"),
        (picture((files.MAX_SIDE + 1, 20)), "pixels"),
        (picture((8, 8)), "at least 16"),
        (picture()[:16] + (2**20).to_bytes(4, "big") * 2 + picture()[24:], "the file"),  # a bomb of 2^40 pixels
    ],
)
def test_files_that_are_not_stills_are_rejected_without_a_trace(data, reason, tmp_path, monkeypatch):
    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(UnreadableFile, match=reason):
        files.read_still(data)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["mp4", "gif", "dcm"])
def test_downloads_have_the_mark_in_their_frames(kind, tmp_path):
    video = np.full((5, 120, 160), 90, np.uint8)
    video[:, 40] = np.arange(80, 130, 10)[:, None]  # a GIF has no equal frames
    data = files.download(video, 10, kind, (0.2, 0.2))
    path = tmp_path / f"v.{kind}"
    path.write_bytes(data)
    recording = read_dicom(path) if kind == "dcm" else read_video(path)
    assert recording.frames.shape == video.shape
    corner, rest = recording.frames[:, -12:, :40], recording.frames[:, :36]
    assert corner.max() > 200 and corner.min() < 30 and np.abs(rest.astype(int) - 90).max() <= 4
    if kind == "dcm":
        assert recording.spacing == pytest.approx((0.2, 0.2))
        assert pydicom.dcmread(path).PatientName == "SYNTHETIC"


def test_a_job_animates_as_the_command_does(bench, still):
    key = bench.start(Request(still, "breast-phantom", "malignant", samples=2, length=6, seed=5))
    job = ended(bench, key)
    assert job.state == "done" and job.progress == 1, job.message
    assert [title for title, _ in job.videos] == ["LDDM, sample 1", "LDDM, sample 2", "motion transfer"]
    animator = Animator.load(bench.folders["breast-phantom"])
    seen = []
    said = {"on_frame": lambda made, of: seen.append((made, of))}
    wanted = animator.animate(bench.stills[still].frames[0], 2, 5, "malignant", length=6, **said)
    assert seen == [(made, 12) for made in range(1, 13)]
    assert all(np.array_equal(video, one) for (_, video), one in zip(job.videos, wanted, strict=False))
    assert job.as_json(key)["videos"][0]["shape"] == [7, 48, 64]
    assert "out of distribution" in job.warning and "simulated breast" in job.trained_on  # noise


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": 0}, "samples 0 is out of range"),
        ({"length": 10**6}, "length 1000000 is out of range"),
        ({"seed": -1}, "seed -1"),
        ({"samples": "2"}, "unexpected value of 'samples'"),
        ({"samples": True}, "unexpected value of 'samples'"),
        ({"model": None}, "unexpected value of 'model'"),
        ({"path": "/etc/passwd"}, "unexpected value of 'path'"),
    ],
)
def test_requests_are_checked(change, message):
    with pytest.raises(LddmError, match=message):
        Request.of_json({"still": "a", "model": "b"} | change)
    for other in ([], "a", {"still": "a"}):
        with pytest.raises(LddmError, match="expected a"):
            Request.of_json(other)


def test_unknown_or_too_large_requests_are_rejected(bench, still):
    for request, message in (
        (Request("another", "breast-phantom"), "removed from memory"),
        (Request(still, "../../etc"), "unknown model"),
        (Request(still, "breast-phantom", "blue"), "unknown class 'blue'"),
    ):
        with pytest.raises(LddmError, match=message):
            bench.start(request)
    large = bench.add_still(Recording.still(np.zeros((2048, 2048), np.uint8)))
    with pytest.raises(LddmError, match="this job is too large"):
        bench.start(Request(large, "breast-phantom", samples=8, length=120))


def test_a_job_is_cancelled_and_waiting_jobs_are_limited(bench, still, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def animate(self, image, *_, on_frame, **__):
        begun.set()
        assert go_on.wait(30)
        on_frame(1, 2)
        raise AssertionError("the job should have stopped")

    monkeypatch.setattr(Animator, "animate", animate)
    keys = [bench.start(Request(still, "breast-phantom")) for _ in range(WAITING)]
    jobs = [bench.jobs[key] for key in keys]
    assert begun.wait(30)
    with pytest.raises(LddmError, match="too many jobs"):
        bench.start(Request(still, "breast-phantom"))
    for key in keys:
        bench.forget(key)
    go_on.set()
    bench.close()
    assert {job.state for job in jobs} == {"cancelled"} and not bench.jobs and not any(job.videos for job in jobs)


def test_the_oldest_results_are_dropped(bench, monkeypatch):
    monkeypatch.setattr(Workbench, "_animate", lambda self, job, still: None)
    stills = [bench.add_still(Recording.still(np.zeros((16, 16), np.uint8))) for _ in range(KEPT_STILLS + 2)]
    assert list(bench.stills) == stills[2:]
    jobs = []
    for _ in range(KEPT_JOBS + 2):
        jobs.append(bench.start(Request(stills[-1], "breast-phantom")))
        ended(bench, jobs[-1])
    assert list(bench.jobs) == jobs[2:]


def test_a_bug_neither_stops_the_server_nor_leaks_details(bench, still, monkeypatch, caplog):
    def broken(self, job, image):
        raise RuntimeError("secret path")

    with monkeypatch.context() as patch:
        patch.setattr(Workbench, "_animate", broken)
        job = ended(bench, bench.start(Request(still, "breast-phantom")))
    assert job.state == "failed" and "secret" not in job.message and "secret path" in caplog.text
    assert ended(bench, bench.start(Request(still, "breast-phantom", length=2, baseline=False))).state == "done"
