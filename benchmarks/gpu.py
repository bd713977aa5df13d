"""All that a GPU has to show, in one run of at most eight minutes: `make bench-gpu`, or

    python -m benchmarks.gpu [--quick] [--device cpu] [--budget 480] [--docs docs/results.md]

Stage 2 before and after (read each step, read at the log, graphs) beside diffusers' own loop and the bare forward pass; stage 1
over batch sizes; the painting decoder with and without checkpointing and channels last; synthesis in one step over batch sizes;
DistributedDataParallel against averaging where there are several GPUs; `config/lung.yaml` at 128 px from end to end.
Writes benchmarks/gpu.json (device, commit and batch in each row); `--docs` fills the tables of the performance page with it.
`--quick` with `--device cpu` runs each part in tiny sizes: it shows that the script works, not what a GPU does.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks import end_to_end, processes
from benchmarks.gpu_tables import fill
from benchmarks.peers import stage2_works
from benchmarks.roofline import Counted, Peak, count, peak_of
from benchmarks.timing import commit, device_name, machine, processor
from benchmarks.training_steps import FRAMES, How, latent_diffusion, loop_steps, stage1_steps, stage2_task
from lddm.autoencoder.model import Autoencoder
from lddm.files import write_json
from lddm.generators.sampling import SamplingOptions
from lddm.settings.models import AutoencoderSettings
from lddm.synthesis.animate import Animator
from lddm.synthesis.bundle import Bundle

HERE = Path(__file__).parent
FOR_PARTS = 0.45  # share of the budget for all but the run from end to end, which has the rest


@dataclass
class Bench:
    """Measures works and keeps the rows.

    Attributes:
        device: where.
        quick: tiny sizes, two repeats.
        until: `time.monotonic()` after which no further work is begun.
        rows: what was measured, or why not.
    """

    device: torch.device
    quick: bool
    until: float
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def common(self) -> dict[str, Any]:
        """What each row says of where it is from."""
        return {"device": device_name() if self.device.type == "cuda" else processor(), "commit": commit()}

    def measure(
        self,
        name: str,
        work: Callable[[], Any],
        peak: Peak,
        per_call: int,
        counted: Counted | None = None,
        **about: Any,
    ) -> None:
        """Time one work: seconds of a call, its rate, share of peak, roofline and memory.

        Args:
            peak: of the device, in the precision of the work.
            per_call: clips, latents or steps of a call.
            counted: its operations and traffic, counted beforehand.
        """
        row: dict[str, Any] = {"name": name} | about | self.common
        try:
            if time.monotonic() > self.until:
                raise TimeoutError("no time was left")
            row |= self._timed(work, per_call)
            row |= _against(counted or Counted(None, None), peak, row["seconds"])
        except (torch.OutOfMemoryError, TimeoutError) as error:
            row["left_out"] = "out of memory" if isinstance(error, torch.OutOfMemoryError) else str(error)
        self.rows.append(row)
        shown = (
            row.get("left_out")
            or f"{row['seconds']:.4g} s, {row['rate']:.4g} /s, {_percent(row['share_of_peak'])} of peak"
        )
        print(f"{name}, batch {about.get('batch')}: {shown}", flush=True)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _timed(self, work: Callable[[], Any], per_call: int) -> dict[str, Any]:
        for _ in range(2 if self.quick else 5):  # a graph is recorded, a compiler compiles
            work()
        self._wait()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        began, calls, least = time.perf_counter(), 0, 2 if self.quick else 20
        while calls < least or (not self.quick and time.perf_counter() - began < 1 and calls < 1000):
            work()
            calls += 1
            if calls % 10 == 0:
                self._wait()
        self._wait()
        seconds = (time.perf_counter() - began) / calls
        memory = torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else None
        return {"seconds": seconds, "rate": per_call / seconds, "peak_memory_gib": memory}

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def counted(self, make: Callable[[], Callable[[], Any]]) -> Counted | None:
        """Count operations and traffic of a work without graph or compiler, if there is time and memory for it."""
        if time.monotonic() > self.until:
            return None
        try:
            return count(make())
        except torch.OutOfMemoryError:
            return None


def _against(counted: Counted, peak: Peak, seconds: float) -> dict[str, Any]:
    bound = counted.bound(peak)
    return {
        "tflop": counted.flop / 1e12 if counted.flop else None,
        "gbyte": counted.bytes / 1e9 if counted.bytes else None,
        "share_of_peak": counted.flop / seconds / peak.flops if counted.flop and peak.flops else None,
        "roofline_s": bound,
        "share_of_roofline": bound / seconds if bound else None,
    }


def _percent(share: float | None) -> str:
    return "unknown share" if share is None else f"{100 * share:.2g} %"


def stage2(bench: Bench, size: int, batches: tuple[int, ...]) -> None:
    """The denoiser and its student in each way of running a step; float32, as their settings say."""
    peak = peak_of(bench.device, "float32")
    ways: tuple[How, ...] = ("read each step", "read at the log", "graphs")
    for batch in batches:
        for student in (False, True):

            def make(how: How, batch: int = batch, student: bool = student) -> Callable[[], None]:
                task, training = stage2_task(size, batch, bench.device, student)
                return loop_steps(task, training, bench.device, how)

            counted = bench.counted(lambda make=make: make("read each step"))
            for how in ways if bench.device.type == "cuda" else ways[:2]:
                name = f"stage 2, {'student' if student else 'denoiser'}: {how}"
                bench.measure(name, make(how), peak, 1, counted, batch=batch, size=size)
        works, notes = stage2_works(size, batch, bench.device, "read each step")
        for peer in ("forward_pass", "diffusers_loop", "diffusers_unet"):
            counted = bench.counted(lambda peer=peer, works=works: works[peer])
            bench.measure(f"stage 2, peer: {notes[peer]}", works[peer], peak, 1, counted, batch=batch, size=size)


def stage1(
    bench: Bench, decoder: str, size: int, width: int, batches: tuple[int, ...], compiled: tuple[int, ...] = ()
) -> None:
    """A decoder over batch sizes; the painting one also with channels last and with checkpointing; compiled at some sizes."""
    peak, name = peak_of(bench.device), f"stage 1, {decoder}"
    variants: dict[str, dict[str, bool]] = {"": {}}
    if decoder == "spade":
        variants |= {", channels last": {"channels_last": True}, ", checkpointing": {"gradient_checkpointing": True}}
    for batch in sorted({*batches, *compiled}):
        shape: tuple[Any, ...] = (decoder, size, batch, width, bench.device)
        about = {"batch": batch, "size": size, "width": width}
        # Operations that checkpointing repeats do not count as work.
        counted = bench.counted(lambda shape=shape: stage1_steps(*shape))
        for variant, options in variants.items() if batch in batches else ():
            bench.measure(name + variant, stage1_steps(*shape, **options), peak, batch, counted, **about)
        if batch in compiled:
            bench.measure(f"{name}, compiled", stage1_steps(*shape, compiled=True), peak, batch, counted, **about)


def synthesis(bench: Bench, size: int, width: int, batches: tuple[int, ...]) -> None:
    """Videos in one step: on the device alone, and until they are arrays of the host."""
    torch.manual_seed(0)
    autoencoder = Autoencoder(AutoencoderSettings(width=width), size, FRAMES).eval()
    generator = latent_diffusion(size, torch.device("cpu")).eval()
    about = {"size": size, "frames": FRAMES, "fps": 10.0, "classes": ["a", "b"], "settings": {}}
    animator = Animator(Bundle(about, autoencoder, generator), bench.device)
    options, peak = SamplingOptions("distilled", guidance_scale=2.0), peak_of(bench.device, "float32")
    for batch in batches:
        stills = np.random.default_rng(0).integers(30, 255, (batch, size, size), dtype=np.uint8)
        x0 = (torch.from_numpy(stills).to(bench.device).float() / 127.5 - 1)[:, None]
        label = torch.zeros(batch, dtype=torch.int64, device=bench.device)

        def on_device(x0: torch.Tensor = x0, label: torch.Tensor = label) -> None:
            with torch.no_grad():
                z = animator.generator.sample(x0, label, torch.Generator().manual_seed(0), options)
                animator.autoencoder.decode(x0, z)

        def to_host(stills: np.ndarray = stills, batch: int = batch) -> None:
            animator.animate_batch(stills, np.zeros(batch, dtype=np.int64), list(range(batch)), options, batch)

        counted = bench.counted(lambda work=on_device: work)
        for name, work in (("on the device", on_device), ("to arrays of the host", to_host)):
            bench.measure(
                f"synthesis, one step, {name}", work, peak, batch, counted, batch=batch, size=size, width=width
            )


def several(bench: Bench, size: int, width: int, batch: int) -> None:
    """Averaging of gradients against DistributedDataParallel."""
    count_of = torch.cuda.device_count() if bench.device.type == "cuda" else 2
    row: dict[str, Any] = {"name": "several processes", "batch": batch, "size": size} | bench.common
    left = max(5.0, bench.until - time.monotonic())
    if count_of < 2:
        row["left_out"] = "one GPU"
    else:
        row |= processes.run(bench.device.type, count_of, size, batch, width, 2 if bench.quick else 10, left)
    bench.rows.append(row)
    print(row, flush=True)


def plan(bench: Bench) -> Iterator[Callable[[], None]]:
    """The parts, the most telling first."""
    if bench.quick:
        yield lambda: stage2(bench, 32, (4,))
        yield lambda: stage1(bench, "warp", 32, 8, (2, 4))
        yield lambda: stage1(bench, "spade", 32, 8, (2,))
        yield lambda: synthesis(bench, 32, 8, (2,))
        yield lambda: several(bench, 32, 4, 2)
        return
    yield lambda: stage2(bench, 128, (32,))
    yield lambda: synthesis(bench, 128, 16, (16, 64, 256, 512, 1024))
    yield lambda: stage1(bench, "warp", 128, 32, (8, 16, 32, 64, 128, 256, 512), (64, 256))
    yield lambda: stage1(bench, "spade", 128, 32, (8, 32, 64, 128), (32,))
    yield lambda: stage2(bench, 128, (8, 128, 512))
    yield lambda: several(bench, 128, 32, 8)


def main(
    device: Annotated[str, typer.Option(help="cuda or cpu")] = "cuda",
    quick: Annotated[bool, typer.Option("--quick", help="tiny sizes: shows that the script works")] = False,
    whole: Annotated[bool, typer.Option(help="time config/lung.yaml from end to end, too")] = True,
    budget: Annotated[float, typer.Option(min=10, help="seconds for everything")] = 480,
    out: Annotated[Path, typer.Option(help="where the numbers go")] = HERE / "gpu.json",
    docs: Annotated[Path | None, typer.Option(help="a page whose tables are filled with them")] = None,
) -> None:
    """Measure, write, and print what was measured."""
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device here: run `make bench-gpu` on a machine that has one")
    began = time.monotonic()
    bench = Bench(torch.device(device), quick, began + (FOR_PARTS if whole else 0.95) * budget)
    print(f"{machine()}, commit {commit()}\n", flush=True)
    made: dict[str, Any] = bench.common | {"machine": machine(), "quick": quick, "rows": bench.rows}
    for part in plan(bench):
        part()
        write_json(out, made)  # what there is, if the time is cut off
    if whole:
        made["end_to_end"] = end_to_end.run(device, quick, max(5.0, budget - (time.monotonic() - began) - 5))
        print(made["end_to_end"], flush=True)
        write_json(out, made)
    if docs is not None:
        fill(docs, made)


if __name__ == "__main__":
    typer.run(main)
