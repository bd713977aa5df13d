"""Checks of output paths before any work, so that no long job ends in an error or overwrites a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lddm.errors import LddmError

WRITABLE = (".mp4", ".avi", ".gif", ".webp", ".npz", ".dcm", "")  # "" is a folder of PNG files


def check_video_path(path: Path) -> None:
    """Raise if `lddm.io.write_video.write_video` cannot write a video there.

    Raises:
        LddmError: unknown suffix, a folder instead of a file or the reverse, or a parent that is not a folder or not writable.
    """
    if path.suffix.lower() not in WRITABLE:
        raise LddmError(f"cannot write '{path.suffix}'", "expected .mp4, .avi, .gif, .webp, .npz, .dcm, or a folder")
    if path.suffix == "" and path.exists():
        raise LddmError(f"{path} exists", "choose another folder or remove this one")
    if path.is_dir():
        raise LddmError(f"{path} is a directory, expected a file", "choose another name for the video")
    parent = path.parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise LddmError(f"{parent} is a file, expected a directory", "choose another folder for the video")
    if not os.access(parent, os.W_OK):
        raise LddmError(f"{parent} is not writable", "choose a folder for the video that you may write to")


def check_not_overwritten(inputs: Sequence[Path], outputs: Sequence[Path]) -> None:
    """Raise if an output is one of the inputs.

    Raises:
        LddmError: an output is an input, also through a link.
    """
    for output in outputs:
        for given in inputs:
            if output.exists() and output.samefile(given):
                raise LddmError(f"{output} is the input and would be overwritten", "choose another --out")
