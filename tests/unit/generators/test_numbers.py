"""Generators with numeric labels: embedding, unknown labels, nearest target, quadratic means."""

import math

import pytest
import torch
from torch.nn import functional as F

from lddm.generators.cinn import ConditionalFlow
from lddm.generators.diffusion.distillation import make_pairs
from lddm.generators.diffusion.model import LatentDiffusion
from lddm.generators.gaussian import ConditionalGaussian
from lddm.generators.motion_transfer import MotionTransfer
from lddm.generators.sampling import SamplingOptions
from lddm.latent.spec import LatentSpec
from lddm.latent.transform import LatentTransform
from lddm.nn.condition import ImageCondition, LabelSpec, NumberEmbedding
from lddm.settings.models import CinnSettings, DiffusionSettings, DistillationSettings, GaussianSettings

SPEC = LatentSpec("vector", frames=8, dim=6)
RANGE = (20.0, 70.0)
SETTINGS = {
    LatentDiffusion: DiffusionSettings(width=16, depth=1),
    ConditionalFlow: CinnSettings(blocks=2, width=16),
    ConditionalGaussian: GaussianSettings(grid=4),
}


def opened(model):
    """The model with random weights where a training would begin with zeros."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.dim() and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_generator_follows_numeric_labels_and_is_unchanged_by_saving(kind, tmp_path):
    torch.manual_seed(0)
    model = opened(kind(SETTINGS[kind], SPEC, 16, LabelSpec(target_range=RANGE)))
    model.save(tmp_path / "m")
    again = kind.load(tmp_path / "m").eval()
    x0 = torch.rand(1, 1, 16, 16).expand(3, -1, -1, -1) * 2 - 1
    labels = torch.tensor([20.0, 70.0, math.nan])
    noise = [torch.Generator().manual_seed(5) for _ in range(3)], [torch.Generator().manual_seed(5) for _ in range(3)]
    drawn, same = (m.sample(x0, labels, rng, SamplingOptions()) for m, rng in zip((model, again), noise, strict=True))
    assert torch.isfinite(drawn).all() and torch.equal(drawn, same)
    assert not torch.allclose(drawn[0], drawn[1]) and not torch.allclose(drawn[0], drawn[2])


def test_an_unknown_number_equals_a_dropped_condition():
    torch.manual_seed(0)
    condition = ImageCondition(16, None, 8, 12, LabelSpec(target_range=RANGE))
    x0, keep = torch.rand(2, 1, 16, 16), torch.tensor([True, False])
    _, dropped = condition(x0, torch.tensor([30.0, 30.0]), label_mask=keep)
    _, unknown = condition(x0, torch.tensor([30.0, math.nan]))
    assert torch.equal(dropped, unknown) and torch.isfinite(unknown).all()


def test_embeddings_are_smooth_and_gradients_are_finite_for_unknown_numbers():
    torch.manual_seed(0)
    embedding = NumberEmbedding(RANGE, 32)
    near = embedding(torch.tensor([45.0, 45.5, 70.0]))
    assert (near[0] - near[1]).norm() < 0.1 * (near[0] - near[2]).norm()
    embedding(torch.tensor([45.0, math.nan])).sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in embedding.parameters())


def test_motion_transfer_uses_a_clip_with_a_similar_number(tmp_path):
    model = MotionTransfer(SPEC, 100, numbers=True)
    model.bank.copy_(torch.arange(100.0)[:, None].expand(-1, SPEC.size))
    model.bank_label.copy_(torch.linspace(20, 70, 50).repeat(2))  # each twice, as a clip and its mirror image
    model.save(tmp_path / "m")
    model = MotionTransfer.load(tmp_path / "m")
    rng = torch.Generator().manual_seed(0)
    places = model.sample(torch.zeros(300, 1, 8, 8), torch.full((300,), 45.0), rng, SamplingOptions())[:, 0].long()
    drawn = model.bank_label[places]
    assert (drawn - 45).abs().max() < 5 and len(drawn.unique()) == 8 and len(places.unique()) == 16
    anywhere = model.sample(torch.zeros(300, 1, 8, 8), torch.full((300,), math.nan), rng, SamplingOptions())[:, 0]
    assert len(anywhere.unique()) > 80


def test_the_gaussian_recovers_a_planted_curve_and_ignores_unknown_numbers():
    rng = torch.Generator().manual_seed(0)
    count = 800
    x0 = F.interpolate(2 * torch.rand(count, 1, 2, 2, generator=rng) - 1, scale_factor=8)
    label = RANGE[0] + (RANGE[1] - RANGE[0]) * torch.rand(count, generator=rng)

    def mean(target):
        return (0.01 * (target - 30) ** 2)[:, None] * torch.tensor([1.0, 0, 0, 0, 0, 0]) + 5

    z = mean(label) + 0.1 * torch.randn(count, 6, generator=rng)
    label[:100] = math.nan
    transform = LatentTransform.fit(SPEC, z, torch.zeros_like(z), count)

    class Latents:
        """As `LatentDataset` has them."""

        def __len__(self):
            return count

        def read(self, index, _):
            return x0[index], transform(z)[index], label[index]

    model = ConditionalGaussian(GaussianSettings(grid=4), SPEC, 16, LabelSpec(target_range=RANGE))
    model.transform = transform
    model.fit(Latents(), Latents())
    wanted = torch.tensor([25.0, 50.0, 65.0])
    predicted = transform.invert(model.predict(x0[:3], wanted))
    assert torch.allclose(predicted, mean(wanted), atol=0.5)
    unknown = model.sample(x0[:400], torch.full((400,), math.nan), torch.Generator().manual_seed(0), SamplingOptions())
    assert unknown[:, 0].std() > 0.7 * z[:, 0].std()  # a number is drawn for each


def test_the_student_is_trained_on_the_whole_range_and_on_unknown_numbers():
    settings = DiffusionSettings(width=16, depth=1, distillation=DistillationSettings(num_inference_steps=2))
    torch.manual_seed(0)
    model = opened(LatentDiffusion(settings, SPEC, 16, LabelSpec(target_range=RANGE)))
    dataset = type("Part", (), {"x0": torch.rand(5, 1, 16, 16), "__len__": lambda self: 5})()
    label = make_pairs(model, dataset, 300, 0).label
    known = label[~torch.isnan(label)]
    assert known.min() < 22 and known.max() > 68 and RANGE[0] <= known.min() and known.max() <= RANGE[1]
    assert 0.03 < torch.isnan(label).float().mean() < 0.2
