"""Deinterlacing of video frames with FFmpeg's bwdif filter."""

from __future__ import annotations

from collections.abc import Iterator

import av
import av.filter

FIRST = {2: "tff", 3: "bff", 4: "bff", 5: "tff"}  # FFmpeg's field order of a stream -> field shown first
# Codecs with an interlacing flag per frame; the container's flag may describe the video before encoding.
SAY_SO = {"mpeg1video", "mpeg2video", "mpeg4", "h264", "hevc", "vvc", "vc1", "wmv3"}


def progressive(frames: Iterator[av.VideoFrame], stream: av.VideoStream, notes: list[str]) -> Iterator[av.VideoFrame]:
    """Yield one frame per input frame, deinterlaced from the first interlaced frame, or all if only the container is flagged."""
    graph = None
    order = FIRST.get(int(stream.codec_context.field_order))
    all_are = order is not None and stream.codec_context.name not in SAY_SO
    for frame in frames:
        if graph is None and (frame.interlaced_frame or all_are):
            which = "deint=interlaced" if frame.interlaced_frame else f"deint=all:parity={order}"
            graph = _graph(stream, which)
            by = "" if frame.interlaced_frame else ", as stated by the container"
            notes.append(f"interlaced: deinterlaced{by}")
        if graph is None:
            yield frame
        else:
            graph.push(frame)
            yield from _pulled(graph)
    if graph is not None:
        graph.push(None)
        yield from _pulled(graph)
    elif order is not None:
        notes.append("the container is flagged as interlaced, the frames are not: not deinterlaced")


def _graph(stream: av.VideoStream, which: str) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(template=stream)
    deinterlace = graph.add("bwdif", f"mode=send_frame:{which}")
    sink = graph.add("buffersink")
    source.link_to(deinterlace)
    deinterlace.link_to(sink)
    graph.configure()
    return graph


def _pulled(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        if isinstance(frame, av.VideoFrame):
            yield frame
