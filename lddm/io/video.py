"""Reader of video files with PyAV (FFmpeg): frame times, rotation, pixel aspect ratio, alpha and interlacing."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, BinaryIO

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type as SideDataType

from lddm.io.frame_times import FASTEST, frame_times
from lddm.io.image import IMAGE_SUFFIXES, decode_image
from lddm.io.image_values import eight_bits
from lddm.io.interlaced import progressive
from lddm.io.packets import Tally, decoded, missing_end
from lddm.io.recording import (
    MAX_ASPECT,
    MAX_BYTES,
    FrameBuffer,
    Recording,
    UnreadableFile,
    check_size,
    is_coloured,
    square_pixels,
    upright,
    without_folder,
)
from lddm.io.signatures import signature
from lddm.io.write_video import TRUE_SIZE, write_video

__all__ = ["IMAGE_SUFFIXES", "VIDEO_SUFFIXES", "UnreadableFile", "decode_image", "decode_video", "write_video"]

logger = logging.getLogger(__name__)

# FFmpeg also opens playlists, file name patterns and network streams, detected by content; only these formats are allowed.
CONTAINERS = "asf,avi,flv,gif,m4v,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mpeg,mpegts,mpegvideo,ogg"
VIDEO_SUFFIXES = set(
    ".gif .mp4 .avi .mpeg .mpg .mov .webm .mkv .wmv .m4v .mts .m2ts .ts .3gp .3g2 .vob .asf .flv .ogv".split()
)
COLOUR_SAMPLE = 16  # every 16th frame is checked for colour


def decode_video(path: str | Path, max_frames: int = 2000) -> tuple[np.ndarray, float]:
    """Decode a video file to grayscale.

    Returns:
        As `read_video`: uint8 (T, H, W) and the nominal frame rate in Hz (NaN if the file does not state one).

    Raises:
        UnreadableFile: see `read_video`.
    """
    recording = read_video(path, max_frames)
    return recording.frames, recording.rate


def read_video(path: str | Path, max_frames: int = 2000) -> Recording:
    """Decode a video file: upright grey frames with square pixels, and the time of each frame.

    Frames are counted by decoding, because many containers do not state their number. Transparent pixels become black,
    interlaced frames are deinterlaced, cover images are skipped.

    Args:
        path: a file in one of the formats `CONTAINERS`, with any suffix.
        max_frames: maximum number of frames to read.

    Raises:
        UnreadableFile: no video, damage before the first frame, or absurd sizes.
    """
    path = Path(path)
    return decode_stream(str(path), path.name, max_frames, CONTAINERS)


def decode_stream(source: str | BinaryIO, name: str, max_frames: int, containers: str) -> Recording:
    """Decode the main video of a path or an open file; see `read_video`.

    Args:
        source: path or file-like object.
        name: name in messages.
        max_frames: maximum number of frames to read.
        containers: FFmpeg formats that may be opened, comma-separated.
    """
    frames = FrameBuffer()
    stamps: list[float | None] = []
    notes: list[str] = []
    colour, orientation, rate, aspect, resized, resolution = False, 1, None, 1.0, 0, 0.0
    true_size: tuple[int, int] | None = None
    tally, opened = Tally(), False
    try:
        with av.open(source, "r", options={"format_whitelist": containers}) as container:
            opened = True
            stream = _main_stream(container, name, notes)
            stream.thread_type = "AUTO"
            if stream.codec_context.width:  # unknown if the stream starts within a group of pictures
                check_size(name, stream.codec_context.width, stream.codec_context.height)
            rate = stream.average_rate or stream.guessed_rate
            resolution = float(stream.time_base or 0)
            if rate and float(rate) == FASTEST == round(1 / (resolution or 1)):
                rate = None  # the container's clock, not a frame rate
            shown = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
            aspect = 1 / float(shown) if shown else 1.0
            for frame in progressive(decoded(container, stream, tally), stream, notes):
                check_size(name, frame.width, frame.height)
                if not len(frames):
                    orientation = _orientation(frame, notes)
                if len(frames) >= max_frames or len(frames.memory) * (1 + 1 / max(1, len(frames))) > MAX_BYTES:
                    notes.append(f"cut: only the first {len(frames)} frames are read")
                    logger.warning("%s: only the first %d frames are read", name, len(frames))
                    break
                if len(frames) % COLOUR_SAMPLE == 0 and not colour:
                    colour = is_coloured(_small(frame))
                if frames.append(_grey(frame)):
                    stamps.append(frame.time)
                else:
                    resized += 1
            else:
                damage = tally.notes(len(frames))
                notes += damage or missing_end(source, container, stream, stamps, tally)
            true_size = _true_size(container.metadata, frames)
            if container.format.name == "gif":
                stamps = _as_browsers_show(stamps)
    except (av.error.FFmpegError, ValueError, MemoryError, OverflowError) as error:
        if not len(frames):
            place = Path(source if isinstance(source, str) else name)
            what, hint = signature(place) or ("", "") if isinstance(source, str) and not opened else ("", "")
            reason = f"it is {what}" if what else without_folder(error, place)
            hint = hint or "check that the file is a complete video"
            raise UnreadableFile(f"{name} cannot be decoded: {reason}", hint) from error
        logger.warning("%s breaks off after %d frames: %s", name, len(frames), error)
        notes.append(f"damaged: breaks off after {len(frames)} frames")
    if not len(frames):
        raise UnreadableFile(f"{name} contains no frame", "check that the file is a complete video")
    if resized:
        notes.append(f"{resized} frames of another size dropped")
    fps = float(rate) if rate else None
    return _recording(frames, stamps, fps, aspect, orientation, colour, notes, resolution, true_size)


def _as_browsers_show(stamps: list[float | None]) -> list[float | None]:
    """Frame times of a GIF, with 100 ms for durations below 20 ms, as for other animated images."""
    if len(stamps) < 2 or any(stamp is None for stamp in stamps):
        return stamps
    steps = np.diff(np.array(stamps, dtype=np.float64))
    return [0.0, *np.cumsum(np.where(steps < 0.0199, 0.1, steps)).tolist()]


def _recording(
    frames: FrameBuffer,
    stamps: list[float | None],
    rate: float | None,
    aspect: float,
    orientation: int,
    colour: bool,
    notes: list[str],
    resolution: float,
    true_size: tuple[int, int] | None,
) -> Recording:
    """Build the recording: frames in temporal order, upright, with square pixels."""
    kept, times, fps, said = frame_times(stamps, rate, resolution)
    whole, depth = eight_bits(frames.array())
    whole = whole if len(kept) == len(stamps) else whole[kept]
    notes += depth
    if true_size is not None:
        whole = whole[:, : true_size[0], : true_size[1]]
    if not 1 / MAX_ASPECT <= aspect <= MAX_ASPECT:
        notes.append("implausible pixel aspect ratio ignored")
        aspect = 1.0
    if abs(aspect - 1) >= 0.01:
        notes.append(f"pixels {aspect:.3g} times as high as wide: resampled to square pixels")
        whole = square_pixels(whole, aspect)
    if orientation != 1:
        whole = np.ascontiguousarray(upright(whole, orientation))
    return Recording(whole, times, fps, aspect=aspect, orientation=orientation, colour=colour, notes=(*notes, *said))


def _true_size(metadata: dict[str, str], frames: FrameBuffer) -> tuple[int, int] | None:
    """Height and width before `write_video` padded frames to even sizes, or None."""
    if len(frames.shape) != 2:
        return None
    height, width = frames.shape
    sizes = [(height - i, width - j) for i in (0, 1) for j in (0, 1) if i or j]
    said = metadata.get("description", "")
    return next((size for size in sizes if said == TRUE_SIZE.format(height=size[0], width=size[1])), None)


def _main_stream(container: av.container.InputContainer, name: str, notes: list[str]) -> av.VideoStream:
    """The video stream that players show: not a cover image, and with a codec that can be decoded."""
    covers = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    # a damaged header may name an unknown codec
    streams = [s for s in container.streams.video if s.codec_context is not None and not s.disposition & covers]
    if not streams:
        raise UnreadableFile(f"{name} contains no video that can be decoded", "check the file")
    best = container.streams.best("video")
    chosen = best if best in streams else max(streams, key=lambda s: s.frames)
    if len(streams) > 1:
        size = f"{chosen.codec_context.width} x {chosen.codec_context.height}"
        notes.append(f"{len(streams)} video streams: the default one is read, {size} pixels")
    return chosen


def _orientation(frame: av.VideoFrame, notes: list[str]) -> int:
    """EXIF orientation from the frame's display matrix, as written by phones and handheld probes."""
    found_data: Any = frame.side_data  # iterates over its values
    matrix = next((data for data in found_data if data.type == SideDataType.DISPLAYMATRIX), None)
    if matrix is None:
        return 1
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5] / 65536
    turns = {
        (1, 0, 0, 1): 1,
        (-1, 0, 0, 1): 2,
        (-1, 0, 0, -1): 3,
        (1, 0, 0, -1): 4,
        (0, 1, 1, 0): 5,
        (0, 1, -1, 0): 6,
        (0, -1, -1, 0): 7,
        (0, -1, 1, 0): 8,
    }
    scale = max(abs(a), abs(b), abs(c), abs(d)) or 1.0
    signs = np.rint(np.array([a, b, c, d]) / scale).astype(int).tolist()
    found = turns.get((signs[0], signs[1], signs[2], signs[3]), 0)
    if found == 0:
        notes.append("rotation by an angle that is not a multiple of 90 degrees ignored")
    elif found != 1:
        notes.append(f"rotated or mirrored by its display matrix (EXIF orientation {found})")
    return found or 1


def _small(frame: av.VideoFrame) -> np.ndarray:
    """The frame in RGB, uint8 (H, W, 3), at most 160 pixels wide."""
    width = min(160, frame.width)
    height = max(1, round(frame.height * width / frame.width))
    return frame.reformat(width=width, height=height, format="rgb24").to_ndarray()


def _grey(frame: av.VideoFrame) -> np.ndarray:
    """Luminance (H, W), uint8, or uint16 for 16-bit frames; transparent pixels on black, as for images."""
    if any(component.is_alpha for component in frame.format.components):
        rgba = frame.to_ndarray(format="rgba")
        grey, alpha = cv2.cvtColor(rgba, cv2.COLOR_RGBA2GRAY), rgba[..., 3]
        return grey if alpha.min() == 255 else np.rint(grey * (alpha / np.float32(255))).astype(np.uint8)
    if frame.format.components[0].bits == 16:  # may contain fewer significant bits
        return frame.to_ndarray(format="gray16le")
    return frame.to_ndarray(format="gray")
