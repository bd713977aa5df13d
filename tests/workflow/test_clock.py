"""A clock that is put back in the middle of a run: what was made before it is dated in the future."""

from __future__ import annotations

import os
from pathlib import Path

from sandbox import Pipeline, pretend

CONFIG = {"experiment": "tiny", "index": {"sources": [{"kind": "phantom", "videos": 40, "stills": 20}]}}
HALF_WAY = "results/tiny/fold-0/latents.safetensors"


def made(pipeline: Pipeline) -> dict[str, bytes]:
    """Path -> content of what the jobs made, which here is their command lines."""
    root = pipeline.folder / "results"
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not {"logs", "benchmarks"} & set(path.parts)  # measured times differ
    }


def test_it_is_said_and_after_touch_the_run_ends_as_one_that_nothing_disturbed(tmp_path: Path):
    (tmp_path / "plain").mkdir()
    (tmp_path / "put-back").mkdir()
    plain, put_back = pretend(tmp_path / "plain"), pretend(tmp_path / "put-back")
    assert plain.run(config=CONFIG).returncode == 0

    assert put_back.run(HALF_WAY, config=CONFIG).returncode == 0
    for path in (put_back.folder / "results").rglob("*"):
        times = path.stat()
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 3600 * 10**9))
    stopped = put_back.run(config=CONFIG)
    said = stopped.stdout + stopped.stderr
    assert stopped.returncode == 1 and "has older modification time" in said and "clock skew" in said

    assert put_back.run("--touch", "--forceall", config=CONFIG).returncode == 0
    assert put_back.run(config=CONFIG).returncode == 0
    assert made(put_back) == made(plain) and len(made(plain)) > 50
    assert put_back.planned(config=CONFIG) == {}
    count = len([line for line in put_back.verbs() if line.startswith("train-autoencoder")])
    assert count == 1  # what was made before the clock was put back is not made again
