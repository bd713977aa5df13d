"""Ancestral sampling (sampler ddpm): moments, noise and unsupported models."""

import pytest
import torch

from lddm.errors import LddmError
from lddm.generators.diffusion.model import LatentDiffusion
from lddm.generators.diffusion.process import denoise, make_scheduler
from lddm.generators.sampling import SamplingOptions
from lddm.latent.spec import LatentSpec
from lddm.nn.condition import LabelSpec
from lddm.settings import build
from lddm.settings.models import DiffusionSettings

SPEC = LatentSpec("vector", 16, dim=6)
SETTINGS = DiffusionSettings(
    width=8, depth=1, prediction_type="epsilon", beta_schedule="linear", distillation=None, use_label=False
)
MEAN, STD = 1.5, 0.5


def ideal_noise(scheduler):
    """E[noise | z_t] for z_0 ~ N(`MEAN`, `STD`^2)."""

    def predict(z, timestep, conditioned):
        alpha = scheduler.alphas_cumprod[timestep].double()[:, None]
        return (1 - alpha).sqrt() * (z - alpha.sqrt() * MEAN) / (alpha * STD**2 + 1 - alpha)

    return predict


def exact_moments(scheduler, steps: int) -> tuple[float, float]:
    """Mean and standard deviation of the chain (Ho et al. 2020, eq. 6 and 7), which is linear in z_t, from N(0, 1)."""
    scheduler.set_timesteps(steps)
    mean, variance = 0.0, 1.0
    times = scheduler.timesteps.tolist()
    for now, after in zip(times, [*times[1:], None], strict=True):
        total = scheduler.alphas_cumprod[now].double().item()
        before = 1.0 if after is None else scheduler.alphas_cumprod[after].double().item()
        gain = STD**2 * total**0.5 / (total * STD**2 + 1 - total)  # of E[z_0 | z_t]
        beta = 1 - total / before
        to_clean = before**0.5 * beta / (1 - total)
        to_noisy = (total / before) ** 0.5 * (1 - before) / (1 - total)
        slope = to_clean * gain + to_noisy
        mean = slope * mean + to_clean * (MEAN - gain * total**0.5 * MEAN)
        variance = slope**2 * variance + (0.0 if after is None else (1 - before) / (1 - total) * beta)
    return mean, variance**0.5


@pytest.mark.parametrize(("steps", "bias"), [(20, 0.2), (1000, 0.01)])
def test_an_ideal_denoiser_yields_the_moments_of_the_exact_chain(steps, bias):
    """Few steps lose variance, as the chain itself does; a thousand have the data's."""
    scheduler = make_scheduler(SETTINGS, "ddpm")
    noise = torch.randn(20_000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    options = SamplingOptions("ddpm", steps)
    z = denoise(SETTINGS, options, noise, ideal_noise(scheduler), rng=torch.Generator().manual_seed(1))
    mean, std = exact_moments(scheduler, steps)
    assert z.mean().item() == pytest.approx(mean, abs=4 * STD / 200)
    assert z.std().item() == pytest.approx(std, rel=4 / 283)  # 40,000 numbers
    assert abs(std - STD) < bias and abs(mean - MEAN) < bias


def test_the_noise_of_a_video_does_not_depend_on_its_batch():
    torch.manual_seed(0)
    model = LatentDiffusion(SETTINGS, SPEC, 32, LabelSpec(2)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x0, label, options = torch.rand(3, 1, 32, 32), torch.zeros(3, dtype=torch.int64), SamplingOptions("ddpm", 5)

    def draw(*numbers: int):
        some = list(numbers)
        rngs = [torch.Generator().manual_seed(number) for number in some]
        return model.sample(x0[some], label[some], rngs, options)

    together = draw(0, 1, 2)
    assert torch.allclose(together[1], draw(1)[0], atol=1e-5)
    assert not torch.allclose(together[1], together[2], atol=1e-2)
    assert not torch.allclose(together, model.sample(x0, label, torch.Generator(), SamplingOptions("ddim", 5)))


def test_flow_matching_has_no_ancestral_sampler():
    straight = SETTINGS.model_copy(update={"prediction_type": "flow_prediction"})
    with pytest.raises(LddmError, match="flow_prediction"):
        make_scheduler(straight, "ddpm")
    raw = {"diffusion": {"prediction_type": "flow_prediction"}, "synthesis": {"sampler": "ddpm"}}
    with pytest.raises(LddmError, match="'ddpm' does not support diffusion.prediction_type"):
        build.load(raw)
    build.load(raw | {"diffusion": {}})
