"""Time and memory of each stage for 100, 1,000 and 10,000 videos:

    python -m benchmarks.scaling [VIDEOS ...] [--folder build/scaling] [--workers 1]

The videos are phantoms with small frames. Each stage runs in its own process. Finished stages are kept in the folder, so that
an interrupted run resumes. Prints a Markdown table and writes scaling.json. Networks are untrained, since time and memory do
not depend on weights.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.timing import ROOT, commit, processor
from lddm.files import read_json, write_json
from lddm.nn.condition import LabelSpec

SIZE, FRAMES, LENGTH, FPS = 32, 20, 16, 10.0
STAGES = ("index", "preprocess", "split", "duplicates", "motion", "encode", "synthesis", "scores")
FOLD, SEED, GENERATOR = 0, 0, "lddm"


class Watch:
    """Measures seconds and the peak growth of the memory of this process.

    Memory is RssAnon, without memory-mapped files, which the system can reclaim. Child processes are not included.
    """

    def __enter__(self) -> Watch:
        self.start = self.peak = self._own()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        self._began, self._cpu = time.perf_counter(), _cpu()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds, self.cpu = time.perf_counter() - self._began, _cpu() - self._cpu
        self._done.set()
        self._thread.join()
        self.peak = max(self.peak, self._own())

    def _sample(self) -> None:
        while not self._done.wait(0.01):
            self.peak = max(self.peak, self._own())

    @staticmethod
    def _own() -> int:
        found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
        return int(found[1]) if found else 0

    def row(self, stage: str) -> dict[str, Any]:
        """The measurements as a table row."""
        memory = round((self.peak - self.start) / 1024, 1)
        return {"stage": stage, "seconds": round(self.seconds, 3), "cpu_s": round(self.cpu, 3), "peak_mib": memory}


def _cpu() -> float:
    """CPU time of this process and its finished children, which excludes other jobs on the machine."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def run_stage(stage: str, videos: int, folder: Path, workers: int) -> list[dict[str, Any]]:
    """Run one stage for one dataset size; its inputs are in the folder."""
    import pandas as pd

    from lddm.settings.data import IndexSettings, PhantomSource, PreprocessSettings, SplitSettings
    from lddm.settings.models import AutoencoderSettings

    sources = IndexSettings(
        sources=[PhantomSource(videos=videos, stills=max(20, videos // 10), size=SIZE, frames=FRAMES, fps=FPS)]
    )
    settings = AutoencoderSettings(width=8, map_size=4)
    if stage == "index":
        from lddm.data.index import build_index, write_index

        with Watch() as watch:
            write_index(build_index(sources, folder, SEED), folder / "index.parquet")
        return [watch.row(stage)]
    if stage == "preprocess":
        from lddm.data.preprocess import preprocess

        section = PreprocessSettings(size=SIZE, clip_length=LENGTH, fps=FPS)
        with Watch() as watch:
            index = pd.read_parquet(folder / "index.parquet")
            preprocess(index, sources, section, folder, folder / "frames", SEED, workers)
        return [watch.row(stage)]

    from lddm.data.frames import FrameStore

    store = FrameStore.open(folder / "frames")
    if stage == "split":
        from lddm.data.splits import make_splits

        with Watch() as watch:
            make_splits(store.videos, SplitSettings(), SEED).to_parquet(folder / "splits.parquet")
        return [watch.row(stage)]
    splits = pd.read_parquet(folder / "splits.parquet")
    work = {
        "duplicates": _duplicates,
        "motion": _motion,
        "encode": _encode,
        "synthesis": _synthesis,
        "scores": _scores,
    }[stage]
    run = work(settings, store, splits, folder, workers)
    with Watch() as watch:
        run()
    return [watch.row(stage)]


def _duplicates(settings: Any, store: Any, splits: Any, folder: Path, workers: int) -> Callable[[], Any]:
    """Thumbnails and duplicate search, which preprocess skips for simulated files without duplicates."""
    from lddm.data.duplicates import find_duplicates, video_hashes

    usable = store.videos[store.videos["excluded"].isna()]
    rows = [slice(first, first + count) for first, count in usable[["first_frame", "stored_frames"]].to_numpy()]
    return lambda: find_duplicates([video_hashes(store.frames[part]) for part in rows])


def _motion(settings: Any, store: Any, splits: Any, folder: Path, workers: int) -> Callable[[], Any]:
    from lddm.autoencoder.measured import measure_store

    return lambda: measure_store(settings, store, processes=workers).save(folder / "motion.safetensors")


def _encode(settings: Any, store: Any, splits: Any, folder: Path, workers: int) -> Callable[[], Any]:
    from lddm.autoencoder.encode import encode_clips
    from lddm.autoencoder.measured import MeasuredMotion
    from lddm.autoencoder.model import Autoencoder

    Autoencoder(settings, SIZE, LENGTH).save(folder / "autoencoder.safetensors")

    def run() -> None:
        measured = MeasuredMotion.load(folder / "motion.safetensors")
        encode_clips(folder / "autoencoder.safetensors", store, splits, FOLD, folder / "latents.safetensors", measured)

    return run


def _synthesis(settings: Any, store: Any, splits: Any, folder: Path, workers: int) -> Callable[[], Any]:
    from lddm.generators.diffusion.model import LatentDiffusion
    from lddm.latent.dataset import LatentSet
    from lddm.settings.models import DiffusionSettings, SynthesisSettings
    from lddm.synthesis.bundle import write_bundle
    from lddm.synthesis.synthesize import synthesize

    latents = LatentSet.load(folder / "latents.safetensors")
    diffusion = DiffusionSettings(width=16, depth=1)
    generator = LatentDiffusion(diffusion, latents.spec, SIZE, LabelSpec(2))
    generator.transform.load_state_dict(latents.transform.state_dict())
    generator.save(folder / "generator.safetensors")
    about = {
        "experiment": "scaling", "fold": FOLD, "seed": SEED, "size": SIZE, "frames": LENGTH, "fps": FPS,
        "classes": store.meta["classes"], "clips": len(latents.clip), "licences": ["CC0"],
        "settings": diffusion.model_dump(mode="json"),
    }  # fmt: skip
    write_bundle(
        folder / "bundle", GENERATOR, folder / "generator.safetensors", folder / "autoencoder.safetensors", about
    )
    arguments = (GENERATOR, folder / "bundle", store, splits, FOLD, "heldout", 0, 1, SEED, folder / "made.npy")
    return lambda: synthesize(SynthesisSettings(samples={"heldout": 1, "stills": 1}), *arguments)


def _scores(settings: Any, store: Any, splits: Any, folder: Path, workers: int) -> Callable[[], Any]:
    from lddm.metrics.domain_network import DomainNetwork
    from lddm.metrics.score import score
    from lddm.settings.evaluation import QualitySettings
    from lddm.training.weights import save_weights

    network = folder / "domain_network.safetensors"
    save_weights(
        network, DomainNetwork(8), "domain_network", width=8, held_out={"accuracy": 1.0, "loss": 0.0}, train_clips=0
    )
    manifest = [folder / "made.parquet"]
    section = QualitySettings()
    return lambda: score(section, GENERATOR, store, splits, FOLD, network, folder / "weights", manifest, SEED)


def measured(videos: int, folder: Path, workers: int, timeout: float | None = None) -> list[dict[str, Any]]:
    """Rows of all stages for one number of videos; stages found in rows.json of the folder are not repeated.

    Raises:
        RuntimeError: a stage failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "rows.json"
    rows: list[dict[str, Any]] = read_json(place) if place.is_file() else []
    done = {row["stage"] for row in rows}
    for stage in STAGES:
        if stage in done:
            continue
        print(f"{videos} videos: {stage} ...", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "benchmarks.scaling", str(videos), "--folder", str(folder), "--stage", stage]
        ran = subprocess.run(
            [*command, "--workers", str(workers)], cwd=ROOT, capture_output=True, text=True, timeout=timeout
        )
        if ran.returncode != 0:
            raise RuntimeError(f"{stage} of {videos} videos failed:\n{ran.stderr[-3000:]}")
        new = json.loads(ran.stdout.strip().splitlines()[-1])
        rows += [row | {"videos": videos, "workers": workers, "device": processor(), "commit": commit()} for row in new]
        write_json(place, rows)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """One row per stage: seconds (of CPU time) and MiB by number of videos, and the growth between the last two."""
    counts = sorted({row["videos"] for row in rows})
    by = {(row["stage"], row["videos"]): row for row in rows}
    stages = [stage for stage in dict.fromkeys(row["stage"] for row in rows)]
    head = "| stage | " + " | ".join(f"{count:,} videos" for count in counts) + " | growth of CPU time, memory |"
    lines = [head, "|---" * (len(counts) + 2) + "|"]
    for stage in stages:
        found = [row for count in counts if (row := by.get((stage, count)))]
        cells = [f"{row['seconds']:.3g} s ({row['cpu_s']:.3g}), {row['peak_mib']:.0f} MiB" for row in found]
        ends = [by.get((stage, count)) for count in counts[-2:]]
        growth = "–"
        if len(ends) == 2 and ends[0] and ends[1]:
            pairs = (
                ends[1]["cpu_s"] / max(1e-3, ends[0]["cpu_s"]),
                ends[1]["peak_mib"] / max(1, ends[0]["peak_mib"]),
            )
            growth = f"{pairs[0]:.2g}, {pairs[1]:.2g} for {counts[-1] / counts[-2]:.3g} times the videos"
        lines.append(f"| {stage} | {' | '.join(cells)} | {growth} |")
    return "\n".join(lines)


def main(
    videos: Annotated[list[int] | None, typer.Argument(help="numbers of videos [default: 100 1000 10000]")] = None,
    folder: Annotated[Path, typer.Option(help="folder of the data and the measurements")] = ROOT / "build/scaling",
    workers: Annotated[int, typer.Option(min=1, help="number of processes of preprocess and motion")] = 1,
    stage: Annotated[str | None, typer.Option(help="run this stage here and print its rows as JSON")] = None,
) -> None:
    """Measure all stages and print the table."""
    counts = videos or [100, 1000, 10_000]
    if stage is not None:
        print(json.dumps(run_stage(stage, counts[0], folder, workers)))
        return
    rows = [row for count in counts for row in measured(count, folder.resolve() / str(count), workers)]
    write_json(folder / "scaling.json", rows)
    print(
        f"{processor()}, {workers} processes, frames of {SIZE} px, {FRAMES} a video, commit {commit()}\n\n{table(rows)}"
    )


if __name__ == "__main__":
    typer.run(main)
