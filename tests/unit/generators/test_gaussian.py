"""The conditional Gaussian recovers a planted linear dependence, mean and variance, also with few latents."""

from dataclasses import dataclass

import pytest
import torch
from torch.nn import functional as F

from lddm.errors import LddmError
from lddm.generators.gaussian import ConditionalGaussian, fit_gaussian
from lddm.generators.sampling import SamplingOptions
from lddm.latent.dataset import LatentSet, save_latents
from lddm.latent.spec import LatentSpec
from lddm.latent.transform import LatentTransform
from lddm.nn.condition import LabelSpec
from lddm.settings import build
from lddm.settings.models import GaussianSettings

VECTOR = LatentSpec("vector", frames=8, dim=6)
KINDS = {
    "low_rank": LatentSpec("low_rank", frames=8, motion_rank=1, gain_rank=1, map_size=4),
    "vector": VECTOR,
    "grid": LatentSpec("grid", frames=8, map_size=4, channels=2, grid_frames=2),
}
GRID = GaussianSettings(grid=4)
ROOT = torch.tril(torch.randn(6, 6, generator=torch.Generator().manual_seed(7))) + torch.eye(6)
OPTIONS = SamplingOptions()


def draw(model, x0, label, seed=0):
    return model.sample(x0, torch.as_tensor(label), torch.Generator().manual_seed(seed), OPTIONS)


@dataclass
class Part:
    """Latents as `LatentDataset` has them."""

    x0: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor
    label: torch.Tensor
    transform: LatentTransform | None = None

    def __len__(self):
        return len(self.mean)

    def read(self, index, rng):
        z = self.mean + self.std * torch.randn(self.mean.shape, generator=rng)
        return self.x0[index], self.transform(z)[index], self.label[index]


def part(count, seed, unlabelled=0.0, std=0.0):
    """Latents z = 3 brightness of the upper left quarter + 2 (label) e_1 + noise of covariance ROOT ROOT'."""
    rng = torch.Generator().manual_seed(seed)
    x0 = F.interpolate(2 * torch.rand(count, 1, 2, 2, generator=rng) - 1, scale_factor=8)
    label = torch.randint(2, (count,), generator=rng)
    z = torch.randn(count, 6, generator=rng) @ ROOT.T + mean_of(x0, label)
    hidden = torch.rand(count, generator=rng) < unlabelled
    return Part(x0=x0, mean=z, std=torch.full_like(z, std), label=label.masked_fill(hidden, -1))


def mean_of(x0, label):
    return 10 + 3 * x0[:, :, 0, 0] + F.one_hot(torch.ones_like(label), 6) * 4 * label[:, None]


def fitted(train, spec=VECTOR, settings=GRID, val=None, size=16):
    model = ConditionalGaussian(settings, spec, size, LabelSpec(2))
    model.transform = LatentTransform.fit(spec, train.mean, train.std)
    val = val or part(200, 1)
    train.transform = val.transform = model.transform
    return model, model.fit(train, val)


@pytest.fixture(scope="module")
def planted():
    return fitted(part(2000, 0))


def test_the_fit_finds_a_linear_dependence_and_the_covariance_of_the_rest(planted):
    model, values = planted
    x0, label = part(300, 2).x0, torch.arange(300) % 2
    predicted = model.transform.invert(model.predict(x0, label))
    assert (predicted - mean_of(x0, label)).abs().max() < 0.5
    still = x0[:1].expand(20000, -1, -1, -1)
    z = draw(model, still, torch.ones(20000, dtype=torch.int64))
    assert torch.allclose(torch.cov(z.T), ROOT @ ROOT.T, atol=0.35)
    assert values["val/error"] < 0.8 * values["val/error_of_mean"] and values["penalty"] < 1


def test_pure_noise_gives_no_dependence():
    train, val = part(300, 0), part(200, 1)
    for latents in (train, val):  # other stills than those of the latents
        latents.x0 = latents.x0.flip(0)
        latents.mean[:, 0] = torch.randn(len(latents.mean), generator=torch.Generator().manual_seed(len(latents.mean)))
    assert fitted(train, val=val)[1]["penalty"] >= 1


@pytest.mark.parametrize("std", [0.0, 1.0])
def test_samples_have_mean_and_variance_of_training_latents_and_of_their_posteriors(std):
    train = part(150, 0, std=std)
    model, _ = fitted(train)
    z = draw(model, train.x0.repeat(200, 1, 1, 1), train.label.repeat(200))
    real = train.mean + std * torch.randn(
        train.mean.shape, generator=torch.Generator().manual_seed(0)
    )  # (the draw of the fit)
    variance = real.var(dim=0, correction=0)
    assert torch.allclose(z.var(dim=0) / variance, torch.ones(6), atol=0.05)
    assert ((z.mean(dim=0) - real.mean(dim=0)).abs() < 0.05 * variance.sqrt()).all()


def test_each_principal_axis_keeps_its_variance_with_fewer_latents_than_dimensions():
    spec, rng = KINDS["low_rank"], torch.Generator().manual_seed(0)
    sizes = 10 ** torch.linspace(0, -1.5, spec.size)  # axes of very different size

    def few(count):
        z = torch.randn(count, spec.size, generator=rng) * sizes
        z[:, 16:32] = z[:, 32:48] = z[:, :16]  # the three maps are alike
        label = torch.arange(count) % 2
        return Part(x0=torch.rand(count, 1, 16, 16, generator=rng), mean=z, std=0 * z, label=label)

    train = few(40)
    assert spec.size == 64
    model, values = fitted(train, spec, val=few(20))
    assert 0 < values["shrinkage"] < 1
    count = 500 * len(train)
    noise = torch.randn(count, spec.normalised_size, generator=rng)
    drawn = model.predict(train.x0.repeat(500, 1, 1, 1), train.label.repeat(500)) + noise @ model.factor.T
    axes = torch.from_numpy(model._axes()).float()
    ratio = (drawn @ axes).var(dim=0) / (model.transform(train.mean) @ axes).var(dim=0, correction=0)
    assert ratio.min() > 0.95 and ratio.max() < 1.05


def test_the_label_shifts_the_mean_and_unknown_labels_are_sampled(planted):
    model, _ = planted
    x0 = part(1, 3).x0.expand(4000, -1, -1, -1)
    benign, malignant, unknown = (draw(model, x0, torch.full((4000,), label)) for label in (0, 1, -1))
    assert (malignant - benign)[:, 1].mean().item() == pytest.approx(4, abs=0.2)
    assert unknown[:, 1].mean().item() == pytest.approx((malignant + benign)[:, 1].mean().item() / 2, abs=0.3)
    one = (unknown - benign)[:, 1].abs() < 1e-4  # the noise is the same, the label differs
    assert 0.4 < one.float().mean() < 0.6
    ignorant, _ = fitted(part(300, 0), settings=GaussianSettings(grid=4, use_label=False))
    either = ignorant.predict(x0[:2], torch.tensor([0, 1]))
    assert torch.allclose(either[0], either[1], atol=1e-5)


def test_latents_without_labels_contribute_to_all_but_the_label_means():
    some, _ = fitted(part(2000, 0, unlabelled=0.9))
    x0 = part(1, 3).x0
    effect = some.transform.invert(some.predict(x0, torch.tensor([1]))) - some.transform.invert(
        some.predict(x0, torch.tensor([0]))
    )
    assert effect[0, 1].item() == pytest.approx(4, abs=1)
    none, _ = fitted(part(500, 0, unlabelled=1.0))
    assert torch.equal(draw(none, x0, [-1]), draw(none, x0, [1]))


def test_the_noise_of_a_video_is_independent_of_its_batch(planted):
    model, _ = planted
    data = part(4, 5)
    label = torch.tensor([0, -1, 1, -1])

    def batch(chosen):
        rngs = [torch.Generator().manual_seed(100 + i) for i in chosen]
        return model.sample(data.x0[chosen], label[chosen], rngs, OPTIONS)

    together = batch([0, 1, 2, 3])
    assert torch.allclose(torch.cat([batch([3, 2]), batch([1, 0])]).flip(0), together, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_latent_is_fitted_saved_and_loaded(tiny_store, tmp_path, kind):
    store, spec = tiny_store[0], KINDS[kind]
    clips = store.clips["clip_id"].tolist()
    no, label = torch.zeros(len(clips), dtype=torch.bool), torch.arange(len(clips)) % 2
    mean = torch.randn(len(clips), spec.size, generator=torch.Generator().manual_seed(0))
    save_latents(
        tmp_path / "z", spec, clips, mean, torch.full_like(mean, 0.1), no, no, label, torch.arange(len(clips)) < 14
    )
    latents, logged = LatentSet.load(tmp_path / "z"), []
    for name in "ab":
        fit_gaussian(
            GaussianSettings(), latents, store, 0, tmp_path / "s", tmp_path / name, lambda *_: logged.append(_)
        )
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() and not (tmp_path / "s").exists()
    assert [step for step, _ in logged] == [0, 0] and "val/error" in logged[0][1]
    x0, label = torch.rand(3, 1, 32, 32), torch.tensor([0, 1, -1])
    first, again = (draw(ConditionalGaussian.load(tmp_path / name), x0, label) for name in "ab")
    assert first.shape == (3, spec.size) and torch.isfinite(first).all() and torch.equal(first, again)


@pytest.mark.parametrize("section", [{"grid": 0}, {"grid": 17}, {"training": {"steps": 5}}, {"use_label": "yes"}])
def test_invalid_settings_are_rejected(section):
    with pytest.raises(LddmError, match="gaussian"):
        build.load({"gaussian": section})
