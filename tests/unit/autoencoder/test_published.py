"""The networks and losses of the cINN release, and which weights of an adversarial training are kept."""

import pytest
import torch
from pydantic import ValidationError

from lddm.autoencoder.decoder import Decoded
from lddm.autoencoder.losses import r1_penalty
from lddm.autoencoder.model import Autoencoder
from lddm.autoencoder.published import (
    ActNorm,
    PublishedSpatialDiscriminator,
    PublishedTemporalDiscriminator,
)
from lddm.autoencoder.train import AutoencoderTask, ClipDataset, train_autoencoder
from lddm.autoencoder.validate import validation_error
from lddm.data.frames import fold_clips
from lddm.settings.models import AutoencoderSettings, Training
from lddm.training import update
from lddm.training.adamw import AdamW
from lddm.training.weights import count_parameters

PUBLISHED = AutoencoderSettings(
    decoder="spade",
    latent="vector",
    networks="published",
    width=4,
    decoder_width=4,
    vector_dim=6,
    adversarial_weight=1.0,
    adversarial_start=0,
    discriminator_width=4,
    discriminator_frames=5,
    discriminator_window=3,
    kl_reduction="sum",
    r1_form="batch_mean",
    training=Training(batch_size=2),
)


def test_sizes_are_those_of_the_release():
    """Parameters of the release at 128 pixels with colour: encoder 38.8 million, decoder 40.9 million."""
    with torch.device("meta"):
        settings = PUBLISHED.model_copy(update={"width": 64, "decoder_width": 32, "vector_dim": 64})
        model = Autoencoder(settings, 128, 16)
        hidden = model.encoder.stem(torch.empty(1, 1, 16, 128, 128))
        shapes = [tuple(hidden.shape[1:])]
        for stage in model.encoder.stages:
            hidden = stage(hidden)
            shapes.append(tuple(hidden.shape[1:]))
    assert shapes == [(64, 8, 64, 64), (64, 8, 32, 32), (128, 4, 16, 16), (256, 2, 8, 8), (512, 1, 4, 4)]
    assert count_parameters(model.encoder) == pytest.approx(38.8e6, rel=0.005)
    assert count_parameters(model.decoder) == pytest.approx(40.9e6, rel=0.005)


@pytest.mark.parametrize(("size", "frames"), [(32, 8), (64, 16)])
def test_autoencoder_and_discriminators_take_other_sizes(size, frames):
    torch.manual_seed(0)
    model = Autoencoder(PUBLISHED, size, frames)
    video = torch.rand(2, 1, frames + 1, size, size) * 2 - 1
    decoded, posterior = model(video, None, torch.Generator().manual_seed(0))
    assert decoded.frames.shape == (2, 1, frames, size, size) and posterior.mean.shape == (2, 6)
    decoded.frames.square().mean().backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not [name for name in still if not name.startswith("encoder.heads")], still
    logits, features = PublishedTemporalDiscriminator(4, size)(video[:, :, 1:])
    assert logits.shape == (2, 1) and len(features) == 4 and all(f.shape[3] >= 2 for f in features)
    assert PublishedSpatialDiscriminator(4)(video[:, :, 0]).shape[0] == 2


def test_the_first_batch_sets_actnorm_once():
    norm, rng = ActNorm(3), torch.Generator().manual_seed(0)
    batch = 2 + 3 * torch.randn(8, 3, 4, 4, generator=rng)
    out = norm(batch)
    assert torch.allclose(out.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(out.std(dim=(0, 2, 3)), torch.ones(3), atol=1e-4)
    assert torch.allclose(norm(batch + 1), out + norm.scale, atol=1e-4)


def test_r1_of_the_batch_mean_is_smaller_by_the_square_of_the_batch():
    clips = torch.rand(4, 1, 3, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    torch.manual_seed(0)
    network = PublishedTemporalDiscriminator(4, 32).eval()
    per_clip = r1_penalty(network(clips)[0], clips)
    batch_mean = r1_penalty(network(clips)[0], clips, "batch_mean")
    assert batch_mean.item() == pytest.approx(per_clip.item() / 16, rel=1e-4) and per_clip > 0
    batch_mean.backward()  # twice differentiable
    assert network.stem[0].weight.grad.abs().sum() > 0


def test_losses_of_the_release(tiny_store, monkeypatch):
    """KL is a sum, discriminators see so many frames and such windows, of real and decoded clips alike."""
    store, splits = tiny_store
    model = Autoencoder(PUBLISHED, store.size, store.clip_length)
    dataset = ClipDataset(store, fold_clips(store, splits, 0, "train"), None, torch.device("cpu"))
    task = AutoencoderTask(model, PUBLISHED, dataset, seed=0)
    seen = {"spatial": [], "temporal": []}
    for name, shapes in seen.items():
        task.networks[name].register_forward_pre_hook(lambda _, args, s=shapes: s.append(tuple(args[0].shape)))
    batch, rng = task.batch(0), torch.Generator().manual_seed(0)
    _, parts = task.loss("autoencoder", batch, 0, rng)
    assert parts["kl"].item() == pytest.approx(6 * model.encode(batch.video, batch.motion).kl().item(), rel=1e-5)
    for name in seen:
        task.loss(name, batch, 0, rng)
    side = store.size
    assert set(seen["spatial"]) == {(5, 1, side, side)} and set(seen["temporal"]) == {(2, 1, 3, side, side)}


@pytest.mark.parametrize(("own", "share"), [(None, 1.0), (2e-4, 0.2)])
def test_discriminators_may_learn_at_their_own_rate(tiny_store, tmp_path, monkeypatch, own, share):
    made, real = [], AdamW
    monkeypatch.setattr(update, "AdamW", lambda *args, **options: made.append(real(*args, **options)) or made[-1])
    training = Training(steps=2, batch_size=2, log_every=1, val_every=2, learning_rate=1e-3, warmup_steps=1)
    changes = {"networks": "small", "discriminator_learning_rate": own, "training": training}
    settings = PUBLISHED.model_copy(update=changes)
    train_autoencoder(settings, *tiny_store, 0, 1, tmp_path / "s", tmp_path / "m.safetensors", lambda *_: None)
    autoencoder, spatial, temporal = (optimizer.param_groups[0]["lr"] for optimizer in made)
    assert spatial == temporal == pytest.approx(share * autoencoder) and autoencoder > 0


def test_published_networks_are_of_vectors():
    with pytest.raises(ValidationError, match="networks 'published'"):
        AutoencoderSettings(networks="published")


class Decodes(torch.nn.Module):
    """Stands for an autoencoder: z is the clip itself, and `make` decodes it."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def encode(self, video, motion):
        return type("Posterior", (), {"mean": video})

    def decode(self, x0, video, fov_mask):
        return Decoded(self.make(x0, video[:, :, 1:]), None)


def test_the_choice_prefers_motion_and_sharpness_to_a_small_l1(tiny_store):
    """A blurred mean has the smaller L1; a sharp clip with the right motion that is a pixel off is chosen."""
    store, splits = tiny_store
    clips = fold_clips(store, splits, 0, "val")
    dataset = ClipDataset(store, clips, None, torch.device("cpu"))
    chosen = torch.arange(len(clips)).numpy()

    def error(make):
        def distance(real, fake):  # of horizontal differences: what blurring loses
            return (real.diff(dim=-1).abs().mean() - fake.diff(dim=-1).abs().mean()).abs()

        return validation_error(Decodes(make), dataset, chosen, 2, distance)

    repeated = error(lambda x0, real: x0[:, :, None].expand_as(real) * 0.999)
    blurred = error(lambda x0, real: real.mean(dim=2, keepdim=True).expand_as(real))
    shifted = error(lambda x0, real: real.roll(1, dims=-1))
    perfect = error(lambda x0, real: real)
    assert perfect["perceptual_motion"] == pytest.approx(0, abs=1e-5)
    assert repeated["motion_error"] == pytest.approx(1, abs=0.01)
    assert blurred["l1"] < shifted["l1"] and shifted["perceptual_motion"] < blurred["perceptual_motion"]
    assert {"l1", "l1_static"} == set(validation_error(Decodes(lambda x0, real: real), dataset, chosen, 2))
