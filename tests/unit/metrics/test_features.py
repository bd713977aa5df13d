"""Feature networks: loaded from files of the real form that the test makes, absent with a reason otherwise."""

import dataclasses
import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from lddm.cli import weights as weights_cli
from lddm.files import sha256
from lddm.metrics import features, paired, weights
from lddm.metrics.cache import FeatureCache
from lddm.metrics.weights import WeightsAbsent
from lddm.nn.perceptual import PerceptualLoss

RNG = np.random.default_rng(0)
CLIPS = RNG.integers(0, 255, (3, 17, 32, 32), dtype=np.uint8)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("LDDM_OFFLINE", "1")


def pin(monkeypatch, name, path):
    """Make the registry expect the file that the test made."""
    entry = dataclasses.replace(weights.REGISTRY[name], sha256=sha256(path)[:8])
    monkeypatch.setitem(weights.REGISTRY, name, entry)


def test_absent_weights_are_a_reason(tmp_path):
    with pytest.raises(WeightsAbsent, match="not in weights_dir"):
        features.inception_frames(tmp_path)
    with pytest.raises(WeightsAbsent, match="put i3d_dtdb"):
        features.i3d_videos(tmp_path, "i3d_dtdb", 16)
    with pytest.raises(WeightsAbsent, match="at least 9 frames"):
        features.i3d_videos(tmp_path, "i3d_kinetics400", 8)


def test_a_wrong_file_is_not_used(tmp_path):
    (tmp_path / weights.REGISTRY["inception_v3_fid"].file).write_bytes(b"something else")
    with pytest.raises(WeightsAbsent, match="expected 6726825d"):
        features.inception_frames(tmp_path)


def test_a_failing_download_is_a_reason(tmp_path, monkeypatch):
    monkeypatch.delenv("LDDM_OFFLINE")
    entry = dataclasses.replace(weights.REGISTRY["vgg16"], url="http://127.0.0.1:9/none.pth")
    monkeypatch.setitem(weights.REGISTRY, "vgg16", entry)
    with pytest.raises(WeightsAbsent, match="cannot be fetched"):
        weights.find("vgg16", tmp_path)


def test_inception_features_are_torch_fidelitys(tmp_path, monkeypatch):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    torch.manual_seed(0)
    monkeypatch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *_, **__: {})
    monkeypatch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
    random = FeatureExtractorInceptionV3("random", ["2048"])
    monkeypatch.undo()
    monkeypatch.setenv("LDDM_OFFLINE", "1")
    path = tmp_path / weights.REGISTRY["inception_v3_fid"].file
    torch.save(random.state_dict(), path)
    pin(monkeypatch, "inception_v3_fid", path)
    network = features.inception_frames(tmp_path)
    assert network.name == "inception_v3_fid" and network.digest == sha256(path)
    ours = network.extract(CLIPS)
    frames = torch.from_numpy(CLIPS[:, [8, 16]].reshape(-1, 1, 32, 32)).expand(-1, 3, -1, -1)
    with torch.no_grad():
        theirs = random(frames.contiguous())[0].double().numpy()
    assert ours.shape == (6, 2048) and np.allclose(ours, theirs, rtol=1e-4, atol=1e-5)


class Reference(torch.nn.Module):
    """Called like the I3D of StyleGAN-V."""

    def forward(self, x: torch.Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False):
        assert rescale and resize and return_features
        assert x.shape[1] == 3 and x.dtype == torch.float32
        return x.mean(dim=(3, 4)).flatten(1)


def test_i3d_gets_raw_grey_levels_of_frames_1_to_T(tmp_path):
    torch.jit.script(Reference()).save(str(tmp_path / weights.REGISTRY["i3d_kinetics400"].file))
    network = features.i3d_videos(tmp_path, "i3d_kinetics400", 16)
    assert network.name.startswith("i3d_kinetics400 (sha256 ")  # no published digest: the row says which file it was
    expected = np.tile(CLIPS[:, 1:].mean(axis=(2, 3)), 3)
    assert np.allclose(network.extract(CLIPS), expected, rtol=1e-5)
    (tmp_path / weights.REGISTRY["i3d_kinetics400"].file).write_bytes(b"no TorchScript")
    with pytest.raises(WeightsAbsent, match="not TorchScript"):
        features.i3d_videos(tmp_path, "i3d_kinetics400", 16)


class Pooled(torch.nn.Module):
    """Called like an I3D without its head: 1024 pooled features."""

    def forward(self, x: torch.Tensor):
        assert x.shape[1] == 3 and x.dtype == torch.float32
        return x.mean(dim=(1, 2)).flatten(1)


def test_dt_fvd_takes_1024_features_of_a_network_of_dynamic_textures(tmp_path):
    torch.jit.script(Pooled()).save(str(tmp_path / weights.REGISTRY["i3d_dtdb"].file))
    network = features.i3d_videos(tmp_path, "i3d_dtdb", 16)
    found = network.extract(CLIPS)
    assert found.shape == (3, 1024) and np.allclose(found, CLIPS[:, 1:].mean(axis=1).reshape(3, -1), rtol=1e-5)
    assert network.label.startswith("i3d_dtdb (sha256 ")


LPIPS = {"alex": ("alexnet", (64, 192, 384, 256, 256)), "vgg": ("vgg16", (64, 128, 256, 512, 512))}


def lpips_files(folder, monkeypatch, net):
    """Backbone and heads with random weights, where and as pyiqa expects them."""
    import torchvision

    torch.manual_seed(0)
    backbone, channels = LPIPS[net]
    network = getattr(torchvision.models, backbone)(weights=None).state_dict()
    heads = {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate(channels)}
    for name, state in ((backbone, network), (f"lpips_{net}", heads)):
        path = folder / weights.REGISTRY[name].file
        path.parent.mkdir(exist_ok=True)
        torch.save(state, path)
        pin(monkeypatch, name, path)


def test_lpips_from_files_in_weights_dir(tmp_path, monkeypatch):
    lpips_files(tmp_path, monkeypatch, "alex")
    # torch.hub compares the digest in the file's name only when it downloads; a local file is taken as it is.
    clips = RNG.integers(0, 255, (2, 17, 64, 64), dtype=np.uint8)
    measure = paired.lpips(tmp_path, "alex")
    assert np.allclose(measure(clips, clips), 0, atol=1e-6)
    assert (measure(clips, 255 - clips) > 0.01).all()


def test_the_perceptual_loss_is_lpips_where_its_weights_are(tmp_path, monkeypatch):
    assert isinstance(paired.perceptual_loss(tmp_path), PerceptualLoss)
    lpips_files(tmp_path, monkeypatch, "vgg")
    loss = paired.perceptual_loss(tmp_path)
    assert isinstance(loss, paired.LpipsLoss)
    real, fake = torch.rand(2, 1, 64, 64) * 2 - 1, (torch.rand(2, 1, 64, 64) * 2 - 1).requires_grad_()
    value = loss(real, fake)
    value.backward()
    assert value.item() > 0.01 and fake.grad.abs().max() > 0
    assert loss(real, real).item() == pytest.approx(0, abs=1e-6)
    assert not any(p.requires_grad for p in loss.parameters())
    measured = paired.lpips(tmp_path, "vgg")
    assert np.allclose(measured(CLIPS, CLIPS), 0, atol=1e-6)


def test_efficientnet_sees_a_difference():
    network = features.efficientnet_frames()
    assert network.label == "efficientnet_lite0, 2 frames a video"
    found = network.extract(CLIPS)
    assert found.shape == (6, 1280) and np.isfinite(found).all()
    assert np.abs(found[0] - found[2]).max() > 1e-3


def test_features_are_computed_once_for_the_same_videos_and_network(tmp_path):
    calls = []

    def network(digest):
        return features.FeatureNetwork("n", lambda clips: calls.append(1) or clips.mean(axis=(2, 3)), digest)

    first = FeatureCache(tmp_path).features(network("a"), CLIPS)
    assert np.array_equal(FeatureCache(tmp_path).features(network("a"), CLIPS.copy()), first) and len(calls) == 1
    FeatureCache(tmp_path).features(network("b"), CLIPS)  # other weights
    changed = CLIPS.copy()
    changed[1, 3, 5, 5] += 1
    assert not np.array_equal(FeatureCache(tmp_path).features(network("a"), changed), first) and len(calls) == 3
    for path in tmp_path.glob("*.npy"):
        path.write_bytes(b"half")
    assert np.array_equal(FeatureCache(tmp_path).features(network("a"), CLIPS), first) and len(calls) == 4


def test_the_command_lists_fetches_and_verifies_weights(tmp_path, monkeypatch):
    runner, folder = CliRunner(), ["--weights-dir", str(tmp_path / "w")]
    listed = runner.invoke(weights_cli.app, ["list", *folder])
    assert listed.exit_code == 0 and all(name in listed.output for name in weights.REGISTRY)
    assert "Apache-2.0" in listed.output and listed.output.count("absent") == len(weights.REGISTRY)

    published = tmp_path / "published.pth"
    published.write_bytes(b"weights")
    server = HTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/published.pth"
    entry = dataclasses.replace(weights.REGISTRY["vgg16"], url=url, sha256=sha256(published)[:8])
    monkeypatch.setitem(weights.REGISTRY, "vgg16", entry)
    monkeypatch.delenv("LDDM_OFFLINE")
    fetched = runner.invoke(weights_cli.app, ["fetch", "vgg16", *folder])
    server.shutdown()
    assert fetched.exit_code == 0 and (tmp_path / "w" / entry.file).read_bytes() == b"weights"
    assert "vgg16: ok" in runner.invoke(weights_cli.app, ["verify", *folder]).output
    (tmp_path / "w" / entry.file).write_bytes(b"broken")
    damaged = runner.invoke(weights_cli.app, ["verify", "vgg16", *folder])
    assert damaged.exit_code == 1 and "damaged: vgg16" in str(damaged.exception)
    unknown = runner.invoke(weights_cli.app, ["fetch", "vgg99", *folder])
    assert unknown.exit_code == 1 and "expected one of" in str(unknown.exception)
    by_hand = runner.invoke(weights_cli.app, ["fetch", "i3d_dtdb", *folder])
    assert by_hand.exit_code == 1 and "put i3d_dtdb" in str(by_hand.exception)
