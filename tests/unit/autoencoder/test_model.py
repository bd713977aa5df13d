"""Both kinds of autoencoder: shapes, what the code means, training, saving."""

import functools

import numpy as np
import pandas as pd
import pytest
import torch

from lddm.autoencoder.decoder import out_of_view
from lddm.autoencoder.discriminators import TemporalDiscriminator
from lddm.autoencoder.encode import encode_clips
from lddm.autoencoder.losses import r1_penalty
from lddm.autoencoder.model import Autoencoder
from lddm.autoencoder.train import AutoencoderTask, ClipDataset, train_autoencoder
from lddm.autoencoder.validate import CHOICE
from lddm.data.frames import fold_clips
from lddm.data.ranges import to_float
from lddm.errors import LddmError
from lddm.latent.dataset import LatentDataset, LatentSet
from lddm.motion.low_rank import MotionCode, measure_motion, svd_motion
from lddm.motion.warp import compose_motion
from lddm.settings.models import AutoencoderSettings, Training
from lddm.training.validation import spread_clips
from lddm.training.weights import count_parameters, save_weights

QUICK = Training(steps=6, batch_size=4, log_every=2, val_every=3, checkpoint_every=2, warmup_steps=1)
WARP = AutoencoderSettings(width=4, motion_rank=2, gain_rank=2, map_size=8, training=QUICK)
SPADE = AutoencoderSettings(decoder="spade", latent="vector", width=4, vector_dim=6, training=QUICK)
GRID = {"latent": "grid", "grid_channels": 3, "grid_frames": 2, "map_size": 8}
KINDS = {
    "warp-low_rank": WARP,
    "warp-vector": WARP.model_copy(update={"latent": "vector", "vector_dim": 6}),
    "warp-grid": WARP.model_copy(update=GRID),
    "spade-vector": SPADE,
    "spade-grid": SPADE.model_copy(update=GRID),
}
each_kind = pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)


def clips_of(store, splits, n=4):
    return store.clip_frames(fold_clips(store, splits, 0, "train").iloc[:n])


@each_kind
def test_shapes_and_range(tiny_store, settings):
    clips = clips_of(*tiny_store)
    model = Autoencoder(settings, 32, 8)
    video = to_float(torch.from_numpy(clips))[:, None]
    posterior = model.encode(video, model.measure(clips))
    assert posterior.mean.shape == posterior.logvar.shape == (4, model.spec.size)
    decoded = model.decode(video[:, :, 0], posterior.mean)
    assert decoded.frames.shape == (4, 1, 8, 32, 32)
    assert decoded.frames.abs().max() <= 1
    assert torch.isfinite(decoded.frames).all()


@each_kind
@pytest.mark.parametrize(("size", "frames"), [(64, 16), (48, 12), (32, 32)])
def test_other_sizes_and_lengths_follow_from_the_settings(settings, size, frames):
    settings = settings.model_copy(update={"map_size": size // 4, "grid_frames": frames // 4})
    clips = np.random.default_rng(0).integers(0, 255, (1, frames + 1, size, size), dtype=np.uint8)
    model = Autoencoder(settings, size, frames).eval()
    video = to_float(torch.from_numpy(clips))[:, None]
    with torch.no_grad():
        z = model.encode(video, model.measure(clips)).mean
        assert model.decode(video[:, :, 0], z).frames.shape == (1, 1, frames, size, size)


def test_an_untrained_warp_already_follows_the_motion(tiny_store):
    clips = clips_of(*tiny_store, n=8)
    model = Autoencoder(WARP, 32, 8).eval()
    video = to_float(torch.from_numpy(clips))[:, None]
    with torch.no_grad():
        decoded = model.decode(video[:, :, 0], model.encode(video, model.measure(clips)).mean).frames
    inner = (..., slice(6, -6), slice(6, -6))  # what enters at the border cannot be known from x0
    error = (decoded - video[:, :, 1:])[inner].abs().mean()
    still = (video[:, :, :1] - video[:, :, 1:])[inner].abs().mean()
    assert error < 0.5 * still


def test_z_has_motion_in_pixels_in_its_maps_and_coefficients_of_unit_size(tiny_store):
    clips = clips_of(*tiny_store)
    model = Autoencoder(WARP, 32, 8).eval()
    video, code = to_float(torch.from_numpy(clips))[:, None], model.measure(clips)
    posterior = model.encode(video, code)
    maps, rows = model.spec.split(posterior.mean)
    assert torch.allclose(maps[:, :4], code.maps.flatten(1, 2)) and torch.allclose(rows[:, :2], code.coefficients)
    assert torch.allclose(rows.square().mean(dim=2), torch.ones(rows.shape[:2]), atol=1e-3)
    # The noise of q is as wide in pixels in the coefficients as in the maps.
    in_maps, in_rows = model.spec.split((0.5 * posterior.logvar).exp())
    amplitude = code.maps.square().mean(dim=(2, 3, 4)).sqrt()[:, :, None]
    assert torch.allclose(in_rows[:, :2] * amplitude, in_maps[:, :2, 0, :1].expand_as(in_rows[:, :2]), rtol=1e-3)


def test_tissue_that_enters_is_that_of_x0_not_smeared():
    motion = torch.zeros(1, 1, 2, 8, 8)
    motion[:, :, 0] = 2.0  # each pixel comes from two rows further down: the last two rows have no source
    gone = out_of_view(torch.ones(1, 1, 8, 8, dtype=torch.bool), motion)[0, 0, 0]
    assert gone[:6].max() < 1e-6 and gone[6:].min() == 1
    torch.manual_seed(0)
    decoder = Autoencoder(WARP, 32, 8).decoder
    x0, z = torch.rand(1, 1, 32, 32) - 0.5, torch.zeros(1, decoder.inner.size)
    maps, rows = decoder.inner.split(z)
    maps[:, 0] = 4.0
    rows[:, 0] = 4.0 / 2**0.5  # the size of its map: the mean over both directions
    with torch.no_grad():
        frames = decoder(x0, z).frames[0, 0]
    assert torch.allclose(frames[:, -3:], x0[0, 0, -3:].expand(8, -1, -1), atol=1e-3)
    assert torch.allclose(
        frames[:, 8:20], x0[0, 0, 12:24].expand(8, -1, -1), atol=0.05
    )  # 2 % of new tissue before training


def test_black_stays_black_whatever_the_gain():
    torch.manual_seed(0)
    decoder = Autoencoder(WARP, 32, 8).decoder
    x0, z = torch.rand(1, 1, 32, 32) - 0.5, torch.randn(1, decoder.inner.size) * 1e-3
    x0[:, :, 10:22, 10:22] = -1.0
    with torch.no_grad():
        decoder.conv_out[-1].bias += 3.0
        frames = decoder(x0, z).frames[0, 0]
    assert (frames[:, 14:18, 14:18] + 1).abs().max() < 1e-3
    changed = (frames - x0[0, 0]).abs()[:, :10]
    assert changed.mean() > 0.05


def test_the_edge_of_a_fan_stays_while_its_tissue_slides():
    torch.manual_seed(0)
    decoder = Autoencoder(WARP, 32, 8).decoder
    place = torch.arange(32.0)
    fan = (place[:, None] < 26) & ((place - 15.5).abs() < 6 + 0.4 * place[:, None])
    tissue = torch.rand(1, 1, 32, 32)
    x0, z = torch.where(fan, tissue, -1.0), torch.zeros(1, decoder.inner.size)
    maps, rows = decoder.inner.split(z)
    maps[:, :2] = 3.0  # three pixels along both axes
    rows[:, 0] = 3.0
    with torch.no_grad():
        frames = decoder(x0, z).frames[0, 0]
    assert (frames[:, ~fan] == -1).all() and frames[:, fan].min() > -0.2
    inner = (slice(6, 20), slice(12, 20))
    assert torch.allclose(frames[0][inner], x0[0, 0, 9:23, 15:23], atol=0.1)


@pytest.mark.parametrize(("step", "share"), [(0, 1.0), (30, 0.5), (60, 0.0), (99, 0.0)])
def test_the_teacher_fades_over_the_first_part_of_the_run(tiny_store, motion_of, step, share):
    store, splits = tiny_store
    training = QUICK.model_copy(update={"steps": 100})
    settings = KINDS["warp-vector"].model_copy(update={"flow_supervision_weight": 0.5, "training": training})
    torch.manual_seed(0)
    model = Autoencoder(settings, 32, 8)
    reader = ClipDataset(store, fold_clips(store, splits, 0, "train"), motion_of(settings), torch.device("cpu"))
    losses = {}
    for weight in (0.5, 0.0):
        task = AutoencoderTask(model, settings.model_copy(update={"flow_supervision_weight": weight}), reader, 0)
        losses[weight], parts = task.loss("autoencoder", task.batch(0), step, torch.Generator().manual_seed(0))
        if weight:
            teacher = parts["teacher"]
    video, code, fov_mask = task.batch(0)
    decoded, _ = model(video, code, torch.Generator().manual_seed(0), fov_mask)
    assert teacher.item() == pytest.approx(
        (decoded.motion - compose_motion(code.maps, code.coefficients, 32)).abs().mean().item()
    )
    assert (losses[0.5] - losses[0.0]).item() == pytest.approx(0.5 * share * teacher.item(), abs=1e-5)


def test_checkpointing_changes_memory_only(tiny_store):
    video = to_float(torch.from_numpy(clips_of(*tiny_store, n=2)))[:, None]

    def gradient(checkpointing):
        torch.manual_seed(0)
        model = Autoencoder(SPADE.model_copy(update={"gradient_checkpointing": checkpointing}), 32, 8)
        decoded, _ = model(video, None, torch.Generator().manual_seed(0))
        decoded.frames.square().mean().backward()
        return model.decoder.seed.weight.grad

    assert torch.allclose(gradient(False), gradient(True), atol=1e-7)


def test_mirrored_clips_have_the_mirrored_code(tiny_store):
    clips = clips_of(*tiny_store)
    code = measure_motion(clips, 2, 8)
    mirrored = code.flip(torch.tensor([True] * len(clips)))
    motion, other = (compose_motion(each.maps, each.coefficients, 32) for each in (code, mirrored))
    assert torch.allclose(other[:, :, 0], motion[:, :, 0].flip(-1), atol=1e-5)
    assert torch.allclose(other[:, :, 1], -motion[:, :, 1].flip(-1), atol=1e-5)
    assert torch.equal(code.flip(torch.tensor([False] * len(clips))).maps, code.maps)


def test_the_code_of_a_mirrored_clip_is_the_mirrored_code():
    """Signs of the singular vectors included, for axial, shearing and lateral motion."""
    rng = np.random.default_rng(0)
    place, when = np.linspace(-1, 1, 32), np.sin(np.arange(1, 9) / 3)
    row, column = np.meshgrid(place, place, indexing="ij")
    fields = {
        "press": (1 + 0.3 * row, 0.2 * column),
        "shear": (column + 0.05 * row, 0.1 * row),  # no mean axial motion
        "strain": (row**3, -column),
        "slide": (0 * row, 1 + 0.2 * row),
    }
    for name, field in fields.items():
        flow = np.multiply.outer(when, np.stack(field))[None] + 1e-3 * rng.standard_normal((1, 8, 2, 32, 32))
        mirrored = flow[..., ::-1] * np.array([1, -1])[:, None, None]
        code, other = (MotionCode(*map(torch.from_numpy, svd_motion(each, 1, 8))) for each in (flow, mirrored))
        flipped = code.flip(torch.tensor([True]))
        assert torch.allclose(flipped.coefficients, other.coefficients, atol=0.05), name
        assert torch.allclose(flipped.maps, other.maps, atol=0.05), name


def test_the_r1_penalty_is_that_of_float32(tiny_store, motion_of):
    settings = WARP.model_copy(update={"adversarial_weight": 1.0, "adversarial_start": 0, "discriminator_width": 4})
    torch.manual_seed(0)
    model = Autoencoder(settings, 32, 8)
    reader = ClipDataset(
        tiny_store[0], fold_clips(*tiny_store, 0, "train").iloc[:4], motion_of(settings), torch.device("cpu")
    )
    task, rng = AutoencoderTask(model, settings, reader, 0), torch.Generator().manual_seed(0)
    task.loss("autoencoder", task.batch(0), 0, rng)
    for network in task.networks.values():
        network.eval()  # spectral norms stay as they are
    exact = task.loss("temporal", task.batch(0), 0, rng)[1]["r1"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(task.loss("temporal", task.batch(0), 0, rng)[1]["r1"], exact)


@pytest.mark.parametrize("kind", ["warp-low_rank", "spade-vector"])
def test_the_weight_of_reconstruction_and_the_width_of_the_decoder(tiny_store, motion_of, kind):
    settings = KINDS[kind].model_copy(update={"kl_weight": 0.0, "temporal_weight": 0.0, "decoder_width": 8})
    torch.manual_seed(0)
    model = Autoencoder(settings, 32, 8)
    narrow = Autoencoder(KINDS[kind], 32, 8)
    sizes = [[count_parameters(part) for part in (each.encoder, each.decoder)] for each in (narrow, model)]
    assert sizes[0][0] == sizes[1][0] and sizes[0][1] < sizes[1][1]
    reader = ClipDataset(
        tiny_store[0], fold_clips(*tiny_store, 0, "train").iloc[:4], motion_of(settings), torch.device("cpu")
    )
    ten = settings.model_copy(update={"reconstruction_weight": 10.0})
    losses = []
    for each in (settings, ten):
        task, rng = AutoencoderTask(model, each, reader, 0), torch.Generator().manual_seed(0)
        losses.append(task.loss("autoencoder", reader.read(np.arange(2)), 0, rng))
    assert losses[0][0].item() == pytest.approx(losses[0][1]["l1"].item())
    assert losses[1][0].item() == pytest.approx(10 * losses[0][0].item(), rel=1e-5)


def test_sizes_that_do_not_fit_are_named():
    with pytest.raises(LddmError, match="50"):
        Autoencoder(SPADE, 50, 8)
    with pytest.raises(LddmError, match="power of two"):
        Autoencoder(WARP, 48 - 8, 8)


@each_kind
def test_training_writes_weights_that_load_alone_and_latents_of_train_and_val_only(
    tiny_store, motion_of, tmp_path, settings
):
    store, splits = tiny_store
    lines = []
    out = tmp_path / "model.safetensors"
    kept = train_autoencoder(
        settings, store, splits, 0, 1, tmp_path / "state", out, lambda *line: lines.append(line), motion_of(settings)
    )
    assert [step for step, _ in lines] == [2, 4, 6]
    assert kept["l1_static"] > 0 and np.isfinite(kept["l1"])
    model = Autoencoder.load(out)
    assert model.settings == settings and not model.training
    latents_path = tmp_path / "latents.safetensors"
    assert encode_clips(out, store, splits, 0, latents_path, motion_of(settings)) == 60
    latents = LatentSet.load(latents_path)
    assert latents.spec == model.spec and not any("video-15" <= name for name in latents.clip)
    reader = LatentDataset(latents, store, True, torch.device("cpu"))
    assert len(reader) == 48
    z = reader.read(np.arange(48), torch.Generator().manual_seed(0))[1]
    assert z[:, : model.spec.size].mean(dim=0).abs().max() < 1e-3  # (the draw of the fit)
    first = fold_clips(store, splits, 0, "train")["first_frame"].iloc[0]
    begin, end = (to_float(torch.from_numpy(store.frames[i].copy())) for i in (first, first + store.clip_length))
    # as it is, backwards, mirrored, both
    x0, _, _ = reader.read(np.array([0, 12, 24, 36]), torch.Generator().manual_seed(0))
    for seen, expected in zip(x0[:, 0], (begin, end, begin.flip(-1), end.flip(-1)), strict=True):
        assert torch.allclose(seen, expected)


def test_a_clip_backwards_is_the_clip_of_its_frames_in_the_other_order(tiny_store, motion_of):
    store, splits = tiny_store
    clips = fold_clips(store, splits, 0, "train")
    reader = ClipDataset(store, clips, motion_of(WARP), torch.device("cpu"))
    index = np.arange(3)
    video, motion, _ = reader.read(index, None, np.array([True, False, True]))
    forward = reader.read(index).video
    assert torch.equal(video[0], forward[0].flip(1)) and torch.equal(video[1], forward[1])
    frames = store.clip_frames(clips.iloc[index]).copy()
    frames[[0, 2]] = frames[[0, 2], ::-1]
    expected = measure_motion(frames, WARP.motion_rank, WARP.map_size)
    assert torch.allclose(motion.maps, expected.maps) and torch.allclose(motion.coefficients, expected.coefficients)


def test_without_reversal_clips_run_forwards_only(tiny_store, motion_of, tmp_path):
    settings, out = WARP.model_copy(update={"time_reversal": False}), tmp_path / "model.safetensors"
    train_autoencoder(settings, *tiny_store, 0, 1, tmp_path / "state", out, lambda *_: None, motion_of(settings))
    assert encode_clips(out, *tiny_store, 0, tmp_path / "z.safetensors", motion_of(settings)) == 30
    assert not LatentSet.load(tmp_path / "z.safetensors").backward.any()


def test_a_hidden_label_reaches_no_latent(tiny_store, motion_of, tmp_path):
    store, splits = tiny_store
    out, names = tmp_path / "model.safetensors", ["video-01", "video-04"]
    train_autoencoder(WARP, store, splits, 0, 1, tmp_path / "state", out, lambda *_: None, motion_of(WARP))
    hidden = splits.assign(labelled=~splits["id"].isin(names))
    encode_clips(out, store, hidden, 0, tmp_path / "z.safetensors", motion_of(WARP))
    latents = LatentSet.load(tmp_path / "z.safetensors")
    given = [label for clip, label in zip(latents.clip, latents.label.tolist(), strict=True) if clip[:8] in names]
    assert given == [-1] * 8 and latents.label.tolist().count(-1) == 8
    guessed = pd.Series(1, index=sorted(set(latents.clip)))
    relabelled = latents.relabelled(guessed)
    assert relabelled.label[relabelled.train].tolist() == [1] * int(relabelled.train.sum())
    assert torch.equal(relabelled.label[~latents.train], latents.label[~latents.train])  # val labels are never guessed
    with pytest.raises(LddmError, match="pseudo_label"):
        latents.relabelled(guessed.drop(latents.clip[0]))


def test_adversarial_training_moves_all_networks(tiny_store, motion_of, tmp_path):
    settings = WARP.model_copy(update={"adversarial_weight": 0.1, "adversarial_start": 0, "discriminator_width": 4})
    lines = []
    train_autoencoder(
        settings,
        *tiny_store,
        0,
        1,
        tmp_path / "s",
        tmp_path / "m.safetensors",
        lambda _, values: lines.append(values),
        motion_of(settings),
    )
    names = set().union(*lines)
    assert {"spatial/loss", "temporal/loss", "r1", "feature_matching", "adversarial_time"} <= names


@pytest.mark.parametrize(("start", "step"), [(0, 6), (6, 3)])
def test_adversarial_training_keeps_what_is_best_by_perception_and_motion(
    tiny_store, tmp_path, caplog, monkeypatch, start, step
):
    """L1 would choose the blurred weights of the time before the adversarial losses set in."""
    values = iter([{"l1": 1.0, CHOICE: 2.0}, {"l1": 2.0, CHOICE: 1.0}, {"l1": 3.0, CHOICE: 3.0}])
    monkeypatch.setattr("lddm.autoencoder.train.validation_error", lambda *_: next(values))
    changes = {"adversarial_weight": 0.1, "adversarial_start": start, "discriminator_width": 4}
    settings = SPADE.model_copy(update=changes)
    with caplog.at_level("INFO"):
        train_autoencoder(settings, *tiny_store, 0, 1, tmp_path / "s", tmp_path / "m.safetensors", lambda *_: None)
    assert f"kept the weights of step {step}:" in caplog.text


def test_validation_clips_are_of_all_patients_and_videos():
    """Clips are sorted by video; the first 64 of them would be those of a few patients."""
    clips = pd.DataFrame(
        {"patient_id": f"p{p}", "id": f"v{p}-{v}", "clip": c}
        for p in range(22)
        for v in range(1 + p % 3)
        for c in range(16)
    )
    chosen = clips.iloc[spread_clips(clips, 64)]
    assert len(chosen) == 64 and chosen.groupby("patient_id").size().agg(["min", "max"]).tolist() == [2, 3]
    # The second clip of the 14 patients with more than one video is of another video; so is the third of those with
    # three, of whom one (p8) is not among the 20 patients that have a third clip.
    assert chosen["id"].nunique() == 22 + 14 + 6
    alone = clips[clips["id"] == "v0-0"]
    assert spread_clips(alone, 4).tolist() == [0, 4, 8, 12] and len(spread_clips(alone, 99)) == 16
    assert clips.iloc[spread_clips(clips, 3)]["patient_id"].nunique() == 22


@pytest.mark.parametrize("settings", [SPADE, WARP], ids=["spade", "warp"])
def test_an_autoencoder_is_compiled_as_one_graph(tiny_store, settings):
    """Tracing alone, without code generation."""
    clips = clips_of(*tiny_store, n=2)
    video = to_float(torch.from_numpy(clips))[:, None]
    torch.manual_seed(0)
    model = Autoencoder(settings, 32, 8)
    given = (video, model.measure(clips))
    eager = model(*given, torch.Generator().manual_seed(0))[0].frames
    graphs = []
    model.compile(backend=lambda graph, _: graphs.append(graph) or graph, fullgraph=True)
    assert torch.allclose(model(*given, torch.Generator().manual_seed(0))[0].frames, eager, atol=1e-5)
    assert len(graphs) == 1


def test_r1_works_where_networks_are_compiled():
    """It differentiates twice, which compiled networks do not support."""
    torch.manual_seed(0)
    network = TemporalDiscriminator(4, levels=2)
    network.compile(backend="aot_eager")
    real = torch.rand(2, 1, 4, 16, 16).requires_grad_()
    r1_penalty(network(real)[0], real).backward()
    assert sum(p.grad.abs().sum() for p in network.parameters() if p.grad is not None) > 0


@pytest.mark.slow
@pytest.mark.parametrize("settings", [WARP, SPADE], ids=["warp", "spade"])
def test_compiled_training_with_adversarial_losses(tiny_store, motion_of, tmp_path, monkeypatch, settings):
    """The same losses as without compilation. Tracing alone, without code generation."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    changes = {"adversarial_weight": 0.1, "adversarial_start": 1, "discriminator_width": 4, "r1_weight": 1.0}
    training = QUICK.model_copy(update={"steps": 2, "batch_size": 2, "log_every": 1})
    lines = {}
    for compiled in (False, True):
        training = training.model_copy(update={"compile": compiled})
        train_autoencoder(
            settings.model_copy(update=changes | {"training": training}), *tiny_store, 0, 1, tmp_path / "s",
            tmp_path / "m", lambda _, values, compiled=compiled: lines.setdefault(compiled, []).append(values),
            motion_of(settings),
        )  # fmt: skip
    assert lines[True][1]["r1"] > 0
    for name in ("autoencoder/loss", "temporal/loss", "r1"):
        assert lines[True][1][name] == pytest.approx(lines[False][1][name], rel=1e-3), name


def test_training_is_deterministic(tiny_store, motion_of, tmp_path):
    def run(name):
        out = tmp_path / f"{name}.safetensors"
        train_autoencoder(WARP, *tiny_store, 0, 1, tmp_path / name, out, lambda *_: None, motion_of(WARP))
        return Autoencoder.load(out).state_dict()

    first, second = run("a"), run("b")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_weights_of_a_decoder_that_adds_light_are_refused(tmp_path):
    model, path = Autoencoder(WARP, 32, 8), tmp_path / "model.safetensors"
    model.save(path)
    assert Autoencoder.load(path).settings == WARP
    about = {key: value for key, value in model.arguments().items() if key != "brightness"}
    save_weights(path, model, Autoencoder.kind, **about)
    with pytest.raises(LddmError, match="before 0.5.0"):
        Autoencoder.load(path)
