"""Baselines: the flow is invertible with the right log-determinant; motion transfer; static."""

import numpy as np
import pytest
import torch

from lddm.generators.cinn import ConditionalFlow, FlowTrainer
from lddm.generators.motion_transfer import MotionTransfer
from lddm.generators.sampling import SamplingOptions
from lddm.generators.static import Static
from lddm.latent.dataset import LatentSet, save_latents
from lddm.latent.spec import LatentSpec
from lddm.nn.condition import LabelSpec
from lddm.settings.models import CinnSettings, Training
from lddm.training.loop import train

SPEC = LatentSpec("vector", frames=8, dim=6)
SMALL = CinnSettings(
    blocks=3, width=16, training=Training(steps=300, batch_size=8, log_every=100, val_every=100, learning_rate=5e-3)
)


def stirred_flow(coupling):
    np.random.seed(0)
    torch.manual_seed(0)
    model = ConditionalFlow(SMALL.model_copy(update={"coupling": coupling}), SPEC, 32, LabelSpec(2))
    model.prepare(torch.rand(8, 1, 32, 32), 2 + 3 * torch.randn(8, 6), torch.zeros(8, dtype=torch.long))
    for parameter in model.flow.parameters():  # the couplings start closed; open them
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.double().eval()


@pytest.mark.parametrize("coupling", ["clamped", "published"])
def test_flow_is_invertible_and_its_log_determinant_matches_autograd(coupling):
    model = stirred_flow(coupling)
    z, x0, label = torch.randn(3, 6).double(), torch.rand(3, 1, 32, 32).double(), torch.tensor([0, 1, -1])
    _, condition = model.condition(x0, label)
    residual, log_det = model.flow(z, c=[condition])
    back, _ = model.flow(residual, c=[condition], rev=True)
    assert torch.allclose(back, z, atol=1e-4)  # FrEIA keeps its permutations in float32
    for i in range(3):
        jacobian = torch.autograd.functional.jacobian(
            lambda v, i=i: model.flow(v[None], c=[condition[i : i + 1]])[0][0], z[i]
        )
        assert torch.linalg.slogdet(jacobian).logabsdet.item() == pytest.approx(log_det[i].item(), abs=1e-4)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(residual).sum(dim=1) + log_det
    assert torch.allclose(model.log_prob(z, x0, label), expected)


def test_actnorm_standardises_the_first_batch():
    model = ConditionalFlow(SMALL.model_copy(update={"coupling": "published", "blocks": 1}), SPEC, 32, LabelSpec(2))
    z, x0, label = 5 + 3 * torch.randn(64, 6), torch.rand(64, 1, 32, 32), torch.zeros(64, dtype=torch.long)
    model.prepare(x0, z, label)
    norm = model.flow.module_list[0]
    white, _ = norm([z], rev=False)
    assert white[0].mean(dim=0).abs().max() < 1e-4 and (white[0].std(dim=0) - 1).abs().max() < 1e-4
    model.log_prob(z + 9, x0, label)  # a later batch changes nothing
    assert torch.equal(norm([z], rev=False)[0][0], white[0])


def latents(store, tmp_path, mean):
    clips = store.clips["clip_id"].tolist()
    train = torch.arange(len(clips)) < 14
    label = torch.arange(len(clips)) % 2
    save_latents(
        tmp_path / "z",
        SPEC,
        clips,
        mean,
        torch.full_like(mean, 0.01),
        torch.zeros(len(clips), dtype=torch.bool),
        torch.zeros(len(clips), dtype=torch.bool),
        label,
        train,
    )
    return LatentSet.load(tmp_path / "z")


class TwoModes:
    """An endless supply of z around -1 or +1, as the label says; x0 says nothing."""

    x0 = torch.empty(0)  # says which device

    def __len__(self):
        return 64

    def read(self, index, rng):
        label = torch.randint(2, (len(index),), generator=rng)
        z = 0.5 * torch.randn(len(index), SPEC.size, generator=rng) + (2.0 * label - 1)[:, None]
        return torch.rand(len(index), 1, 32, 32, generator=rng), z, label


def test_a_trained_flow_samples_the_distribution_given_the_label(tmp_path):
    torch.manual_seed(0)
    np.random.seed(0)
    model = ConditionalFlow(SMALL, SPEC, 32, LabelSpec(2))
    train(FlowTrainer(model, TwoModes(), TwoModes(), 0), SMALL.training, 0, tmp_path, lambda *_: None)
    x0, rng = torch.rand(64, 1, 32, 32), torch.Generator().manual_seed(0)
    drawn = {k: model.sample(x0, torch.full((64,), k), rng, SamplingOptions()).mean().item() for k in (0, 1)}
    assert drawn[0] < -0.5 and drawn[1] > 0.5, drawn


def test_saved_weights_load_and_sample_in_the_units_of_stage_1(tiny_store, tmp_path):
    store, _ = tiny_store
    mean = 100 + torch.randn(len(store.clips), 6)
    short = SMALL.model_copy(update={"training": Training(steps=4, batch_size=4, val_every=2)})
    FlowTrainer.fit(short, latents(store, tmp_path, mean), store, 0, tmp_path / "s", tmp_path / "m", lambda *_: None)
    model = ConditionalFlow.load(tmp_path / "m")
    z = model.sample(
        torch.rand(3, 1, 32, 32), torch.tensor([0, 1, -1]), torch.Generator().manual_seed(0), SamplingOptions()
    )
    assert z.shape == (3, 6) and (z - 100).abs().max() < 10


def test_the_unknown_label_is_trained_too():
    """With all labels known, videos without a label are still drawn from what was learnt."""
    torch.manual_seed(0)
    moved = {}
    for dropout in (0.0, 0.5):
        model = ConditionalFlow(SMALL.model_copy(update={"label_dropout": dropout}), SPEC, 32, LabelSpec(2))
        for parameter in model.flow.parameters():  # the couplings start closed; open them
            torch.nn.init.normal_(parameter, std=0.3)
        task = FlowTrainer(model, TwoModes(), TwoModes(), 0)
        loss, _ = task.loss("cinn", task.batch(0), 0, torch.Generator().manual_seed(0))
        loss.backward()
        moved[dropout] = model.condition.label.weight.grad.abs().sum(dim=1)
    assert moved[0.0][2] == 0 and (moved[0.5] > 0).all()


def test_motion_transfer_uses_the_z_of_a_training_clip_with_the_label(tiny_store, tmp_path):
    store, _ = tiny_store
    mean = torch.arange(len(store.clips))[:, None].float().expand(-1, 6).clone()
    MotionTransfer.from_latents(latents(store, tmp_path, mean)).save(tmp_path / "m")
    model = MotionTransfer.load(tmp_path / "m")
    label = torch.tensor([0, 1] * 20 + [-1] * 10)
    z = model.sample(torch.zeros(50, 1, 32, 32), label, torch.Generator().manual_seed(0), SamplingOptions())
    assert (z[:40, 0] % 2 == label[:40]).all() and z.max() < 14
    assert len(z[:, 0].unique()) > 5


def test_static_repeats_x0(tmp_path):
    Static(5).save(tmp_path / "m")
    x0 = torch.rand(2, 1, 8, 8)
    frames = Static.load(tmp_path / "m").video(x0, None, None, SamplingOptions(), None)
    assert frames.shape == (2, 1, 5, 8, 8) and all(torch.equal(frames[:, :, t], x0) for t in range(5))
