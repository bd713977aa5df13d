"""Commands for interactive use: animate a still, open the demo page, write the generated settings files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lddm.errors import LddmError
from lddm.job import set_up_logging

if TYPE_CHECKING:
    import numpy as np

    from lddm.task import Task

app = typer.Typer()

SHOWN = 8  # samples shown in a strip


@app.command()
def animate(
    image: Annotated[Path, typer.Argument(help="PNG, JPEG or DICOM")],
    model: Annotated[
        str,
        typer.Option(
            help="a name from `lddm models list`, hf:OWNER/NAME, or a model package, e.g. "
            "results/phantom/fold-0/generators/lddm/bundle [default: the shipped model]"
        ),
    ] = "",
    out: Annotated[
        Path, typer.Option(help="video to write: .mp4, .avi, .gif, .webp, .npz, .dcm, or a folder of PNG")
    ] = Path("animated.mp4"),
    samples: Annotated[int, typer.Option(min=1, help="videos, numbered if more than one")] = 1,
    seed: Annotated[int, typer.Option(help="random seed; with the same image it gives the same videos")] = 0,
    num_inference_steps: Annotated[
        int, typer.Option(min=0, help="denoising steps of unipc or ddim; 0 = default of the model")
    ] = 0,
    sampler: Annotated[
        str,
        typer.Option(
            help="distilled, unipc or ddim; empty = default of the model, or unipc if --num-inference-steps is given"
        ),
    ] = "",
    guidance_scale: Annotated[
        float | None, typer.Option(min=0, help="guidance scale for --label; 1 = off [default: that of the model]")
    ] = None,
    length: Annotated[int, typer.Option(min=0, help="frames after the still; 0 = as in training")] = 0,
    size: Annotated[str, typer.Option(help="native = size of the still; model = size of the model")] = "native",
    label: Annotated[str, typer.Option(help="class of the still, by name; empty = unknown")] = "",
    target: Annotated[
        float | None,
        typer.Option(help="target value in its unit, for a model conditioned on numbers [default: unknown]"),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="add a strip and a loop with the baselines of the same fold")
    ] = False,
) -> None:
    """Animate one still image with a trained model; writes videos and a film strip."""
    set_up_logging()
    if sampler not in ("", "distilled", "unipc", "ddim", "ddpm"):
        raise LddmError(f"unknown sampler '{sampler}'", "expected distilled, unipc, ddim or ddpm")
    if sampler == "distilled" and num_inference_steps > 1:
        raise LddmError(
            f"sampler distilled takes one step, not {num_inference_steps}",
            "omit --num-inference-steps, or use sampler unipc",
        )
    from lddm.io.dicom.read import is_dicom, read_dicom
    from lddm.io.image import read_image
    from lddm.io.output_path import check_not_overwritten, check_video_path
    from lddm.io.video import write_video
    from lddm.synthesis.animate import Animator
    from lddm.synthesis.model_store import DEFAULT, baselines_of, find_model, trained_on
    from lddm.synthesis.request import Size

    if not image.is_file():
        reason = "is a folder" if image.is_dir() else "does not exist"
        raise LddmError(f"{image} {reason}", "pass one PNG, JPEG or DICOM file")
    paths = [out] if samples == 1 else [out.with_stem(f"{out.stem}-{number}") for number in range(samples)]
    strip = out.with_name(f"{out.stem}-{'compare' if compare else 'strip'}.png")
    beside = out.with_name(f"{out.stem}-compare.webp")
    for path in paths:
        check_video_path(path)
    check_not_overwritten([image], [*paths, strip, *([beside] if compare else [])])
    recording = (read_dicom if is_dicom(image) else read_image)(image, max_frames=1)
    still = recording.frames[0]
    folder = find_model(model or DEFAULT)
    animator = Animator.load(folder)
    if not model:
        typer.echo(f"shipped model {DEFAULT}, trained on {trained_on(animator.about)}; see `lddm models show`")
    compared = animator.compare(still)
    if compared is not None and compared.is_out_of_distribution:
        typer.echo(f"warning: {compared.said(trained_on(animator.about))}", err=True)
    asked_for = asked_label(animator.task, label, target)

    def draw(one: Animator, count: int) -> np.ndarray:
        """Sample videos of the still with one generator: uint8 (count, length + 1, H, W)."""
        options = one.sampling(sampler or None, num_inference_steps or None, guidance_scale)
        name, began = one.about["generator"], time.monotonic()
        shown: Size = size if one is animator or one.has_native_size else "model"  # type: ignore[assignment]
        what = f"{count} video{'s' * (count > 1)} with {name}"
        with working(f"sampling {what}"):
            made = one.animate(still, count, seed, asked_for, options, length=length or None, size=shown)
        note = f", {one.size} x {one.size} pixels: native size is not supported" if shown != size else ""
        asked = f" ({one.task.show(asked_for)})" if label or target is not None else ""
        typer.echo(f"sampled {what}{asked} in {time.monotonic() - began:.1f} s{note}")
        return made

    videos = draw(animator, samples)
    down, across = animator.pixel_scale(still.shape, videos.shape[-2:])
    known = recording.spacing
    spacing = None if known is None else (known[0] * down, known[1] * across)
    for path, video in zip(paths, videos, strict=True):
        comment = "synthetic video made by LDDM; not for diagnosis"
        write_video(path, video, animator.fps, comment, spacing, aspect=down / across)
        shape = f"{video.shape[2]} x {video.shape[1]} pixels"
        typer.echo(f"{path}: {len(video)} frames of {shape} at {animator.fps:g} Hz, synthetic")

    from lddm.report.film import film_strip, loop
    from lddm.report.names import label as shown

    ours = animator.about["generator"]
    versions = {ours: videos[0]}
    if samples > 1:
        versions = {f"{shown(ours)}, {number}": video for number, video in enumerate(videos[:SHOWN])}
    if compare:
        versions |= {other.about["generator"]: draw(other, 1)[0] for other in map(Animator.load, baselines_of(folder))}
        typer.echo(loop(image.name, versions, animator.fps, beside))
    typer.echo(film_strip(image.name, versions, animator.fps, strip))


@contextmanager
def working(text: str) -> Iterator[None]:
    """Show a spinner with the elapsed time while a block runs; silent if the output is not a terminal."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        shown.add_task(text, total=None)
        yield


def asked_label(task: Task, label: str, target: float | None) -> float:
    """Parse --label or --target into a label; None = unknown.

    Raises:
        LddmError: --label with a regression model, or --target with a classification model.
    """
    if label and task.is_regression:
        raise LddmError(
            f"--label {label}: the model is conditioned on numbers, not classes", f"pass --target ({task.said()})"
        )
    if target is not None and not task.is_regression:
        raise LddmError(
            f"--target {target:g}: the model is conditioned on classes, not numbers", f"pass --label ({task.said()})"
        )
    return task.check(label or target)


@app.command()
def demo(
    model: Annotated[
        list[str] | None, typer.Option(help="additional model for the page, as for `lddm animate`; may be repeated")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="port on this machine; 0 = any free port")] = 8765,
    show: Annotated[bool, typer.Option("--open", help="open the page in the browser")] = False,
) -> None:
    """Start a local page that animates stills: drop a PNG, JPEG or DICOM file on it. Nothing is stored."""
    set_up_logging()
    from lddm.demo.server import serve

    serve(model or [], port, show)


@app.command()
def settings(
    write: Annotated[bool, typer.Option("--write", help="write config/config.yaml and the JSON schema")] = False,
    root: Annotated[Path, typer.Option(help="root of the checkout")] = Path("."),
) -> None:
    """Show the default settings, or write the files generated from the settings classes."""
    from lddm.settings import build

    if not write:
        typer.echo(build.default_yaml())
        return
    for path in build.write(root):
        typer.echo(f"wrote {path}")
