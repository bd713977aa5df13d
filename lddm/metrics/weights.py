"""Pretrained feature networks as data: where they come from, what they are, and whether they are there.

A metric whose weights are absent is reported absent with the reason; nothing stands in for it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from lddm.data.download import DownloadError, download, offline
from lddm.files import sha256

logger = logging.getLogger(__name__)

PYIQA = "https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main"


class WeightsAbsent(Exception):
    """Weights cannot be had; the text is the reason, for the reader of a table."""


@dataclass(frozen=True)
class Weights:
    """One file of weights.

    Attributes:
        file: where it lies below `weights_dir`; pyiqa and torchvision expect theirs under these names.
        url: where it is fetched from; None = has to be put there by hand, `source` says from where.
        sha256: its SHA-256 (what follows the digits in the file's name was read in other projects that pin it); None =
            nobody gives one, and the rows made with it carry the digest of the file that was used.
        licence: licence or terms.
        source: whose work it is.
    """

    file: str
    url: str | None
    sha256: str | None
    licence: str
    source: str


REGISTRY: dict[str, Weights] = {
    "i3d_kinetics400": Weights(
        "i3d_torchscript.pt",
        "https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt?dl=1",
        "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2",
        "Apache-2.0",
        "Carreira & Zisserman 2017, TF-hub Kinetics-400 I3D ported to TorchScript by StyleGAN-V (Skorokhodov et al. 2022)",
    ),
    "i3d_dtdb": Weights(
        "i3d_dtdb_torchscript.pt",
        None,
        None,
        "as stated by its authors",
        "I3D trained on the Dynamic Texture DataBase (Hadji & Wildes 2018), used for DT-FVD by Dorkenwald et al. 2021; "
        "export it as TorchScript: uint8-valued float (B, 3, T, H, W) -> (B, 1024)",
    ),
    "inception_v3_fid": Weights(
        "weights-inception-2015-12-05-6726825d.pth",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        "Apache-2.0",
        "Inception-v3 of the TensorFlow FID code (Heusel et al. 2017), converted by torch-fidelity",
    ),
    "vgg16": Weights(
        "checkpoints/vgg16-397923af.pth",
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        "BSD-3-Clause",
        "torchvision, VGG16 on ImageNet (Simonyan & Zisserman 2015)",
    ),
    "lpips_vgg": Weights(
        "pyiqa/LPIPS_v0.1_vgg-a78928a0.pth",
        f"{PYIQA}/LPIPS_v0.1_vgg-a78928a0.pth",
        "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        "BSD-2-Clause",
        "LPIPS 0.1 heads for VGG16 (Zhang et al. 2018)",
    ),
    "alexnet": Weights(
        "checkpoints/alexnet-owt-7be5be79.pth",
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        "BSD-3-Clause",
        "torchvision, AlexNet on ImageNet (Krizhevsky 2014)",
    ),
    "lpips_alex": Weights(
        "pyiqa/LPIPS_v0.1_alex-df73285e.pth",
        f"{PYIQA}/LPIPS_v0.1_alex-df73285e.pth",
        "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        "BSD-2-Clause",
        "LPIPS 0.1 heads for AlexNet (Zhang et al. 2018)",
    ),
    "brisque": Weights(
        "pyiqa/brisque_svm_weights.pth",
        f"{PYIQA}/brisque_svm_weights.pth",
        None,
        "as stated by its authors",
        "BRISQUE support vectors (Mittal et al. 2012), converted by pyiqa",
    ),
}


def find(name: str, weights_dir: str | Path, again: bool = False) -> Path:
    """The file of an entry of the registry: in `weights_dir`, else fetched into it.

    Args:
        name: key of REGISTRY.
        weights_dir: the folder of weights.
        again: ask also an address that failed within the last hour.

    Raises:
        WeightsAbsent: it is not there and cannot be fetched, or its digest is not the expected one.
    """
    entry = REGISTRY[name]
    path = Path(weights_dir) / entry.file
    try:
        if not path.is_file():
            _fetch(name, entry, path, again)
        digest = sha256(path)
    except OSError as error:  # a folder or file that may not be read
        raise WeightsAbsent(f"{name}: {path} cannot be read ({error.strerror})") from error
    if entry.sha256 and not digest.startswith(entry.sha256):
        raise WeightsAbsent(f"{name}: {path.name} has SHA-256 {digest[:12]}, expected {entry.sha256[:12]}; remove it")
    return path


def label(name: str, path: Path) -> str:
    """Name of the features for a table: with the digest where the registry does not pin one."""
    return name if REGISTRY[name].sha256 else f"{name} (sha256 {sha256(path)[:8]})"


def _fetch(name: str, entry: Weights, path: Path, again: bool) -> None:
    if entry.url is None:
        raise WeightsAbsent(f"{name}: put {entry.file} into weights_dir; {entry.source}")
    if offline():
        raise WeightsAbsent(f"{name}: {entry.file} is not in weights_dir, and LDDM_OFFLINE forbids fetching it")
    try:
        download(entry.url, path, again=again)
    except DownloadError as reason:
        raise WeightsAbsent(f"{name}: {entry.file} is not in weights_dir and cannot be fetched ({reason})") from reason
    logger.info("fetched %s into %s", name, path)


def state(name: str, weights_dir: str | Path) -> str:
    """absent, ok, damaged, unreadable, or the digest of a file whose publisher gives none; nothing is fetched."""
    entry = REGISTRY[name]
    path = Path(weights_dir) / entry.file
    try:
        if not path.is_file():
            return "absent"
        digest = sha256(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if entry.sha256 is None:
        return f"unpinned, sha256 {digest[:8]}"
    return "ok" if digest.startswith(entry.sha256) else f"damaged: sha256 {digest[:8]}, expected {entry.sha256[:8]}"
