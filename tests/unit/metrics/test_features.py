"""Feature networks: missing, downloaded and verified weights; EfficientNet-Lite0 frames; feature cache."""

import dataclasses
import json
import shutil
import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from lddm.cli import weights as weights_cli
from lddm.data.cache import ArrayCache
from lddm.files import sha256
from lddm.metrics import features, video_networks, weights
from lddm.metrics.weights import WeightsAbsent
from lddm.training import identity

RNG = np.random.default_rng(0)
CLIPS = RNG.integers(0, 255, (3, 17, 32, 32), dtype=np.uint8)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def test_absent_weights_are_a_reason(tmp_path):
    with pytest.raises(WeightsAbsent, match="not in weights_dir"):
        features.inception_frames(tmp_path)
    with pytest.raises(WeightsAbsent, match="put i3d_dtdb"):
        video_networks.exported(tmp_path, "i3d_dtdb", 16)
    with pytest.raises(WeightsAbsent, match="at least 9 frames"):
        video_networks.kinetics_i3d(tmp_path, 8)


def test_a_wrong_file_is_not_used(tmp_path):
    (tmp_path / weights.REGISTRY["inception_v3_fid"].file).write_bytes(b"something else")
    with pytest.raises(WeightsAbsent, match="expected 6726825d0af5"):
        features.inception_frames(tmp_path)


def test_a_failing_download_is_a_reason(tmp_path, monkeypatch):
    monkeypatch.delenv("LDDM_OFFLINE")
    entry = dataclasses.replace(weights.REGISTRY["vgg16"], url="http://127.0.0.1:9/none.pth")
    monkeypatch.setitem(weights.REGISTRY, "vgg16", entry)
    with pytest.raises(WeightsAbsent, match="cannot be fetched"):
        weights.find("vgg16", tmp_path)


def test_efficientnet_features_differ_between_clips():
    network = features.efficientnet_frames()
    assert network.label == "efficientnet_lite0, 2 frames a video"
    found = network.extract(CLIPS)
    assert found.shape == (6, 1280) and np.isfinite(found).all()
    assert np.abs(found[0] - found[2]).max() > 1e-3


def test_features_are_computed_once_for_the_same_videos_and_network(tmp_path):
    calls = []

    def network(digest):
        return features.FeatureNetwork("n", lambda clips: calls.append(1) or clips.mean(axis=(2, 3)), digest)

    first = network("a").features(CLIPS, ArrayCache(tmp_path))
    assert np.array_equal(network("a").features(CLIPS.copy(), ArrayCache(tmp_path)), first) and len(calls) == 1
    network("b").features(CLIPS, ArrayCache(tmp_path))  # other weights
    assert len(calls) == 2
    changed = CLIPS.copy()
    changed[1, 3, 5, 5] += 1
    assert not np.array_equal(network("a").features(changed, ArrayCache(tmp_path)), first) and len(calls) == 3
    for path in tmp_path.glob("*.npy"):
        path.write_bytes(b"half")
    assert np.array_equal(network("a").features(CLIPS, ArrayCache(tmp_path)), first) and len(calls) == 4


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A copy of the package whose files may be changed; call it after a change."""
    copied = tmp_path / "lddm"
    for package in ("metrics", "nn", "motion", "data"):
        shutil.copytree(identity.PACKAGE / package, copied / package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(identity, "PACKAGE", copied)
    yield copied
    features.code_of_measures.cache_clear()


@pytest.mark.parametrize("changed", ["metrics/features.py", "nn/perceptual.py", "data/ranges.py", "motion/flow.py"])
def test_features_of_changed_code_are_computed_again(sources, tmp_path, changed):
    """MEAN and STD of another module, or how frames are put into batches, change features as weights do."""
    network = features.FeatureNetwork("n", lambda clips: clips.mean(axis=(2, 3)), "a")
    for _ in range(2):
        features.code_of_measures.cache_clear()
        network.features(CLIPS, ArrayCache(tmp_path / "kept"))
    assert len(list((tmp_path / "kept").glob("*.npy"))) == 1
    with (sources / changed).open("a") as file:
        file.write("\nMEAN = 0.5\n")
    features.code_of_measures.cache_clear()
    network.features(CLIPS, ArrayCache(tmp_path / "kept"))
    dataclasses.replace(network, rows=2).features(CLIPS, ArrayCache(tmp_path / "kept"))
    assert len(list((tmp_path / "kept").glob("*.npy"))) == 3


def test_features_of_other_libraries_are_computed_again(monkeypatch):
    network, found = features.FeatureNetwork("n", lambda clips: clips, "a"), set()
    for versions in ("torch 1", "torch 2"):
        monkeypatch.setattr(features, "library_versions", lambda *_, said=versions: said)
        features.code_of_measures.cache_clear()
        found.add(network.content)
    features.code_of_measures.cache_clear()
    assert len(found) == 2
    real = json.loads(identity.library_versions(*features.LIBRARIES, "no-such-package"))
    assert real["cv2"] == cv2.__version__ and real["no-such-package"] == "absent"
    assert all(version[0].isdigit() for name, version in real.items() if name in ("numpy", "scipy", "torch", "timm"))


def test_the_command_lists_fetches_and_verifies_weights(tmp_path, monkeypatch):
    runner, folder = CliRunner(), ["--weights-dir", str(tmp_path / "w")]
    listed = runner.invoke(weights_cli.app, ["list", *folder])
    assert listed.exit_code == 0 and all(name in listed.output for name in weights.REGISTRY)
    assert "dl=1" in listed.output  # addresses are whole: who has no network here types them elsewhere
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
    assert damaged.exit_code == 1 and "damaged or unreadable: vgg16" in str(damaged.exception)
    unknown = runner.invoke(weights_cli.app, ["fetch", "vgg99", *folder])
    assert unknown.exit_code == 1 and "expected one of" in str(unknown.exception)
    by_hand = runner.invoke(weights_cli.app, ["fetch", "i3d_dtdb", *folder])
    assert by_hand.exit_code == 1 and "put i3d_dtdb" in str(by_hand.exception)
