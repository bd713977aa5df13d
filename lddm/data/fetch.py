"""Public data sets, to download or to request, and safe extraction of archives."""

from __future__ import annotations

import logging
import shutil
import stat
import sys
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from lddm.data.download import DownloadError, download, offline
from lddm.errors import LddmError
from lddm.files import sha256

logger = logging.getLogger(__name__)

LARGEST = 20 * 2**30  # bytes unpacked
MOST_FILES = 200_000
DENSEST = 200  # maximum compression ratio of a file above PROBED bytes; images and videos hardly compress
PROBED = 50 * 2**20


@dataclass(frozen=True)
class Dataset:
    """One public data set.

    Attributes:
        url: address of a zip archive; None = available on request only.
        folder: folder below data_root.
        inside: the folder of the archive that becomes `folder` (None = the archive itself).
        licence: as stated by the authors.
        how: source, and how to get data that cannot be downloaded.
        sha256: digest of the archive; None = the authors publish none, and that of the download is stored with the data.
    """

    url: str | None
    folder: str
    inside: str | None
    licence: str
    how: str
    sha256: str | None = None


DATASETS: dict[str, Dataset] = {
    "busi": Dataset(
        "https://scholar.cu.edu.eg/Dataset_BUSI.zip",
        "busi",
        None,
        "not stated, the authors ask for a citation; see docs/data.md",
        "Al-Dhabyani et al. 2020, Data in Brief 28:104863; page https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
    ),
    "pocus": Dataset(
        "https://github.com/jannisborn/covid19_ultrasound/archive/refs/heads/master.zip",
        "pocus",
        "data",
        "per file (CC BY, CC BY-NC, CC BY-NC-SA), see dataset_metadata.csv",
        "Born et al. 2021, Applied Sciences 11:672; some videos must be downloaded from their publishers, see its README",
    ),
    "busv": Dataset(
        None,
        "busv",
        None,
        "non-commercial research and education, on request",
        "Lin et al. 2022 (CVA-Net): request it as described in the README of github.com/jhl-Det/CVA-Net, and unpack rawframes/ "
        "and the JSON files into data_root/busv",
    ),
}


def fetch(name: str, data_root: Path, url: str | None = None, expected: str | None = None) -> Path:
    """Download a data set and unpack it into its source's folder.

    Args:
        url, expected: another address, e.g. a mirror, and the SHA-256 of its archive.

    Returns:
        The folder; nothing is done if it already exists.

    Raises:
        LddmError: unknown name, no public address, a failed download, a wrong checksum, or a hostile archive.
    """
    entry = DATASETS.get(name)
    if entry is None:
        raise LddmError(f"unknown data set '{name}'", f"expected one of {', '.join(DATASETS)}")
    target = Path(data_root) / entry.folder
    if target.exists():
        logger.info("%s already exists", target)
        return target
    url = url or entry.url
    if url is None:
        raise LddmError(f"{name} cannot be downloaded: {entry.how}", f"then run `lddm check-data {target}`")
    if offline():
        raise LddmError(f"{name}: LDDM_OFFLINE forbids downloads", f"put the data into {target}: {entry.how}")
    archive = _download(name, url, expected or entry.sha256, Path(data_root), entry.how)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        unzip(archive, partial)
        inner = _inner(partial, entry.inside)
        (inner / "ARCHIVE_SHA256").write_text(f"{sha256(archive)}  {url}\n")
        inner.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    archive.unlink()
    archive.with_name(f".{archive.name}.lock").unlink(missing_ok=True)
    return target


def _download(name: str, url: str, expected: str | None, folder: Path, how: str) -> Path:
    seen = sys.stderr.isatty() and find_spec("tqdm") is not None  # pooch draws its bar with tqdm
    try:
        return download(url, folder / f".{name}.zip", expected, progress=seen, again=True)
    except DownloadError as error:
        raise LddmError(f"{name}: {url} could not be downloaded ({error})", f"download it manually: {how}") from error


def _inner(folder: Path, inside: str | None) -> Path:
    """The data folder of an unpacked archive; archives of repositories have an enclosing folder."""
    if inside is None:
        return folder
    found = sorted(path for path in (folder / inside, *folder.glob(f"*/{inside}")) if path.is_dir())
    if not found:
        raise LddmError(f"the archive has no folder '{inside}'", "its layout has changed; unpack it manually")
    return found[0]


def unzip(archive: Path, target: Path) -> None:
    """Unpack a zip archive into a new folder.

    Raises:
        LddmError: not a zip archive, a name that leaves the folder, a link, or more data than allowed.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            _refuse_hostile(members, target)
            for member in members:
                path = target / member.filename
                path.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as source, open(path, "wb") as file:
                    shutil.copyfileobj(source, file, 2**20)  # zipfile stops at the declared size
    except zipfile.BadZipFile as error:
        raise LddmError(f"{archive.name} is not a zip archive: {error}", "download it again") from error


def _refuse_hostile(members: list[zipfile.ZipInfo], target: Path) -> None:
    total = sum(member.file_size for member in members)
    if total > LARGEST or len(members) > MOST_FILES:
        raise LddmError(
            f"the archive unpacks to {total / 2**30:.1f} GiB in {len(members)} files, too much for a data set",
            "unpack it manually if you trust it",
        )
    root = target.resolve()
    for member in members:
        if not (root / member.filename).resolve().is_relative_to(root) or "\\" in member.filename:
            raise LddmError(f"the archive would write outside its folder: {member.filename!r}", "do not use it")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise LddmError(f"the archive contains a link: {member.filename!r}", "unpack it manually if you trust it")
        if member.file_size > PROBED and member.file_size > DENSEST * max(1, member.compress_size):
            raise LddmError(
                f"{member.filename!r} unpacks to {member.file_size} bytes from {member.compress_size}", "do not use it"
            )
