"""All GPU benchmarks, in one run of at most eight minutes: `make bench-gpu`, or

    python -m benchmarks.gpu [--quick] [--device cpu] [--budget 480] [--docs docs/results/performance.md]

Measures first what the targets require: stage 2 with CUDA graphs, one-step synthesis, both decoders, and `config/lung.yaml`
at 128 px from end to end. Explanatory measurements follow: other ways to run a step, the training loop of diffusers and the
bare forward pass, channels last and gradient checkpointing, DistributedDataParallel against our averaging if there are several
GPUs. Compiled decoders come last, since compilation time is unpredictable. A row that fails or exceeds its time limit is
reported and does not stop the others. Writes benchmarks/gpu.json after each row (with device, commit and batch size); `--docs`
updates the tables of the performance page.
`--quick` with `--device cpu` runs each part at tiny sizes, to test the script.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks import end_to_end, processes
from benchmarks.gpu_bars import judged, said
from benchmarks.gpu_rows import Bench, reason
from benchmarks.gpu_tables import fill
from benchmarks.peers import stage2_works
from benchmarks.roofline import peak_of
from benchmarks.timing import commit, machine
from benchmarks.training_steps import FRAMES, How, latent_diffusion, loop_steps, stage1_steps, stage2_task
from lddm.autoencoder.model import Autoencoder
from lddm.data.ranges import to_float
from lddm.files import write_json
from lddm.generators.sampling import SamplingOptions
from lddm.motion.field_of_view import view_of_spans, view_spans
from lddm.settings.models import AutoencoderSettings
from lddm.synthesis.animate import Animator
from lddm.synthesis.bundle import Bundle

HERE = Path(__file__).parent
COMPILING_S = 60.0  # time limit of a row with compilation, in seconds
FOR_WHOLE = 260.0  # time limit of the end-to-end run, whose target is 240 s
RESERVED = 0.12  # share of the budget reserved for explanatory measurements
Part = tuple[str, Callable[[], None]]


def stage2(
    bench: Bench, size: int, batches: tuple[int, ...], ways: tuple[How, ...], students: tuple[bool, ...]
) -> None:
    """Denoiser and student in each way of running a step; float32, as in their settings."""
    peak = peak_of(bench.device, "float32")
    for batch, student in itertools.product(batches, students):

        def make(how: How, batch: int = batch, student: bool = student) -> Callable[[], None]:
            task, training = stage2_task(size, batch, bench.device, student)
            return loop_steps(task, training, bench.device, how)

        counted = bench.counted(lambda make=make: make("read each step"))
        for how in ways:
            name = f"stage 2, {'student' if student else 'denoiser'}: {how}"
            bench.measure(name, lambda make=make, how=how: make(how), peak, 1, counted, batch=batch, size=size)


def peers(bench: Bench, size: int, batch: int) -> None:
    """Peers of a training step of stage 2."""
    peak = peak_of(bench.device, "float32")
    _, notes = stage2_works(size, 2, torch.device("cpu"), "read each step")
    for peer in ("forward_pass", "diffusers_loop", "diffusers_unet"):

        def make(peer: str = peer) -> Callable[[], Any]:
            return stage2_works(size, batch, bench.device, "read each step")[0][peer]

        bench.measure(f"stage 2, peer: {notes[peer]}", make, peak, 1, bench.counted(make), batch=batch, size=size)


def stage1(bench: Bench, decoder: str, size: int, width: int, batches: tuple[int, ...], **options: bool) -> None:
    """A decoder at several batch sizes, optionally with channels last, gradient checkpointing or compiled."""
    peak, names = peak_of(bench.device), {"channels_last": "channels last", "gradient_checkpointing": "checkpointing"}
    name = ", ".join([f"stage 1, {decoder}", *(names.get(option, option) for option in options)])
    for batch in batches:
        shape: tuple[Any, ...] = (decoder, size, batch, width, bench.device)
        # Recomputation by checkpointing does not count as work.
        counted = bench.counted(lambda shape=shape: stage1_steps(*shape))
        if options.get("compiled"):
            torch._dynamo.reset()  # otherwise the second size would be compiled with dynamic shapes
        bench.measure(
            name, lambda shape=shape: stage1_steps(*shape, **options), peak, batch, counted,
            COMPILING_S if options.get("compiled") else None, batch=batch, size=size, width=width,
        )  # fmt: skip


def synthesis(bench: Bench, size: int, width: int, batches: tuple[int, ...]) -> None:
    """One-step synthesis: on the device only, and including the transfer to the host, for new and for cached stills.

    Each call uses other stills. Field-of-view masks of new stills are computed on the host, those of known ones are cached.
    """
    torch.manual_seed(0)
    autoencoder = Autoencoder(AutoencoderSettings(width=width), size, FRAMES).eval()
    generator = latent_diffusion(size, torch.device("cpu")).eval()
    about = {"size": size, "frames": FRAMES, "fps": 10.0, "classes": ["a", "b"], "settings": {}}
    animator = Animator(Bundle(about, autoencoder, generator), bench.device)
    options, peak = SamplingOptions("distilled", guidance_scale=2.0), peak_of(bench.device, "float32")
    fresh = np.random.default_rng(0)
    for batch in batches:
        known = fans(fresh, batch + 16, size)
        spans = torch.from_numpy(view_spans(known)).to(bench.device)
        x0 = to_float(torch.from_numpy(known).to(bench.device))[:, None]
        label, seeds = torch.zeros(batch, dtype=torch.int64, device=bench.device), itertools.count()

        def on_device(batch: int = batch, x0=x0, spans=spans, label=label, seeds=seeds) -> None:
            number = next(seeds)
            part = slice(number % 16, number % 16 + batch)
            with torch.no_grad():
                z = animator.generator.sample(x0[part], label, torch.Generator().manual_seed(number), options)
                animator.autoencoder.decode(x0[part], z, view_of_spans(spans[part], size))

        def to_host(batch: int, new: bool, known=known, seeds=seeds) -> None:
            number = next(seeds)
            stills = known[number % 16 :][:batch]
            if new:  # one changed pixel makes a new still
                stills = stills.copy()
                stills[:, size // 2, size // 2 : size // 2 + 4] = fresh.integers(30, 255, (batch, 4), dtype=np.uint8)
            numbers = list(range(number * batch, (number + 1) * batch))
            animator.animate_batch(stills, np.zeros(batch, dtype=np.int64), numbers, options, batch)

        counted = bench.counted(lambda work=on_device: work)
        works: dict[str, Callable[[], None]] = {
            "on the device": on_device,
            "further samples of stills to arrays of the host": lambda work=to_host, batch=batch: work(batch, False),
            "first samples of stills to arrays of the host": lambda work=to_host, batch=batch: work(batch, True),
        }
        for name, work in works.items():
            about = {"batch": batch, "size": size, "width": width}
            bench.measure(f"synthesis, one step, {name}", lambda work=work: work, peak, batch, counted, **about)


def fans(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Simulated stills: noise in a fan, uint8 (count, size, size)."""
    rows, columns = np.mgrid[:size, :size] / size
    inside = np.abs(columns - 0.5) < 0.1 + 0.4 * rows
    return np.where(inside, rng.integers(30, 255, (count, size, size)), 0).astype(np.uint8)


def several(bench: Bench, size: int, width: int, batch: int) -> None:
    """Our averaging of gradients against DistributedDataParallel."""
    count_of = torch.cuda.device_count() if bench.device.type == "cuda" else 2

    def work() -> dict[str, Any]:
        if count_of < 2:
            return {"left_out": "one GPU"}
        return processes.run(
            bench.device.type, count_of, size, batch, width, 2 if bench.quick else 10, min(bench.left(), 60) - 1
        )

    bench.row("several processes", work, 60.0, batch=batch, size=size)


def asked(bench: Bench) -> Iterator[Part]:
    """Measurements required by the targets, except for the end-to-end run."""
    how: How = "graphs" if bench.device.type == "cuda" else "read at the log"
    size, width = (32, 8) if bench.quick else (128, 32)
    at = ((4,), (2,), (2, 4), (2,)) if bench.quick else ((32,), (512, 1024), (64, 256, 512), (8, 32, 64))
    yield "stage 2", lambda: stage2(bench, size, at[0], (how,), (False, True))
    yield "synthesis", lambda: synthesis(bench, size, 8 if bench.quick else 16, at[1])
    yield "stage 1, warp", lambda: stage1(bench, "warp", size, width, at[2])
    yield "stage 1, spade", lambda: stage1(bench, "spade", size, width, at[3])


def explaining(bench: Bench) -> Iterator[Part]:
    """Explanatory measurements, the most informative first."""
    size, width = (32, 8) if bench.quick else (128, 32)
    batch, cuda = 2 if bench.quick else 32, bench.device.type == "cuda"
    every: tuple[How, ...] = ("read each step", "read at the log")
    yield "several processes", lambda: several(bench, size, width, 2 if bench.quick else 8)
    yield "stage 2, steps", lambda: stage2(bench, size, (batch,), every, (False, True))
    yield "stage 2, peers", lambda: peers(bench, size, batch)
    yield "channels last", lambda: stage1(bench, "spade", size, width, (batch,), channels_last=True)
    yield "checkpointing", lambda: stage1(bench, "spade", size, width, (batch,), gradient_checkpointing=True)
    if not bench.quick:
        yield "synthesis, smaller", lambda: synthesis(bench, size, 16, (16, 128))
        yield "stage 1, warp, smaller", lambda: stage1(bench, "warp", size, width, (8, 32, 128))
        yield "stage 2, sizes", lambda: stage2(bench, size, (8, 128, 512), ("graphs",) if cuda else every, (False,))
        yield "compiled", lambda: stage1(bench, "warp", size, width, (256, 64), compiled=True)
        yield "compiled", lambda: stage1(bench, "spade", size, width, (32,), compiled=True)


def run_parts(bench: Bench, parts: Iterator[Part]) -> None:
    """Run parts one after another; a part that fails outside its rows is reported as a row."""
    for name, part in parts:
        try:
            part()
        except Exception as error:
            bench.rows.append({"name": name, "batch": None, "left_out": reason(error)} | bench.common)
            bench.save()
            print(f"{name}: left out, {reason(error)}", flush=True)


def main(
    device: Annotated[str, typer.Option(help="cuda or cpu")] = "cuda",
    quick: Annotated[bool, typer.Option("--quick", help="tiny sizes, to test the script")] = False,
    whole: Annotated[bool, typer.Option(help="also time config/lung.yaml from end to end")] = True,
    budget: Annotated[float, typer.Option(min=10, help="total time budget in seconds")] = 480,
    out: Annotated[Path, typer.Option(help="JSON file to write")] = HERE / "gpu.json",
    docs: Annotated[Path | None, typer.Option(help="page whose tables are updated")] = None,
) -> None:
    """Run the measurements, write and print them."""
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device here: run `make bench-gpu` on a machine that has one")
    end = time.monotonic() + 0.98 * budget
    reserved = RESERVED * budget
    bench = Bench(torch.device(device), quick, end - reserved - (min(FOR_WHOLE, 0.54 * budget) if whole else 0))
    print(f"{machine()}, commit {commit()}\n", flush=True)
    made: dict[str, Any] = bench.common | {"machine": machine(), "quick": quick, "rows": bench.rows}
    if quick:
        bench.row_s = budget  # --quick tests the script only
    bench.save = lambda: write_json(out, made | {"bars": judged(made)})
    run_parts(bench, asked(bench))
    if whole:
        try:
            made["end_to_end"] = end_to_end.run(device, quick, max(1.0, end - reserved - time.monotonic()))
        except Exception as error:
            made["end_to_end"] = {"whole_s": None, "finished": False, "rules": {}, "left_out": reason(error)}
        print(made["end_to_end"], flush=True)
        bench.save()
    bench.until = end
    run_parts(bench, explaining(bench))
    made["bars"] = judged(made)
    for bar in made["bars"]:
        print(
            f"{bar['name']}: wanted {bar['wanted']:g} {bar['unit']}, measured {bar['measured']}: {said(bar)}",
            flush=True,
        )
    write_json(out, made)
    if docs is not None:
        fill(docs, made)


if __name__ == "__main__":
    typer.run(main)
