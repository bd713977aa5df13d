"""Decoding of a video stream packet by packet: only frames that depend on a damaged packet are lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import av
import numpy as np

from lddm.io.cut_off import ends_early

WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # codec -> decoder that supports transparency
CUT = "the file may be truncated"


@dataclass
class Tally:
    """Counts for the packets of a stream.

    Attributes:
        packets: number of packets.
        lost: packets that could not be decoded, or that depend on one that could not.
        corrupt: packets and frames that the demuxer or the decoder marks as damaged.
        waiting: whether the end was reached without another key frame.
        end: end time of the last packet in s; NaN if unknown.
        error: the first error.
    """

    packets: int = 0
    lost: int = 0
    corrupt: int = 0
    waiting: bool = False
    end: float = float("nan")
    error: av.error.FFmpegError | None = None

    def notes(self, frames: int) -> list[str]:
        """Notes about damage, given the number of frames."""
        if self.waiting:
            return [f"damaged: breaks off after {frames} frames"]
        if self.lost:
            return [f"damaged: {self.lost} frames dropped"]
        return [f"{self.corrupt} packets or frames are damaged or incomplete: {CUT}"] if self.corrupt else []


def decoded(container: av.container.InputContainer, stream: av.VideoStream, tally: Tally) -> Iterator[av.VideoFrame]:
    """Decode the frames; WebM with transparency by libvpx, because FFmpeg's own decoders drop the alpha channel.

    After a packet that cannot be decoded, frames are dropped up to the next key frame, because they depend on missing data.

    Raises:
        FFmpegError: the container breaks off, or nothing can be decoded.
    """
    library = WITH_ALPHA.get(stream.codec_context.name)
    decoder: Any = stream
    if library is not None and stream.metadata.get("alpha_mode") == "1":
        decoder = av.CodecContext.create(library, "r")
    came = False
    for packet in container.demux(stream):
        if not packet.size and packet.pts is not None:  # a dropped frame, which a decoder would interpret as the end
            tally.packets += 1
            continue
        if packet.size:
            _count(packet, tally)
            if tally.waiting and not packet.is_keyframe:
                tally.lost += 1
                continue
        try:
            frames = decoder.decode(packet if packet.size or decoder is stream else None)
        except av.error.EOFError:
            return
        except av.error.FFmpegError as error:
            tally.lost += 1
            tally.waiting, tally.error = True, tally.error or error
            continue
        tally.waiting = tally.waiting and not packet.size
        for frame in frames:
            came = True
            tally.corrupt += bool(frame.is_corrupt)
            yield frame
    if not came and tally.error is not None:
        raise tally.error


def _count(packet: av.Packet, tally: Tally) -> None:
    tally.packets += 1
    tally.corrupt += bool(packet.is_corrupt)
    if packet.pts is not None and packet.time_base is not None:
        tally.end = float(np.fmax(tally.end, (packet.pts + (packet.duration or 0)) * float(packet.time_base)))


def missing_end(
    source: str | BinaryIO,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    stamps: list[float | None],
    tally: Tally,
) -> list[str]:
    """A note if the file ends before its stated end; for many containers FFmpeg raises no error."""
    if stream.frames > tally.packets + max(2, 0.02 * stream.frames):
        return [f"the header states {stream.frames} frames, the file contains {tally.packets}: {CUT}"]
    times = [time for time in stamps if time is not None]
    if stream.duration and stream.time_base:
        stated = float(stream.duration * stream.time_base)
    else:  # the duration of the container
        stated = (container.duration or 0) / av.time_base if len(container.streams) == 1 else 0.0
    if len(times) >= 2:
        held = (times[-1] - times[0]) * len(times) / (len(times) - 1)
        # some containers count from 0 instead of the first frame; the last frame may be held
        end = float(np.nanmax([held, times[-1], tally.end]))
        if stated - end > max(0.1 * stated, 3 * held / len(times)):
            return [f"the header states {stated:.3g} s, the frames last {held:.3g} s: {CUT}"]
    if isinstance(source, str):
        with open(source, "rb") as file:
            early = ends_early(file)
    else:
        early = ends_early(source)
    return [f"the file ends before its stated end: {CUT}"] if early else []
