"""Video and image files: decoding to grayscale through PyAV and Pillow, writing for people."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from lddm.errors import LddmError
from lddm.files import atomic_path

logger = logging.getLogger(__name__)

MAX_PIXELS = 4096 * 4096  # a larger declared frame is a damaged or hostile header, not ultrasound
MAX_BYTES = 2 * 2**30  # decoded frames of one file; max_frames of a huge format would not fit in memory
# FFmpeg also reads lists of other files, patterns of names and network streams, told by content: only these are opened.
CONTAINERS = "asf,avi,gif,m4v,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mpeg,mpegts,mpegvideo"
VIDEO_SUFFIXES = {".gif", ".mp4", ".avi", ".mpeg", ".mpg", ".mov", ".webm", ".mkv", ".wmv", ".m4v"}
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}


class UnreadableFile(LddmError):
    """A file that cannot be decoded; the index excludes it with this reason."""


def decode_video(path: str | Path, max_frames: int = 2000) -> tuple[np.ndarray, float]:
    """Decode a video file to grayscale.

    Frames are counted by decoding, since many containers do not say how many there are.

    Args:
        path: a file of one of `CONTAINERS`, whatever its suffix.
        max_frames: frames that are read at the most.

    Returns:
        uint8 (T, H, W) and the average frame rate in Hz (NaN if the file does not say).

    Raises:
        UnreadableFile: no video in it, damaged before the first frame, or absurd sizes.
    """
    path = Path(path)
    frames: list[np.ndarray] = []
    try:
        with av.open(str(path), options={"format_whitelist": CONTAINERS}) as container:
            # a damaged header may name a codec that nobody has
            stream = next((s for s in container.streams.video if s.codec_context is not None), None)
            if stream is None:
                raise UnreadableFile(f"{path.name} holds no video that can be decoded", "check the file")
            stream.thread_type = "AUTO"
            _check_size(path, stream.codec_context.width, stream.codec_context.height)
            rate = stream.average_rate or stream.guessed_rate
            for frame in container.decode(stream):
                _check_size(path, frame.width, frame.height)
                # a copy: what FFmpeg decodes into is given back to the system only with the last frame
                frames.append(frame.to_ndarray(format="gray").copy())
                if len(frames) >= max_frames:
                    break
                if len(frames) * frames[0].nbytes >= MAX_BYTES:
                    logger.warning("%s is longer than what is read of it: %d frames", path.name, len(frames))
                    break
    except (av.error.FFmpegError, ValueError, MemoryError) as error:
        if not frames:
            raise UnreadableFile(
                f"{path.name} cannot be decoded: {error}", "check that the file is a whole video"
            ) from error
        logger.warning("%s breaks off after %d frames: %s", path.name, len(frames), error)
    if not frames:
        raise UnreadableFile(f"{path.name} holds no frame", "check that the file is a whole video")
    shape = frames[0].shape
    return stack([frame for frame in frames if frame.shape == shape], frames), float(rate) if rate else float("nan")


def stack(frames: list[np.ndarray], *also: list[np.ndarray]) -> np.ndarray:
    """Frames (H, W) of one size as (T, H, W), which empties the lists: they and the whole never lie in memory together."""
    whole = np.empty((len(frames), *frames[0].shape), frames[0].dtype)
    for other in also:
        other.clear()
    for place in range(len(frames) - 1, -1, -1):
        whole[place] = frames.pop()
    return whole


def decode_image(path: str | Path) -> np.ndarray:
    """Decode an image file to grayscale: uint8 (H, W).

    Raises:
        UnreadableFile: no image, or one of absurd size.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                _check_size(path, *image.size)
                return np.asarray(_to_grey(image))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableFile(
            f"{path.name} cannot be decoded: {error}", "check that the file is a whole image"
        ) from error


def _to_grey(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # 16 bits and floats: stretched to the full range, as viewers do
        values = np.asarray(image, dtype=np.float64)
        finite = values[np.isfinite(values)]
        low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
        values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
        return Image.fromarray(np.uint8(255 * ((values - low) / max(high - low, 1e-9))))
    if image.mode in ("RGBA", "LA", "P", "PA"):
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    return image.convert("L")


def _check_size(path: Path, width: int, height: int) -> None:
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise UnreadableFile(f"{path.name} declares frames of {width} x {height} pixels", "check the file's header")


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
            from lddm.data.dicom import write_dicom  # it imports this module

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
