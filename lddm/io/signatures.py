"""File type from the first bytes, for messages about files with a wrong suffix."""

from __future__ import annotations

from pathlib import Path

START = "rename it with the correct suffix"
SIGNATURES = (  # position, bytes, file type, hint
    (0, b"\xff\xd8\xff", "a JPEG image", f"{START}, .jpg"),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image", f"{START}, .png"),
    (0, b"II*\0", "a TIFF image", f"{START}, .tif"),
    (0, b"MM\0*", "a TIFF image", f"{START}, .tif"),
    (8, b"WEBP", "a WebP image", f"{START}, .webp"),
    (0, b"GIF8", "a GIF", f"{START}, .gif"),
    (8, b"AVI ", "an AVI video", f"{START}, .avi"),
    (4, b"ftypheic", "a HEIC image", "export it as PNG"),
    (4, b"ftypavif", "an AVIF image", "export it as PNG"),
    (4, b"ftyp", "an MP4 or QuickTime video", f"{START}, .mp4"),
    (0, b"\x1aE\xdf\xa3", "a Matroska or WebM video", f"{START}, .mkv"),
    (128, b"DICM", "a DICOM file", f"{START}, .dcm"),
    (0, b"%PDF", "a PDF document", "export the video"),
    (0, b"PK\x03\x04", "a ZIP archive or an Office document", "unpack it"),
    (0, b"\x1f\x8b", "a gzip archive", "unpack it"),
    (0, b"<!doctype html", "a web page", "the download has failed: download the file again"),
    (0, b"<html", "a web page", "the download has failed: download the file again"),
)
SAME = {  # suffixes of one format
    ".jpg": {".jpg", ".jpeg", ".jfif"},
    ".png": {".png", ".apng"},
    ".tif": {".tif", ".tiff"},
    ".mp4": {".mp4", ".m4v", ".mov", ".3gp", ".3g2"},
    ".mkv": {".mkv", ".webm"},
    ".dcm": {".dcm", ".dicom", ".ima"},
}
NAL = {0x67: "H.264", 0x27: "H.264", 0x09: "H.264", 0x40: "HEVC", 0x46: "HEVC"}  # first unit of a raw stream


def signature(path: Path) -> tuple[str, str] | None:
    """File type and hint, if the type differs from the suffix; None if it is unknown or the file cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(256)
    except OSError:
        return None
    for place, mark, what, hint in SIGNATURES:
        own = hint.rpartition(", ")[2]
        if path.suffix.lower() in SAME.get(own, {own}):
            continue
        if head[place : place + len(mark)] == mark or mark.startswith(b"<") and head.lower().startswith(mark):
            return what, hint
    unit = head.lstrip(b"\0")[1:2] if head.startswith(b"\0\0") and head.lstrip(b"\0").startswith(b"\1") else b""
    if unit and unit[0] in NAL:
        kind = NAL[unit[0]]
        return f"a raw {kind} stream without time stamps", "put it into a container: ffmpeg -i FILE -c copy FILE.mp4"
    return None
