"""Coverage-guided fuzzing of one reader: python tests/unit/io/fuzz.py READER CORPUS [options of libFuzzer].

READER: image, video, dicom or settings. CORPUS: a folder of valid files to start from; findings are left in the working
directory. A crash is anything but frames, settings or one explained error, and more memory or time than the options allow.
"""

import contextlib
import logging
import sys
import tempfile
from pathlib import Path

import atheris

INSTRUMENTED = {"image": "PIL", "video": "lddm", "dicom": "pydicom", "settings": "lddm.settings"}

with atheris.instrument_imports(include=["lddm.data", "lddm.io", INSTRUMENTED[sys.argv[1]]]):
    import pydicom.pixels  # noqa: F401 (readers import it late)
    from snakemake.common.configfile import load_configfile

    from lddm.data.identity import read_identity
    from lddm.errors import LddmError
    from lddm.io.dicom.read import decode_dicom, is_cine
    from lddm.io.video import UnreadableFile, decode_image, decode_video
    from lddm.settings.build import load

SUFFIXES = {"image": ".png", "video": ".mp4", "dicom": ".dcm", "settings": ".yaml"}


def read(reader: str, path: Path) -> None:
    """Read one file as the pipeline does."""
    if reader == "settings":
        if b"__use_yte__" in path.read_bytes():  # Snakemake's own way to run code from a config
            return
        try:
            config = load_configfile(path)
        except Exception:  # before a config comes to us
            return
        with contextlib.suppress(LddmError):
            load(config)
        return
    try:
        if reader == "dicom":
            is_cine(path), read_identity(path)
            frames = decode_dicom(path)[0]
        else:
            frames = decode_video(path)[0] if reader == "video" else decode_image(path)[None]
    except UnreadableFile:
        return
    assert frames.ndim == 3 and frames.size > 0 and frames.dtype == "uint8"


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    reader = sys.argv.pop(1)
    path = Path(tempfile.mkdtemp()) / f"input{SUFFIXES[reader]}"

    def one_input(data: bytes) -> None:
        path.write_bytes(data)
        read(reader, path)

    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
