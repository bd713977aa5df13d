"""Writer of videos: MP4, AVI, GIF, WebP, NPZ, DICOM or a folder of PNG files."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import ExifTags, Image, PngImagePlugin

from lddm.files import atomic_path
from lddm.io.dicom.write import write_dicom
from lddm.io.output_path import check_video_path
from lddm.io.recording import SQUARE

TRUE_SIZE = "{width} x {height} pixels, padded to even numbers"  # description of an MP4 of an odd size


def write_video(
    path: str | Path,
    frames: np.ndarray,
    fps: float,
    comment: str = "",
    spacing: tuple[float, float] | None = None,
    aspect: float = 1.0,
) -> None:
    """Write a grayscale video; the suffix selects the format.

    Args:
        path: .mp4 (H.264), .avi (FFV1, lossless), .gif, .webp, .npz (frames, fps, comment), .dcm (ultrasound cine
            loop), or no suffix for a folder of PNG files.
        frames: uint8 (T, H, W).
        fps: frame rate in Hz.
        comment: stored in the file's metadata, e.g. that the video is synthetic.
        spacing: (row, column) pixel spacing in mm, if known; stored in .dcm, .npz and folders.
        aspect: height / width of a pixel, used if the spacing is unknown; stored in .mp4 and .dcm.

    Raises:
        LddmError: as `lddm.io.output_path.check_video_path`.
    """
    path = Path(path)
    check_video_path(path)
    suffix = path.suffix.lower()
    aspect = spacing[0] / spacing[1] if spacing is not None else aspect
    if suffix == "":
        _write_folder(path, frames, fps, comment, spacing)
        return
    with atomic_path(path) as temporary:
        if suffix in (".mp4", ".avi"):
            _write_av(temporary, frames, fps, comment, aspect, lossless=suffix == ".avi")
        elif suffix in (".gif", ".webp"):
            images = [Image.fromarray(frame) for frame in frames]
            options = {"comment": comment} if suffix == ".gif" else {"lossless": True, "exif": _described(comment)}
            images[0].save(
                temporary, save_all=True, append_images=images[1:], duration=round(1000 / fps), loop=0, **options
            )
        elif suffix == ".dcm":
            write_dicom(temporary, frames, fps, comment, spacing, aspect)
        else:
            known = [np.nan, np.nan] if spacing is None else spacing
            np.savez_compressed(temporary, frames=frames, fps=fps, comment=comment, spacing_mm=known)


def _described(comment: str) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = comment
    return exif


def _write_av(path: Path, frames: np.ndarray, fps: float, comment: str, aspect: float, lossless: bool) -> None:
    height, width = frames.shape[1:]
    if not lossless:  # H.264 requires even sizes; `lddm.io.video` reads the true size from the description
        frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    with av.open(str(path), "w") as container:
        container.metadata["comment"] = comment
        if frames.shape[1:] != (height, width):
            container.metadata["description"] = TRUE_SIZE.format(width=width, height=height)
        stream = container.add_stream("ffv1" if lossless else "libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = frames.shape[1:]
        if not lossless and abs(aspect - 1) >= SQUARE:  # AVI cannot store it
            stream.codec_context.sample_aspect_ratio = Fraction(1 / aspect).limit_denominator(1000)  # width / height
        stream.pix_fmt = "gray" if lossless else "yuv420p"
        if not lossless:
            stream.options = {"crf": "12"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="gray")))
        container.mux(stream.encode())


def _write_folder(
    path: Path, frames: np.ndarray, fps: float, comment: str, spacing: tuple[float, float] | None
) -> None:
    temporary = path.with_name(f".{path.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    text = PngImagePlugin.PngInfo()
    text.add_itxt("Comment", comment)  # a single frame may be passed on without about.json
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(temporary / f"{number:06d}.png", pnginfo=text)
    about = {"fps": fps, "frames": len(frames), "comment": comment}
    about |= {} if spacing is None else {"spacing_mm": list(spacing)}
    (temporary / "about.json").write_text(json.dumps(about) + "\n")
    temporary.rename(path)
