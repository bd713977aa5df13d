"""Overhead of the workflow: planning, start of each job, and memory of preprocessing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.timing import alternate, row

ROOT = Path(__file__).resolve().parents[1]
WHOLE = "split:\n  folds: 5\n  folds_to_run: 5\nclassification:\n  seeds: 5\nsynthesis:\n  shards: 4\n"
# Modules that the command of each rule imports before its work starts.
STARTS = {
    "index": "lddm.data.index",
    "preprocess": "lddm.data.preprocess",
    "split": "lddm.data.splits",
    "train_autoencoder": "lddm.autoencoder.train",
    "encode": "lddm.autoencoder.encode",
    "train_generator": "lddm.synthesis.train_generator, lddm.generators.diffusion.train",
    "synthesize": "lddm.synthesis.synthesize, lddm.generators.diffusion.model",
    "train_domain_network": "lddm.metrics.domain_network",
    "score": "lddm.metrics.score",
    "classify": "lddm.classification.classify",
    "tabulate": "lddm.classification.sweep, lddm.metrics.comparisons, lddm.report.tables",
    "figures": "lddm.report.figures",
    "page": "lddm.report.page",
    "summarize": "lddm.report.provenance, lddm.report.summary",
}
# RssAnon is sampled: the peak RSS would include reclaimable pages of the memory-mapped output file, and getrusage would
# report the peak of the parent, which a fork inherits.
MEMORY = r"""
import re, sys, tempfile, threading, time
from pathlib import Path
from lddm.data.index import build_index
from lddm.data.preprocess import preprocess
from lddm.settings.data import IndexSettings, PhantomSource, PreprocessSettings
peak = [0]
def watch():
    while True:
        peak.append(int(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[1]))
        peak[:] = [max(peak)]
        time.sleep(0.005)
threading.Thread(target=watch, daemon=True).start()
source = PhantomSource(videos=int(sys.argv[1]), stills=0, size=32, frames=30)
sources = IndexSettings(sources=[source])
with tempfile.TemporaryDirectory() as folder:
    index = build_index(sources, Path(folder), 0)
    preprocess(index, sources, PreprocessSettings(size=32), Path(folder), Path(folder) / "frames", 0, workers=1)
print(max(peak))
"""


def _python(*arguments: str, cwd: Path = ROOT) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-2000:])
    return done.stdout


def planning() -> dict[str, Any]:
    """Seconds of a dry run of the paper's experiment with five folds and seeds, relative to `snakemake --version`."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name in ("busv", "busi"):
            (place / "raw" / name).mkdir(parents=True)
        (place / "config").symlink_to(ROOT / "config")
        (place / "whole.yaml").write_text(WHOLE)
        plan = [
            "-m",
            "snakemake",
            "--snakefile",
            str(ROOT / "Snakefile"),
            "-n",
            "--quiet",
            "rules",
            "--directory",
            folder,
        ]
        plan += ["--configfile", str(ROOT / "config/paper/busv_busi.yaml"), str(place / "whole.yaml")]
        plan += ["--config", f"data_root={place / 'raw'}"]
        jobs = re.search(r"^total\s+(\d+)", _python(*plan, cwd=place), re.MULTILINE)
        if jobs is None:
            raise RuntimeError("the dry run plans no jobs")
        seconds = alternate(lambda: _python(*plan, cwd=place), lambda: _python("-m", "snakemake", "--version"))
    return row(
        "dry_run_vs_snakemake_alone", *seconds, "s", f"config/paper/busv_busi.yaml, 5 folds, 5 seeds, {jobs[1]} jobs"
    )


def start_of_jobs() -> list[dict[str, Any]]:
    """Seconds from the start of a job's process to its work, relative to importing torch alone."""
    rows = []
    for rule, modules in STARTS.items():
        code = f"import lddm.cli, {modules}"
        seconds = alternate(lambda code=code: _python("-c", code), lambda: _python("-c", "import torch"), repeats=3)
        rows.append(row(f"start_of_{rule}_vs_torch", *seconds, "s", "interpreter and imports"))
    return rows


def preprocessing_memory() -> dict[str, Any]:
    """Peak anonymous memory of the rule preprocess with 1,000 videos, relative to 100 videos."""
    peaks = [int(_python("-c", MEMORY, str(count))) / 1024 for count in (1000, 100)]
    return row("preprocess_memory_1000_vs_100_videos", *peaks, "MiB", "phantoms of 30 frames, 32 px, one process")
