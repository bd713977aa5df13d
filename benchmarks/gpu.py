"""The paper's size on a GPU: training step and synthesis of stage 1 in bf16, share of peak FLOP/s, peak memory.

    python -m benchmarks.gpu [--size 128] [--batch 8] [--width 32]

Prints a Markdown table and writes benchmarks/gpu.json. Without a GPU it says so and stops; `--device cpu` with small
sizes shows that it works.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch.utils.flop_counter import FlopCounterMode

from lddm.autoencoder.discriminators import SpatialDiscriminator, TemporalDiscriminator
from lddm.autoencoder.losses import feature_matching, hinge_discriminator, hinge_generator, r1_penalty
from lddm.autoencoder.model import Autoencoder
from lddm.files import write_json
from lddm.generators.diffusion.model import LatentDiffusion
from lddm.generators.sampling import SamplingOptions
from lddm.motion.low_rank import MotionCode
from lddm.settings.models import AutoencoderSettings, DiffusionSettings

# Dense bf16 FLOP/s of data sheets, by a part of the device's name.
PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40": 181e12, "RTX 4090": 165e12, "V100": 112e12}
FRAMES = 16
HERE = Path(__file__).parent


def measure(work: Callable[[], Any], device: torch.device, repeats: int) -> dict[str, float | None]:
    """Seconds of one call (mean after two of warm-up), its FLOPs, and the peak of memory; None = not known."""
    flops = None
    try:
        with FlopCounterMode(display=False) as counter:
            work()
        flops = counter.get_total_flops()
    except RuntimeError:  # torch cannot count through autograd.grad, which the R1 penalty needs
        pass
    work()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    seconds = (time.perf_counter() - began) / repeats
    peak = next((v for k, v in PEAK.items() if device.type == "cuda" and k in torch.cuda.get_device_name()), None)
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None
    share = flops / seconds / peak if peak and flops else None
    return {
        "seconds": seconds,
        "tflop": flops / 1e12 if flops else None,
        "share_of_peak": share,
        "peak_memory_gib": memory,
    }


def parts(
    decoder: str, size: int, batch: int, width: int, device: torch.device
) -> dict[str, tuple[Callable[[], Any], int]]:
    """Name -> (work, clips of one call) for a training step with all losses, one without, and synthesis."""
    latent = {"warp": "low_rank", "spade": "vector"}[decoder]
    model = Autoencoder(AutoencoderSettings(decoder=decoder, latent=latent, width=width), size, FRAMES).to(device)
    judges = [SpatialDiscriminator(32).to(device), TemporalDiscriminator(32).to(device)]
    generator = LatentDiffusion(DiffusionSettings(width=256, depth=6), model.spec, size, 2).to(device)
    video = torch.rand(batch, 1, FRAMES + 1, size, size, device=device) * 2 - 1
    code = MotionCode(torch.randn(batch, 2, 2, 8, 8), torch.randn(batch, 2, FRAMES)).to(device)
    label = torch.zeros(batch, dtype=torch.int64, device=device)
    rng = torch.Generator()

    def plain() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            decoded, posterior = model(video, code, rng)
            loss = (decoded.frames - video[:, :, 1:]).abs().mean() + 1e-5 * posterior.kl()
        loss.backward()
        model.zero_grad(set_to_none=True)

    def adversarial() -> None:
        real = video[:, :, 1:]
        with torch.autocast(device.type, torch.bfloat16):
            fake = model(video, code, rng)[0].frames
            logits, features = judges[1](fake)
            spatial = judges[0](fake[:, :, :4].transpose(1, 2).flatten(0, 1))
            matched = feature_matching(judges[1](real)[1], features)
            loss = (fake - real).abs().mean() + hinge_generator(logits) + hinge_generator(spatial) + 10 * matched
        loss.backward()
        seen = real.clone().requires_grad_()
        with torch.autocast(device.type, torch.bfloat16):
            logits, other = judges[1](seen)[0], judges[1](fake.detach())[0]
            loss = hinge_discriminator(logits, other) + 10 * r1_penalty(logits, seen)
        loss.backward()
        for network in (model, *judges):
            network.zero_grad(set_to_none=True)

    @torch.no_grad()
    def synthesis() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            z = generator.sample(video[:, :, 0], label, rng, SamplingOptions("ddim", 10, 2.0))
            model.decode(video[:, :, 0], z)

    return {
        f"{decoder}: step, L1 and KL": (plain, batch),
        f"{decoder}: step, all losses": (adversarial, batch),
        f"{decoder}: synthesis, 10 steps, guidance": (synthesis, batch),
    }


def main(
    size: Annotated[int, typer.Option(help="height and width in pixels")] = 128,
    batch: Annotated[int, typer.Option(min=1, help="clips at a time")] = 8,
    width: Annotated[int, typer.Option(min=4, help="channels of the first level")] = 32,
    repeats: Annotated[int, typer.Option(min=1, help="calls that are timed")] = 20,
    device: Annotated[str, typer.Option(help="cuda or cpu")] = "cuda",
    out: Annotated[Path, typer.Option(help="where the numbers go")] = HERE / "gpu.json",
) -> None:
    """Measure both decoders."""
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device here: run `make bench-gpu` on a machine that has one")
    where = torch.device(device)
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    rows = []
    print(f"{name}, {size} x {size} x {FRAMES}, batch {batch}, width {width}, bf16\n")
    print("| | s | clips/s | TFLOP | share of peak | peak memory (GiB) |\n|---|---|---|---|---|---|")
    for decoder in ("warp", "spade"):
        torch.manual_seed(0)
        for part, (work, clips) in parts(decoder, size, batch, width, where).items():
            row = measure(work, where, repeats)
            rows.append({"name": part, "device": name, "size": size, "batch": batch, "width": width} | row)
            cells = [row["tflop"], row["share_of_peak"], row["peak_memory_gib"]]
            shown = " | ".join("–" if cell is None else f"{cell:.3g}" for cell in cells)
            print(
                f"| {part} | {row['seconds']:.4g} | {clips / row['seconds']:.3g} | {shown} |",
                flush=True,
            )
    write_json(out, rows)


if __name__ == "__main__":
    typer.run(main)
