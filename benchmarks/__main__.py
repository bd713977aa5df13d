"""Run all benchmarks and write benchmarks/latest.json.

Times depend on the machine; ratios depend on it much less. Each benchmark alternates between ours and the peer and takes
medians, so that other load affects both equally.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.generator_costs import generator_costs
from benchmarks.metric_speed import extraction, scoring
from benchmarks.native_size import native_size
from benchmarks.overhead import planning, preprocessing_memory, start_of_jobs
from benchmarks.peers import stage2_peers
from benchmarks.timing import alternate, row
from lddm.files import write_json
from lddm.nn.condition import LabelSpec

SIZE, FRAMES = 64, 16


def preprocessing() -> dict[str, Any]:
    """Frames per second of the rule preprocess in one process, relative to decoding the same files with PyAV alone."""
    import av

    from lddm.data.index import build_index
    from lddm.data.preprocess import preprocess
    from lddm.io.video import write_video
    from lddm.settings.data import FolderSource, IndexSettings, PreprocessSettings

    files, frames, height, width = 8, 120, 480, 640
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rng = np.random.default_rng(0)
        for number in range(files):
            texture = np.kron(rng.integers(0, 255, (height // 4 + 40, width // 4)), np.ones((4, 4))).astype(np.uint8)
            place = root / "own" / ("benign", "malignant")[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            shift = np.round(20 + 15 * np.sin(np.arange(frames) / 9 + number)).astype(int)
            write_video(place / f"{number}.mp4", np.stack([texture[s : s + height] for s in shift]), 30)
        sources = IndexSettings(sources=[FolderSource(folder="own")])
        index = build_index(sources, root, 0)
        paths = sorted(root.glob("own/*/*.mp4"))

        def decode() -> None:
            for path in paths:
                with av.open(str(path)) as container:
                    for frame in container.decode(video=0):
                        frame.to_ndarray(format="gray")

        def ours() -> None:
            preprocess(index, sources, PreprocessSettings(), root, root / "frames", 0, workers=1)

        seconds = alternate(ours, decode)
    count = files * frames
    setting = f"{files} H.264 files of {frames} frames, {width} x {height}, to 64 px at 10 Hz with hashes and checks"
    return row("preprocess_vs_decode", count / seconds[0], count / seconds[1], "frames/s", setting)


def _default_parts(**changes) -> tuple[Any, Any, Any, int]:
    """Untrained default networks (stage 1 and diffusion), default sampling options and the batch size."""
    from lddm.autoencoder.model import Autoencoder
    from lddm.generators.diffusion.model import LatentDiffusion
    from lddm.generators.sampling import SamplingOptions
    from lddm.settings.models import AutoencoderSettings, DiffusionSettings, SynthesisSettings

    defaults = SynthesisSettings()
    torch.manual_seed(0)
    autoencoder = Autoencoder(AutoencoderSettings(**changes), SIZE, FRAMES).eval()
    generator = LatentDiffusion(DiffusionSettings(), autoencoder.spec, SIZE, LabelSpec(2)).eval()
    return (
        autoencoder,
        generator,
        SamplingOptions(
            defaults.sampler, defaults.num_inference_steps, defaults.guidance_scale, defaults.guidance_target
        ),
        defaults.batch_size,
    )


def synthesis(name: str = "synthesis_vs_decoder_pass", **changes) -> dict[str, Any]:
    """Seconds to animate one still, relative to one pass of the decoder; default networks, untrained."""
    autoencoder, generator, options, batch = _default_parts(**changes)
    x0, label = torch.rand(batch, 1, SIZE, SIZE) * 2 - 1, torch.zeros(batch, dtype=torch.int64)
    z = torch.randn(batch, autoencoder.spec.size)

    def decode() -> None:
        with torch.no_grad():
            autoencoder.decode(x0, z)

    def ours() -> None:
        with torch.no_grad():
            autoencoder.decode(x0, generator.sample(x0, label, torch.Generator().manual_seed(0), options))

    seconds = alternate(ours, decode)
    what = (
        "one distilled step"
        if options.sampler == "distilled"
        else f"{options.num_inference_steps} {options.sampler} steps"
    )
    what += f", guidance {options.guidance_scale:g}"
    return row(
        name,
        seconds[0] / batch,
        seconds[1] / batch,
        "s/clip",
        f"{SIZE} px, {FRAMES} frames, batch {batch}, {what}",
        batch,
    )


def synthesis_paper() -> dict[str, Any]:
    """As `synthesis`, for the decoder and vector latent of the paper: the share of diffusion in the time of a clip."""
    return synthesis("synthesis_vs_decoder_pass_paper", decoder="spade", latent="vector")


def pixels() -> dict[str, Any]:
    """Seconds to animate one still, relative to pixel-space video diffusion with as many steps; both without guidance.

    The peer runs two steps and its time is scaled, since one clip takes minutes.
    """
    from lddm.generators.pixel import PixelDiffusion
    from lddm.generators.sampling import SamplingOptions
    from lddm.settings.models import PixelSettings

    autoencoder, generator, options, batch = _default_parts()
    peer = PixelDiffusion(PixelSettings(), SIZE, FRAMES, LabelSpec(2)).eval()
    x0, label = torch.rand(batch, 1, SIZE, SIZE) * 2 - 1, torch.zeros(batch, dtype=torch.int64)
    plain, short = SamplingOptions("unipc", options.num_inference_steps), SamplingOptions("unipc", 2)

    def ours() -> None:
        rng = torch.Generator().manual_seed(0)
        generator.video(x0, label, rng, plain, lambda x, z: autoencoder.decode(x, z).frames)

    def theirs() -> None:
        peer.video(x0[:1], label[:1], torch.Generator().manual_seed(0), short, None)

    seconds = alternate(ours, theirs)
    setting = (
        f"{SIZE} px, {FRAMES} frames, {options.num_inference_steps} steps, ours in batches of {batch}, no guidance"
    )
    return row(
        "synthesis_vs_pixel_diffusion",
        seconds[0] / batch,
        seconds[1] * options.num_inference_steps / 2,
        "s/clip",
        setting,
        batch,
    )


def stage1_step() -> dict[str, Any]:
    """Seconds per training step of stage 1 with the default decoder, relative to the decoder of the paper at equal size."""
    from lddm.motion.low_rank import MotionCode

    batch = 8
    video = torch.rand(batch, 1, FRAMES + 1, SIZE, SIZE) * 2 - 1
    code = MotionCode(torch.randn(batch, 2, 2, 8, 8), torch.randn(batch, 2, FRAMES))
    steps = []
    for changes in ({}, {"decoder": "spade", "latent": "vector"}):
        autoencoder, *_ = _default_parts(**changes)
        autoencoder.train()

        def step(model=autoencoder) -> None:
            decoded, posterior = model(video, code, torch.Generator().manual_seed(0))
            ((decoded.frames - video[:, :, 1:]).abs().mean() + 1e-5 * posterior.kl()).backward()
            model.zero_grad()

        steps.append(step)
    seconds = alternate(*steps)
    return row(
        "stage1_step_vs_paper",
        *seconds,
        "s/step",
        f"{SIZE} px, {FRAMES} frames, batch {batch}, width 16, L1 and KL",
        batch,
    )


def main() -> None:
    """Run all benchmarks, print each ratio and write them to a file."""
    rows: list[dict[str, Any]] = []
    speed = (preprocessing, synthesis, synthesis_paper, pixels, native_size, stage1_step, extraction, scoring)
    for benchmark in (*speed, stage2_peers, generator_costs, planning, start_of_jobs, preprocessing_memory):
        made = benchmark()
        for new in made if isinstance(made, list) else [made]:
            print(f"{new['name']}: {new['ratio']:.3g} ({new['ours']:.4g} against {new['peer']:.4g} {new['unit']})")
            rows.append(new)
        sys.stdout.flush()
    write_json(Path(__file__).with_name("latest.json"), rows)


if __name__ == "__main__":
    main()
