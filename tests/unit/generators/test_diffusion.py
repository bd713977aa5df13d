"""Forward process against closed forms, samplers against diffusers, training and conditioning."""

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from safetensors import safe_open

from lddm.errors import LddmError
from lddm.generators.diffusion.model import LatentDiffusion
from lddm.generators.diffusion.process import add_noise, loss_weights, make_scheduler
from lddm.generators.diffusion.train import DiffusionTrainer
from lddm.generators.sampling import SamplingOptions
from lddm.latent.dataset import LatentDataset, LatentSet, save_latents
from lddm.latent.spec import LatentSpec
from lddm.latent.whitening import Whitening
from lddm.nn.condition import LabelSpec
from lddm.settings.models import DiffusionSettings, DistillationSettings, Training
from lddm.training.weights import load_weights, save_weights

VECTOR = LatentSpec("vector", frames=8, dim=5)
MAPS = LatentSpec("low_rank", frames=8, motion_rank=2, gain_rank=1, map_size=4)
GRID = LatentSpec("grid", frames=8, channels=3, grid_frames=2, map_size=4)
QUICK = Training(steps=4, batch_size=4, log_every=2, val_every=2, checkpoint_every=2, warmup_steps=1)
SMALL = DiffusionSettings(width=16, depth=1, distillation=None, training=QUICK)


def test_v_target_and_noise_recover_z():
    scheduler = make_scheduler(SMALL, "ddim")
    z, noise, t = torch.randn(3, 5), torch.randn(3, 5), torch.tensor([10, 500, 990])
    noisy, v = add_noise(scheduler, z, noise, t)
    alpha = scheduler.alphas_cumprod[t][:, None]
    assert torch.allclose(noisy, alpha.sqrt() * z + (1 - alpha).sqrt() * noise, atol=1e-5)
    assert torch.allclose(alpha.sqrt() * noisy - (1 - alpha).sqrt() * v, z, atol=1e-4)


def test_flow_matching_follows_the_straight_path_from_z_to_noise():
    scheduler = make_scheduler(SMALL.model_copy(update={"prediction_type": "flow_prediction"}), "ddim")
    z, noise, t = torch.randn(3, 5), torch.randn(3, 5), torch.tensor([0, 500, 1000])
    noisy, velocity = add_noise(scheduler, z, noise, t)
    sigma = torch.tensor([0.0, 0.5, 1.0])[:, None]
    assert torch.allclose(noisy, (1 - sigma) * z + sigma * noise) and torch.allclose(
        noisy - sigma * velocity, z, atol=1e-6
    )
    assert torch.equal(loss_weights(scheduler, t, 5.0), torch.ones(3))


def test_min_snr_weights():
    scheduler = make_scheduler(SMALL, "ddim")
    t = torch.tensor([0, 400, 999])
    alpha = scheduler.alphas_cumprod[t]
    snr = alpha / (1 - alpha)
    assert torch.allclose(loss_weights(scheduler, t, 5.0), torch.minimum(snr, torch.tensor(5.0)) / (snr + 1))
    assert torch.equal(loss_weights(scheduler, t, None), torch.ones(3))


@pytest.mark.parametrize("spec", [VECTOR, MAPS, GRID], ids=["vector", "low_rank", "grid"])
@pytest.mark.parametrize("sampler", ["ddim", "unipc"])
def test_samples_have_the_right_shape_and_are_reproducible(spec, sampler):
    torch.manual_seed(0)
    model = LatentDiffusion(SMALL, spec, 32, LabelSpec(2)).eval()
    for parameter in model.parameters():  # the gates start shut; open them
        torch.nn.init.normal_(parameter, std=0.1)
    x0, label = torch.rand(3, 1, 32, 32), torch.tensor([0, 1, -1])

    def draw(seed, **options):
        return model.sample(x0, label, torch.Generator().manual_seed(seed), SamplingOptions(sampler, 4, **options))

    first = draw(1)
    assert first.shape == (3, spec.size) and torch.isfinite(first).all()
    assert torch.equal(first, draw(1)) and not torch.equal(first, draw(2))
    guided = draw(1, guidance_scale=3.0)  # by the label: the last still has none
    assert not torch.equal(first[:2], guided[:2]) and torch.allclose(first[2], guided[2], atol=1e-4)
    assert not torch.allclose(draw(1, guidance_scale=3.0, guidance_target="image+label")[2], first[2], atol=1e-3)


def test_the_denoiser_alone_is_in_the_training_state(latents, tiny_store, tmp_path):
    """A frozen student beside it would double the optimiser, the average and the state on disk."""
    settings = SMALL.model_copy(
        update={"distillation": DistillationSettings(num_pairs=8, num_inference_steps=2, steps=2)}
    )

    def killed(step, _):
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        DiffusionTrainer.fit(settings, latents, tiny_store[0], 0, tmp_path / "s", tmp_path / "m", killed)
    with safe_open(tmp_path / "s/state.safetensors", framework="pt") as file:
        kept = {name.removeprefix("weights:lddm/") for name in file.keys() if name.startswith("weights:lddm/")}
    assert kept == set(LatentDiffusion(settings, MAPS, 32, LabelSpec(2)).denoiser.state_dict())


def test_validation_does_not_depend_on_how_many_latents_are_in_memory(latents, tiny_store, monkeypatch):
    reader = LatentDataset(latents, tiny_store[0], True, torch.device("cpu"))
    torch.manual_seed(0)
    model = LatentDiffusion(SMALL, MAPS, 32, LabelSpec(2))
    denoiser, trainer = model.denoiser.eval(), DiffusionTrainer(model, reader, reader, 0)
    largest = []
    denoiser.register_forward_pre_hook(lambda _, given: largest.append(len(given[0])))
    validate = torch.no_grad()(lambda: trainer.validate({"lddm": denoiser}))
    whole = validate()
    monkeypatch.setattr("lddm.generators.diffusion.train.VALIDATED", 5)
    parts = validate()
    assert max(largest[:8]) == 14 and max(largest[8:]) == 5
    assert parts["loss"] == pytest.approx(whole["loss"], rel=0.15)  # other noise


def test_the_covariance_of_white_maps_is_restored_for_the_denoiser():
    """Training latents that are one push of all cells: the coloured view of white noise is that push, at unit variance."""
    n, cells = 400, MAPS.map_size**2
    push = torch.randn(n, MAPS.map_channels, 1, generator=torch.Generator().manual_seed(0)).expand(-1, -1, cells)
    z = torch.cat([push.flatten(1), torch.randn(n, MAPS.coefficient_rows * MAPS.frames)], dim=1)
    model = LatentDiffusion(SMALL, MAPS, 32, LabelSpec(2))
    model.transform.whitening = Whitening.fit(MAPS, z)
    model.prepare(torch.zeros(2, 1, 32, 32), z[:2], torch.zeros(2, dtype=torch.long))
    white = torch.randn(n, MAPS.map_channels, MAPS.map_size, MAPS.map_size)
    coloured = model.denoiser._apply_cov_sqrt(white).flatten(2)
    assert coloured.square().mean().item() == pytest.approx(1.0, abs=0.1)
    assert coloured.std(dim=2).mean() < 0.2 * coloured.mean(dim=2).std()
    again = LatentDiffusion(SMALL, MAPS, 32, LabelSpec(2))
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.denoiser.cov_sqrt, model.denoiser.cov_sqrt)


def test_noise_prediction_does_not_amplify_samples():
    """At pure noise z is noise / 0: a network that is not exact must not be asked there."""
    model = LatentDiffusion(SMALL.model_copy(update={"prediction_type": "epsilon"}), VECTOR, 32, LabelSpec(0)).eval()
    x0, label = torch.zeros(100, 1, 32, 32), torch.zeros(100, dtype=torch.long)
    for sampler in ("ddim", "unipc"):
        z = model.sample(x0, label, torch.Generator().manual_seed(0), SamplingOptions(sampler, 10))
        assert z.std() < 30


class Ideal(torch.nn.Module):
    """The exact prediction for z ~ N(mean, std^2)."""

    def __init__(self, scheduler, mean, std, prediction="v_prediction"):
        super().__init__()
        self.scheduler, self.mean, self.std, self.prediction = scheduler, mean, std, prediction

    def condition(self, *_):
        return None, None

    def denoise(self, z, timestep, features, vector):
        if self.scheduler is None:  # flow matching: E[noise - clean | z]
            sigma = timestep[:, None] / 1000
            share = (z - (1 - sigma) * self.mean) / ((1 - sigma) ** 2 * self.std**2 + sigma**2)
            return sigma * share - (self.mean + (1 - sigma) * self.std**2 * share)
        alpha = self.scheduler.alphas_cumprod[timestep][:, None]
        variance = alpha * self.std**2 + 1 - alpha
        centred = z - alpha.sqrt() * self.mean
        noise = (1 - alpha).sqrt() * centred / variance
        clean = self.mean + alpha.sqrt() * self.std**2 * centred / variance
        return noise if self.prediction == "epsilon" else alpha.sqrt() * noise - (1 - alpha).sqrt() * clean


@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon", "flow_prediction"])
@pytest.mark.parametrize("sampler", ["ddim", "unipc"])
def test_an_ideal_denoiser_yields_the_true_distribution(sampler, prediction):
    settings = SMALL.model_copy(update={"prediction_type": prediction})
    model = LatentDiffusion(settings, VECTOR, 32, LabelSpec(0))
    mean = (
        0.0 if prediction == "epsilon" else 2.0
    )  # its steps begin a little short of pure noise, as white z would look
    model.denoiser = Ideal(
        None if prediction == "flow_prediction" else make_scheduler(SMALL, "ddim"), mean, 0.5, prediction
    )
    n = 4000
    z = model.sample(
        torch.zeros(n, 1, 32, 32),
        torch.zeros(n, dtype=torch.long),
        torch.Generator().manual_seed(0),
        SamplingOptions(sampler, 50),
    )
    assert z.mean().item() == pytest.approx(mean, abs=0.03)
    assert z.std().item() == pytest.approx(0.5, abs=0.03)


def test_ten_unipc_steps_are_more_accurate_than_ten_ddim_steps():
    """What few steps lose is variance: with an ideal denoiser of a Gaussian, DDIM loses some and UniPC nearly none."""
    model = LatentDiffusion(SMALL, VECTOR, 32, LabelSpec(0))
    model.denoiser = Ideal(make_scheduler(SMALL, "ddim"), mean=0.0, std=1.0)
    x0, label = torch.zeros(2000, 1, 32, 32), torch.zeros(2000, dtype=torch.long)
    z = {
        (sampler, steps): model.sample(x0, label, torch.Generator().manual_seed(0), SamplingOptions(sampler, steps))
        for sampler, steps in (("ddim", 500), ("ddim", 10), ("unipc", 10))
    }
    far, near = ((z[name, 10] - z["ddim", 500]).abs().mean().item() for name in ("ddim", "unipc"))
    assert near < 0.3 * far and z["ddim", 10].std() < 0.97
    assert z["unipc", 10].std().item() == pytest.approx(1.0, abs=0.03)


def test_our_loop_matches_ddim_of_diffusers_and_inverts_the_standardisation():
    torch.manual_seed(0)
    model = LatentDiffusion(SMALL, VECTOR, 32, LabelSpec(2)).eval()
    model.transform.whitening.shift += 3
    model.transform.whitening.scale *= 2
    x0, label = torch.rand(2, 1, 32, 32), torch.tensor([0, 1])
    ours = model.sample(x0, label, torch.Generator().manual_seed(5), SamplingOptions("ddim", 6))
    reference = DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
    )
    reference.set_timesteps(6)
    z = torch.randn(2, 5, generator=torch.Generator().manual_seed(5))
    for t in reference.timesteps:
        with torch.no_grad():
            z = reference.step(model.denoiser(z, t.expand(2), x0, label), t, z).prev_sample
    assert torch.allclose(ours, z * 2 + 3, atol=1e-5)


@pytest.fixture
def latents(tiny_store, tmp_path):
    """Random latents of the tiny experiment, 14 of them for training."""
    clips = tiny_store[0].clips["clip_id"].tolist()
    train = torch.arange(len(clips)) < 14
    mean = torch.randn(len(clips), MAPS.size, generator=torch.Generator().manual_seed(0)) * 3 + 1
    none = torch.zeros(len(clips), dtype=torch.bool)
    label = torch.arange(len(clips)) % 2
    save_latents(tmp_path / "z", MAPS, clips, mean, torch.full_like(mean, 0.1), none, none, label, train)
    return LatentSet.load(tmp_path / "z")


def test_a_trained_model_loads_without_further_files(latents, tiny_store, tmp_path):
    store, lines = tiny_store[0], []
    DiffusionTrainer.fit(SMALL, latents, store, 0, tmp_path / "s", tmp_path / "m", lambda *line: lines.append(line))
    assert [step for step, _ in lines] == [2, 4]
    assert {"lddm/loss", "val/loss", "val/mse_0"} <= set(lines[-1][1])
    model = LatentDiffusion.load(tmp_path / "m")
    assert torch.equal(model.transform.logarithms, latents.transform.logarithms) and model.settings == SMALL


def test_weights_of_another_version_raise_one_clear_error(tmp_path):
    model = LatentDiffusion(SMALL, VECTOR, 32, LabelSpec(2))
    model.save(tmp_path / "m")
    state, about = load_weights(tmp_path / "m", "generator:lddm")
    save_weights(tmp_path / "old", state, "generator:lddm", **about | {"settings": about["settings"] | {"gone": 1}})
    with pytest.raises(LddmError, match="old has settings that this version does not accept") as error:
        LatentDiffusion.load(tmp_path / "old")
    assert "train again" in error.value.hint
    save_weights(tmp_path / "less", {"transform.floor": state["transform.floor"]}, "generator:lddm", **about)
    with pytest.raises(LddmError, match="does not match the network"):
        LatentDiffusion.load(tmp_path / "less")
