"""Coverage-guided fuzzing with atheris, seconds for each reader; longer by hand, see fuzz.py."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lddm.io.dicom.read import write_dicom
from lddm.io.video import write_video

HERE = Path(__file__).parent
FRAMES = np.random.default_rng(0).integers(0, 255, (4, 16, 24), dtype=np.uint8)
pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed"),
]


def write_valid(reader: str, folder: Path) -> None:
    """Files to start from."""
    if reader == "image":
        for suffix in ("png", "jpg", "bmp", "tif"):
            Image.fromarray(FRAMES[0]).save(folder / f"i.{suffix}")
    elif reader == "video":
        for suffix in ("mp4", "avi", "gif"):
            write_video(folder / f"v.{suffix}", FRAMES, 10)
    elif reader == "dicom":
        write_dicom(folder / "d.dcm", FRAMES, 10)
    else:
        for path in (HERE.parents[2] / "config").rglob("*.yaml"):
            shutil.copyfile(path, folder / path.name)


@pytest.mark.parametrize("reader", ["image", "video", "dicom", "settings"])
def test_no_input_breaks_a_reader_or_takes_its_time_or_memory(tmp_path, reader):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    write_valid(reader, corpus)
    command = [sys.executable, str(HERE / "fuzz.py"), reader, str(corpus), "-seed=1", "-max_total_time=10"]
    command += ["-timeout=20", "-rss_limit_mb=1200"]
    # The largest memory of a process counts what the one that started it had: a small shell, not the whole test run.
    command = ["sh", "-c", '"$@"; exit $?', "sh", *command]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    tried = int(done.stderr.rsplit("Done ", 1)[1].split()[0])
    assert tried > 50 and not list(tmp_path.glob("crash-*"))
