"""Writing videos for people: MP4, AVI, GIF, WebP, NPZ, DICOM or a folder of PNG files."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from lddm.data.dicom_write import write_dicom
from lddm.errors import LddmError
from lddm.files import atomic_path


def write_video(path: str | Path, frames: np.ndarray, fps: float, comment: str = "") -> None:
    """Write a grayscale video; the suffix chooses the form.

    Args:
        path: .mp4 (H.264), .avi (FFV1, lossless), .gif, .webp, .npz (frames, fps, comment), .dcm (ultrasound cine
            loop), or no suffix for a folder of PNG files.
        frames: uint8 (T, H, W).
        fps: frame rate in Hz.
        comment: kept in the file's metadata, e.g. that the video is synthetic.

    Raises:
        LddmError: unknown suffix.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == "":
        _write_folder(path, frames, fps, comment)
        return
    with atomic_path(path) as temporary:
        if suffix in (".mp4", ".avi"):
            _write_av(temporary, frames, fps, comment, lossless=suffix == ".avi")
        elif suffix in (".gif", ".webp"):
            images = [Image.fromarray(frame) for frame in frames]
            options = {"comment": comment} if suffix == ".gif" else {"lossless": True}
            images[0].save(
                temporary, save_all=True, append_images=images[1:], duration=round(1000 / fps), loop=0, **options
            )
        elif suffix == ".dcm":
            write_dicom(temporary, frames, fps, comment)
        elif suffix == ".npz":
            np.savez_compressed(temporary, frames=frames, fps=fps, comment=comment)
        else:
            raise LddmError(f"cannot write '{suffix}'", "expected .mp4, .avi, .gif, .webp, .npz, .dcm, or a folder")


def _write_av(path: Path, frames: np.ndarray, fps: float, comment: str, lossless: bool) -> None:
    height, width = frames.shape[1:]
    if not lossless:  # H.264 takes even sizes only
        frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    with av.open(str(path), "w") as container:
        container.metadata["comment"] = comment
        stream = container.add_stream("ffv1" if lossless else "libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt = "gray" if lossless else "yuv420p"
        if not lossless:
            stream.options = {"crf": "12"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="gray")))
        container.mux(stream.encode())


def _write_folder(path: Path, frames: np.ndarray, fps: float, comment: str) -> None:
    temporary = path.with_name(f".{path.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(temporary / f"{number:06d}.png")
    (temporary / "about.json").write_text(json.dumps({"fps": fps, "frames": len(frames), "comment": comment}) + "\n")
    if path.exists():
        raise LddmError(f"{path} exists", "choose another folder or remove this one")
    temporary.rename(path)
