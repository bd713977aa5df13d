"""FFmpeg (in PyAV) as a decoder plugin of pydicom, for JPEG lossless, JPEG-LS and JPEG 2000 with HTJ2K.

Interface: pydicom's guide "decoding plugins". PyAV is needed for videos anyway, and it handles damaged frames safely: on sets
of 150 damaged frames GDCM 3.2.6 terminated the process in 5 of 6 runs, pylibjpeg-openjpeg 2.6.0 exhausted the memory in 2 of
2, and pyjpegls 1.5.1 did not return in 1 of 4, while FFmpeg returned in all 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
import numpy as np
from pydicom import uid

from lddm.io.dicom.codes import precision, segments

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import DecodeRunner

LABEL = "ffmpeg"
CODECS = {
    uid.JPEGLossless: "mjpeg",
    uid.JPEGLosslessSV1: "mjpeg",
    uid.JPEGLSLossless: "jpegls",
    uid.JPEGLSNearLossless: "jpegls",
    uid.JPEG2000Lossless: "jpeg2000",
    uid.JPEG2000: "jpeg2000",
    uid.HTJ2KLossless: "jpeg2000",
    uid.HTJ2KLosslessRPCL: "jpeg2000",
    uid.HTJ2K: "jpeg2000",
}
DECODER_DEPENDENCIES = {syntax: ("av",) for syntax in CODECS}


def is_available(syntax: str) -> bool:
    """Whether frames with this transfer syntax can be decoded."""
    return syntax in CODECS


def install() -> None:
    """Register the plugin with pydicom's decoders; no-op if already registered."""
    from pydicom.pixels import get_decoder

    for syntax in CODECS:
        decoder = get_decoder(syntax)
        if LABEL not in decoder.available_plugins:
            decoder.add_plugin(LABEL, (__name__, "decode_frame"))


def decode_frame(src: bytes, runner: DecodeRunner) -> bytes:
    """Decode one frame to interleaved, little-endian samples.

    Raises:
        ValueError: the codestream has no frame of the size and number of samples stated in the data set.
    """
    if _interleaved_samples(src):  # FFmpeg would return black frames without an error
        raise ValueError("JPEG-LS with sample interleaving")
    codec = av.CodecContext.create(CODECS[runner.transfer_syntax], "r")
    assert isinstance(codec, av.VideoCodecContext)
    limit = (
        2 * (runner.rows + 64) * (runner.columns + 64)
    )  # FFmpeg aligns sizes; a larger codestream is a decompression bomb
    codec.options = {"max_pixels": str(limit)}
    frames = [*codec.decode(av.Packet(src)), *codec.decode(None)]
    if not frames:
        raise ValueError("no frame in the codestream")
    values = _samples(frames[0])
    stated = (runner.rows, runner.columns, runner.samples_per_pixel)
    if values.shape != stated:
        raise ValueError(f"expected {stated} samples, got {values.shape}")
    bits = precision(src)
    width = 8 * values.dtype.itemsize
    if bits and bits < width and CODECS[runner.transfer_syntax] != "jpeg2000":
        values = values >> (width - bits)  # FFmpeg aligns samples to the most significant bit
    runner.set_option("bits_allocated", width)
    runner.set_option("planar_configuration", 0)
    if runner.photometric_interpretation in ("YBR_ICT", "YBR_RCT"):
        runner.set_option("photometric_interpretation", "RGB")
    return values.astype(values.dtype.newbyteorder("<")).tobytes()


def _samples(frame: av.VideoFrame) -> np.ndarray:
    """The components in the order of the codestream: uint8 or uint16 (H, W, samples)."""
    name = frame.format.name
    if name.startswith(("gray", "rgb24", "rgb48", "gbrp")):
        values = frame.to_ndarray()
    elif name.startswith(("yuv444p", "yuvj444p")):  # three full planes, which pydicom interprets
        values = np.moveaxis(frame.to_ndarray(), 0, -1)
    elif name == "bgr24":
        values = frame.to_ndarray()[..., ::-1]
    elif name in ("pal8", "rgba", "bgra", "bgr0", "rgb0"):
        values = frame.to_ndarray(format="rgb24")
    else:
        raise ValueError(f"unsupported pixel format {name}")
    return values[..., None] if values.ndim == 2 else values


def _interleaved_samples(code: bytes) -> bool:
    """Whether a JPEG-LS scan has several components with interleave mode 2 (ISO 14495-1, C.2.3)."""
    kinds = dict(segments(code))
    scan = kinds.get(0xDA, b"")
    return 0xF7 in kinds and len(scan) >= 3 and scan[0] > 1 and scan[-2] == 2
