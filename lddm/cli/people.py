"""Commands for interactive use: animate a still, open the page that animates stills, write the generated settings files."""

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

SHOWN = 8  # samples of a strip


@app.command()
def animate(
    image: Annotated[Path, typer.Argument(help="PNG, JPEG or DICOM")],
    model: Annotated[
        str,
        typer.Option(
            help="a name that `lddm models list` shows, hf:OWNER/NAME, or a bundle, e.g. "
            "results/phantom/fold-0/generators/lddm/bundle [default: the model of the package]"
        ),
    ] = "",
    out: Annotated[
        Path, typer.Option(help="video to write: .mp4, .avi, .gif, .webp, .npz, .dcm, or a folder of PNG")
    ] = Path("animated.mp4"),
    samples: Annotated[int, typer.Option(min=1, help="videos, numbered if more than one")] = 1,
    seed: Annotated[int, typer.Option(help="the same seed and image give the same videos")] = 0,
    num_inference_steps: Annotated[
        int, typer.Option(min=0, help="denoising steps of unipc or ddim; 0 = as the model says")
    ] = 0,
    sampler: Annotated[
        str,
        typer.Option(
            help="distilled, unipc or ddim; empty = as the model says, unipc if --num-inference-steps is given"
        ),
    ] = "",
    guidance_scale: Annotated[
        float | None, typer.Option(min=0, help="how strongly --label is followed; 1 = off [default: as the model says]")
    ] = None,
    length: Annotated[int, typer.Option(min=0, help="frames after the still; 0 = as in training")] = 0,
    size: Annotated[
        str, typer.Option(help="native = the still's own size; model = the square of the model")
    ] = "native",
    label: Annotated[str, typer.Option(help="class of the still, by name; empty = unknown")] = "",
    target: Annotated[
        float | None, typer.Option(help="target of a model that was trained on numbers, in its unit [default: unknown]")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="strip and loop with the baselines of the same fold beside it")
    ] = False,
) -> None:
    """Animate one still image with a trained model: videos, and a film strip beside them."""
    set_up_logging()
    if sampler not in ("", "distilled", "unipc", "ddim", "ddpm"):
        raise LddmError(f"unknown sampler '{sampler}'", "expected distilled, unipc, ddim or ddpm")
    if sampler == "distilled" and num_inference_steps > 1:
        raise LddmError(
            f"sampler distilled takes one step, not {num_inference_steps}",
            "leave --num-inference-steps out, or take sampler unipc",
        )
    from lddm.io.dicom.read import is_dicom, read_dicom
    from lddm.io.image import read_image
    from lddm.io.output_path import check_not_overwritten, check_video_path
    from lddm.io.video import write_video
    from lddm.synthesis.animate import Animator
    from lddm.synthesis.model_store import DEFAULT, baselines_of, find_model, trained_on
    from lddm.synthesis.request import Size

    if not image.is_file():
        raise LddmError(f"{image} does not exist", "pass a PNG, JPEG or DICOM file")
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
        typer.echo(f"model {DEFAULT} of the package, trained on {trained_on(animator.about)}; see `lddm models show`")
    compared = animator.compare(still)
    if compared is not None and compared.is_out_of_distribution:
        typer.echo(f"warning: {compared.said(trained_on(animator.about))}", err=True)
    asked_for = asked_label(animator.task, label, target)

    def draw(one: Animator, count: int) -> np.ndarray:
        """Videos of the still by one generator: uint8 (count, length + 1, H, W)."""
        options = one.sampling(sampler or None, num_inference_steps or None, guidance_scale)
        name, began = one.about["generator"], time.monotonic()
        shown: Size = size if one is animator or one.has_native_size else "model"  # type: ignore[assignment]
        with working(f"drawing {count} of {name}"):
            made = one.animate(still, count, seed, asked_for, options, length=length or None, size=shown)
        note = f", {one.size} x {one.size} pixels: it has no native size" if shown != size else ""
        asked = f" ({one.task.show(asked_for)})" if label or target is not None else ""
        typer.echo(f"drew {count} of {name}{asked} in {time.monotonic() - began:.1f} s{note}")
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
    """A spinner with the seconds so far on a terminal while something runs; nothing in a log."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        shown.add_task(text, total=None)
        yield


def asked_label(task: Task, label: str, target: float | None) -> float:
    """What --label and --target ask for; None = unknown.

    Raises:
        LddmError: --label with a regression model, or --target with a classification model.
    """
    if label and task.is_regression:
        raise LddmError(f"--label {label}: this model knows no classes", f"pass --target ({task.said()})")
    if target is not None and not task.is_regression:
        raise LddmError(f"--target {target:g}: this model knows no numbers", f"pass --label ({task.said()})")
    return task.check(label or target)


@app.command()
def demo(
    model: Annotated[
        list[str] | None, typer.Option(help="further models for the page, as for `lddm animate`; may be repeated")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="port on this machine; 0 = any that is free")] = 8765,
    show: Annotated[bool, typer.Option("--open", help="open the page in the browser")] = False,
) -> None:
    """Open a page on this machine that animates a still: drop a PNG, JPEG or DICOM file on it. Nothing is kept."""
    set_up_logging()
    from lddm.demo.server import serve

    serve(model or [], port, show)


@app.command()
def settings(
    write: Annotated[bool, typer.Option("--write", help="write config/config.yaml and the JSON schema")] = False,
    root: Annotated[Path, typer.Option(help="the checkout")] = Path("."),
) -> None:
    """Show the default settings, or write the files that are generated from their types."""
    from lddm.settings import build

    if not write:
        typer.echo(build.default_yaml())
        return
    for path in build.write(root):
        typer.echo(f"wrote {path}")
