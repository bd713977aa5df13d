"""Loaders of pretrained networks, with random weights in the real file formats, against independent code."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

from lddm.files import sha256
from lddm.metrics import features, no_reference, paired, video_networks, weights
from lddm.metrics.distances import frechet
from lddm.metrics.weights import WeightsAbsent
from lddm.nn.perceptual import MEAN, STD, PerceptualLoss, efficientnet_lite0
from tests.unit.metrics.i3d import I3d, Pooled

RNG = np.random.default_rng(0)


def smooth_clips(count, frames=17, side=48):
    """Clips that hold low frequencies only, since resizes differ by more on white noise than on any image."""
    coarse = RNG.integers(0, 255, (count, frames, 12, 12), dtype=np.uint8)
    return np.stack([[cv2.resize(f, (side, side), interpolation=cv2.INTER_CUBIC) for f in clip] for clip in coarse])


def pin(monkeypatch, name, path):
    """Make the registry expect the file that the test made."""
    entry = dataclasses.replace(weights.REGISTRY[name], sha256=sha256(path))
    monkeypatch.setitem(weights.REGISTRY, name, entry)


def put(folder, monkeypatch, name, content, pinned=True):
    path = folder / weights.REGISTRY[name].file
    path.parent.mkdir(exist_ok=True)
    torch.save(content, path)
    if pinned:
        pin(monkeypatch, name, path)
    return path


def apart(first, second):
    """Largest difference, as a share of the largest value."""
    return np.abs(first - second).max() / np.abs(second).max()


def like_tensorflow_1(frames, side):
    """Bilinear resize as the original FID code does it: pixels stand at their upper left corners."""
    for axis in (1, 2):
        at = np.arange(side) * frames.shape[axis] / side
        low = at.astype(int)
        high = np.minimum(low + 1, frames.shape[axis] - 1)
        share = (at - low).reshape(-1, 1) if axis == 1 else at - low
        frames = frames.take(low, axis) * (1 - share) + frames.take(high, axis) * share
    return frames


def test_inception_is_that_of_pytorch_fid_with_the_resize_of_the_original_code(tmp_path, monkeypatch):
    from pyiqa.archs import inception as pytorch_fid  # a copy of that package's file

    monkeypatch.setattr(pytorch_fid, "load_pretrained_network", lambda network, url: None)
    torch.manual_seed(0)
    random = pytorch_fid.fid_inception_v3()
    for module in random.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1), module.running_var.uniform_(0.5, 1.5)
        elif isinstance(module, nn.Conv2d):  # as it is, the features would hardly depend on the frame
            nn.init.kaiming_normal_(module.weight)
    path = put(tmp_path, monkeypatch, "inception_v3_fid", random.state_dict())
    monkeypatch.setattr(
        pytorch_fid, "load_pretrained_network", lambda network, url: network.load_state_dict(torch.load(path))
    )
    peer = pytorch_fid.InceptionV3().eval()

    def theirs(resized):
        x = torch.from_numpy(((resized - 128) / 128).astype(np.float32))[:, None].expand(-1, 3, -1, -1)
        with torch.no_grad():
            return peer(x)[0].double().numpy().reshape(len(resized), -1)

    clips = smooth_clips(3)
    network = features.inception_frames(tmp_path)
    assert network.name == "inception_v3_fid" and network.digest == sha256(path)
    ours = network.extract(clips)
    frames = clips[:, [8, 16]].reshape(-1, 48, 48)
    assert ours.shape == (6, 2048) and apart(ours, theirs(like_tensorflow_1(frames.astype(float), 299))) < 1e-4
    # What docs/method/evaluation.md says of the others: their resizes give other features.
    half_pixel = [cv2.resize(f.astype(np.float32), (299, 299), interpolation=cv2.INTER_LINEAR) for f in frames]
    clean = [np.asarray(Image.fromarray(f.astype(np.float32)).resize((299, 299), Image.BICUBIC)) for f in frames]
    assert apart(ours, theirs(np.stack(half_pixel))) > 1e-3 and apart(ours, theirs(np.stack(clean))) > 1e-3


def test_fvd_is_that_of_the_exported_i3d_on_clips_prepared_by_other_code(tmp_path, monkeypatch):
    torch.manual_seed(0)
    network = I3d().eval()
    path = tmp_path / weights.REGISTRY["i3d_kinetics400"].file
    torch.jit.script(network).save(str(path))
    pin(monkeypatch, "i3d_kinetics400", path)
    clips = smooth_clips(4, 11)
    ours = video_networks.kinetics_i3d(tmp_path, 10).extract(clips)
    # What its users have to hand over where it does not resize and rescale itself: 224 pixels, -1 to 1.
    films = [[cv2.resize(f.astype(np.float32), (224, 224)) / 127.5 - 1 for f in clip[1:]] for clip in clips]
    with torch.no_grad():
        video = torch.from_numpy(np.asarray(films))[:, None].expand(-1, 3, -1, -1, -1)
        theirs = network(video, return_features=True).double().numpy()
    assert ours.shape == (4, 400) and theirs.std(axis=0).max() > 0.01 * np.abs(theirs).max()
    assert apart(ours, theirs) < 1e-3
    assert frechet(ours[:2], ours[2:]) == pytest.approx(frechet(theirs[:2], theirs[2:]), rel=1e-3)


def test_nine_frames_are_the_fewest_that_an_i3d_takes(tmp_path):
    with torch.device("meta"), torch.no_grad(), pytest.raises(RuntimeError, match="smaller than kernel size"):
        I3d().eval()(torch.zeros(1, 3, video_networks.I3D_SHORTEST - 1, 224, 224))
    with pytest.raises(WeightsAbsent, match="at least 9 frames"):
        video_networks.kinetics_i3d(tmp_path, video_networks.I3D_SHORTEST - 1)


def test_a_file_that_is_not_an_i3d_is_a_reason(tmp_path, monkeypatch):
    kinetics, textures = (tmp_path / weights.REGISTRY[name].file for name in ("i3d_kinetics400", "i3d_dtdb"))
    kinetics.write_bytes(b"no TorchScript")
    with pytest.raises(WeightsAbsent, match="expected bec6519f66ea"):
        video_networks.kinetics_i3d(tmp_path, 16)
    textures.write_bytes(b"no TorchScript")
    with pytest.raises(WeightsAbsent, match="not TorchScript"):
        video_networks.exported(tmp_path, "i3d_dtdb", 16)
    torch.jit.script(nn.Flatten()).save(str(textures))
    with pytest.raises(WeightsAbsent, match=r"gives \(1, 196608\) for one clip, expected \(1, 1024\)"):
        video_networks.exported(tmp_path, "i3d_dtdb", 16)
    torch.jit.script(nn.Conv2d(3, 4, 3)).save(str(textures))
    with pytest.raises(WeightsAbsent, match="cannot be called as this network"):
        video_networks.exported(tmp_path, "i3d_dtdb", 16)


def test_dt_fvd_takes_1024_features_of_a_network_of_dynamic_textures(tmp_path):
    torch.manual_seed(0)
    network = Pooled().eval()
    torch.jit.script(network).save(str(tmp_path / weights.REGISTRY["i3d_dtdb"].file))
    ours, clips = video_networks.exported(tmp_path, "i3d_dtdb", 16), smooth_clips(2)
    found = ours.extract(clips)
    with torch.no_grad():
        video = torch.from_numpy(clips[:, None, 1:].astype(np.float32)).expand(-1, 3, -1, -1, -1)
        theirs = network(video).double().numpy()
    assert found.shape == (2, 1024) and apart(found, theirs) < 1e-4
    assert ours.label.startswith("i3d_dtdb (sha256 ")  # no published digest: the row says which file it was


LPIPS = {"alex": ("alexnet", (64, 192, 384, 256, 256)), "vgg": ("vgg16", (64, 128, 256, 512, 512))}
ALEX_LEVELS = (2, 5, 8, 10, 12)  # torchvision's features up to each ReLU that LPIPS reads


def lpips_files(folder, monkeypatch, net):
    """Backbone and heads with random weights, where and as pyiqa expects them."""
    torch.manual_seed(0)
    backbone, channels = LPIPS[net]
    network = getattr(torchvision.models, backbone)(weights=None).eval()
    heads = {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate(channels)}
    put(folder, monkeypatch, backbone, network.state_dict())
    put(folder, monkeypatch, f"lpips_{net}", heads)
    return network, heads


def test_a_damaged_or_foreign_file_of_lpips_is_a_reason(tmp_path, monkeypatch):
    lpips_files(tmp_path, monkeypatch, "alex")
    put(tmp_path, monkeypatch, "lpips_alex", {"lin0.model.1.weight": torch.rand(1, 3, 1, 1)})
    with pytest.raises(WeightsAbsent, match="of another network"):
        paired.lpips(tmp_path, "alex")
    put(tmp_path, monkeypatch, "alexnet", I3d)  # a class, which must not be unpickled
    with pytest.raises(WeightsAbsent, match="cannot be read"):
        paired.lpips(tmp_path, "alex")


def test_dists_matches_pyiqa(tmp_path, monkeypatch):
    from pyiqa.archs import dists_arch as peer

    network, _ = lpips_files(tmp_path, monkeypatch, "vgg")
    weights = {name: torch.rand(1, 1475, 1, 1) for name in ("alpha", "beta")}
    put(tmp_path, monkeypatch, "dists", weights)
    monkeypatch.setattr(peer.models, "vgg16", lambda weights: network)
    published = peer.DISTS(pretrained=False).eval()
    published.load_state_dict(weights, strict=False)
    real, fake = smooth_clips(2, side=64), smooth_clips(2, side=64)
    with torch.no_grad():
        expected = published(as_rgb(real) / 255, as_rgb(fake) / 255).reshape(2, 2).mean(dim=1)
    measure = paired.dists(tmp_path)
    assert np.allclose(measure(real, fake), expected.numpy(), atol=1e-5) and (expected > 0.01).all()
    assert np.allclose(measure(real, real), 0, atol=1e-5)


def test_tlpips_compares_steps_with_those_of_the_real_video(tmp_path, monkeypatch):
    lpips_files(tmp_path, monkeypatch, "alex")
    measure, steps = paired.tlpips(tmp_path), paired.lpips_network(tmp_path, "alex")
    real, fake = smooth_clips(3, frames=4, side=64), smooth_clips(3, frames=4, side=64)
    frozen = np.repeat(real[:, :1], 4, axis=1)

    def of(clip):
        frames = torch.from_numpy(clip / np.float32(127.5) - 1)[:, None].expand(-1, 3, -1, -1)
        return steps(frames[:-1], frames[1:])

    with torch.no_grad():
        expected = [float((of(a) - of(b)).abs().mean()) for a, b in zip(real, fake, strict=True)]
    assert np.allclose(measure(real, fake), expected, rtol=1e-4)
    assert np.allclose(measure(real, real), 0) and (measure(real, frozen) > 0.01).all()
    assert np.allclose(measure(real, real[:, :, :, ::-1].copy()), measure(real[:, :, :, ::-1].copy(), real))


def as_rgb(clips):
    return torch.from_numpy(clips[:, [8, 16]].reshape(-1, 1, *clips.shape[2:])).expand(-1, 3, -1, -1).contiguous()


def test_lpips_alex_matches_its_definition(tmp_path, monkeypatch):
    network, heads = lpips_files(tmp_path, monkeypatch, "alex")
    real, fake = smooth_clips(2, side=64), smooth_clips(2, side=64)
    measure = paired.lpips(tmp_path, "alex")
    shift, scale = (torch.tensor(v).reshape(1, 3, 1, 1) for v in ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]))

    def levels(clips):
        x = (as_rgb(clips) / 127.5 - 1 - shift) / scale
        for place, layer in enumerate(network.features[: ALEX_LEVELS[-1]], start=1):
            x = layer(x)
            if place in ALEX_LEVELS:
                yield x / x.norm(dim=1, keepdim=True)

    with torch.no_grad():
        pairs = zip(levels(real), levels(fake), heads.values(), strict=True)
        expected = sum(((a - b).square() * head[0]).sum(dim=1).mean(dim=(1, 2)) for a, b, head in pairs)
    assert np.allclose(measure(real, fake), expected.reshape(2, 2).mean(dim=1).numpy(), rtol=1e-4)
    assert np.allclose(measure(real, real), 0, atol=1e-6)


def test_lpips_vgg_matches_torch_fidelity_and_is_the_perceptual_loss(tmp_path, monkeypatch):
    from torch_fidelity import sample_similarity_lpips as peer

    assert isinstance(paired.perceptual_loss(tmp_path), PerceptualLoss)
    network, heads = lpips_files(tmp_path, monkeypatch, "vgg")
    monkeypatch.setattr(peer, "torchvision_load_pretrained_vgg16", lambda: network)
    monkeypatch.setattr(peer, "load_state_dict_from_url", lambda *_, **__: heads)
    real, fake = smooth_clips(2, side=64), smooth_clips(2, side=64)
    expected = peer.SampleSimilarityLPIPS("lpips")(as_rgb(real), as_rgb(fake)).reshape(2, 2).mean(dim=1)
    ours = paired.lpips(tmp_path, "vgg")(real, fake)
    assert np.allclose(ours, expected.numpy(), rtol=1e-4) and (ours > 0.01).all()

    loss = paired.perceptual_loss(tmp_path)
    assert isinstance(loss, paired.LpipsLoss)
    frames, fake = torch.rand(2, 1, 64, 64) * 2 - 1, (torch.rand(2, 1, 64, 64) * 2 - 1).requires_grad_()
    value = loss(frames, fake)
    value.backward()
    assert value.item() > 0.01 and fake.grad.abs().max() > 0
    assert loss(frames, frames).item() == pytest.approx(0, abs=1e-6)
    assert not any(p.requires_grad for p in loss.parameters())


def test_brisque_uses_the_support_vectors_of_its_file_and_unpickles_nothing_else(tmp_path, monkeypatch):
    clips = smooth_clips(2, side=64)
    vectors = RNG.normal(size=(5, 36)).astype(np.float32)
    put(tmp_path, monkeypatch, "brisque", (torch.zeros(5, 1), torch.from_numpy(vectors)), pinned=False)
    assert np.allclose(no_reference.brisque(tmp_path, clips), 153.591)  # -rho of the published machine
    put(tmp_path, monkeypatch, "brisque", (torch.ones(5, 1), torch.from_numpy(0.1 * vectors)), pinned=False)
    noisy = np.clip(clips + RNG.normal(0, 30, clips.shape), 0, 255).astype(np.uint8)
    assert (np.abs(no_reference.brisque(tmp_path, clips) - no_reference.brisque(tmp_path, noisy)) > 0.01).all()
    put(tmp_path, monkeypatch, "brisque", I3d, pinned=False)  # a class: whoever unpickles it imports its module
    with pytest.raises(WeightsAbsent, match="more than tensors"):
        no_reference.brisque(tmp_path, clips)


@pytest.mark.parametrize(("photo", "classes"), [("china.jpg", {698}), ("flower.jpg", {985})])  # palace, daisy
def test_efficientnet_loads_its_weights_into_the_right_layers(photo, classes):
    """Tensors are matched by order, so a permutation of equal shapes would pass the loader's own check."""
    from sklearn.datasets import load_sample_image

    square = cv2.resize(load_sample_image(photo)[:, 106:533], (224, 224), interpolation=cv2.INTER_AREA)
    x = (torch.from_numpy(square).permute(2, 0, 1)[None] / 255 - MEAN) / STD
    with torch.no_grad():
        assert efficientnet_lite0()(x).argmax().item() in classes
