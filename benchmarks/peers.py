"""Training speed of stage 2 on the CPU relative to a bare forward pass, the loop of diffusers and the roofline."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.roofline import count, peak_of
from benchmarks.timing import in_turns, row
from benchmarks.training_steps import MadeUpLatents, UNet, diffusers_steps, latent_diffusion, loop_steps, stage2_task


class SameDenoiser(torch.nn.Module):
    """Our denoiser with the call signature of the diffusers training loop."""

    def __init__(self, denoiser: torch.nn.Module):
        super().__init__()
        self.denoiser = denoiser

    def forward(self, noisy, timestep, x0, label):
        return self.denoiser(noisy, timestep, x0, label)


def stage2_peers(size: int = 64, batch: int = 32, repeats: int = 7) -> list[dict[str, Any]]:
    """Steps per second of ours relative to each peer, measured alternately."""
    device = torch.device("cpu")
    works, notes = stage2_works(size, batch, device, "read each step")
    names = list(works)
    seconds = dict(zip(names, in_turns([works[name] for name in names], repeats, warm_up=2), strict=True))
    counted = count(works["ours"])
    bound = counted.bound(peak_of(device))
    ours = 1 / seconds["ours"]
    rows = [
        row(
            f"stage2_step_vs_{name}",
            ours,
            1 / seconds[name],
            "steps/s",
            f"{size} px, batch {batch}; {notes[name]}",
            batch,
        )
        for name in names
        if name != "ours"
    ]
    setting = (
        f"{size} px, batch {batch}; {(counted.flop or 0) / 1e9:.2f} GFLOP, {(counted.bytes or 0) / 1e6:.0f} MB unfused"
    )
    if bound:
        rows.append(row("stage2_step_vs_roofline", ours, 1 / bound, "steps/s", setting, batch))
    return rows


def stage2_works(size: int, batch: int, device: torch.device, how: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Workloads by name: a function that runs a step (or a forward pass), and its description."""
    task, training = stage2_task(size, batch, device)
    model, spec = latent_diffusion(size, device), latent_diffusion(size, torch.device("cpu")).spec
    data = MadeUpLatents(spec, size, device)
    every = data.x0[:]
    z, x0, label = (part[:batch] for part in (data.transform(data.mean), every, data.label))
    timestep = torch.randint(1000, (batch,), device=device)

    def forward() -> None:
        with torch.no_grad():
            model.denoiser(z, timestep, x0, label)

    same = SameDenoiser(latent_diffusion(size, device).denoiser)
    maps = data.mean[:, : spec.map_channels * spec.map_size**2].reshape(
        -1, spec.map_channels, spec.map_size, spec.map_size
    )
    works = {
        "ours": loop_steps(task, training, device, how),
        "forward_pass": forward,
        "diffusers_loop": diffusers_steps(same, (data.transform(data.mean), every, data.label), batch, device),
        "diffusers_unet": diffusers_steps(UNet(spec.map_channels, spec.map_size, 32), (maps,), batch, device),
    }
    notes = {
        "ours": "our loop",
        "forward_pass": "the denoiser's forward pass alone",
        "diffusers_loop": "the same denoiser in the training loop of diffusers",
        "diffusers_unet": f"diffusers' UNet2DModel on maps {spec.map_channels} x {spec.map_size} x {spec.map_size} in its loop",
    }
    return works, notes
