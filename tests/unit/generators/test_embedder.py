"""Frozen embedding of x0 as the condition of generators of vector latents."""

import pytest
import torch

from lddm.errors import LddmError
from lddm.generators.cinn import ConditionalFlow, FlowTrainer
from lddm.generators.diffusion.model import LatentDiffusion
from lddm.generators.diffusion.train import DiffusionTrainer
from lddm.generators.sampling import SamplingOptions
from lddm.latent.dataset import LatentSet, save_latents
from lddm.latent.spec import LatentSpec
from lddm.nn.condition import LabelSpec
from lddm.nn.embedder import AutoencoderEmbedder
from lddm.settings import build
from lddm.settings.models import CinnSettings, DiffusionSettings, EmbedderSettings, Training

SPEC = LatentSpec("vector", 8, dim=4)
FEW = Training(steps=4, batch_size=4, warmup_steps=1, log_every=2, val_every=2, checkpoint_every=2)
EMBEDDER = EmbedderSettings(steps=3, batch_size=4, dim=5)
GENERATORS = {
    "lddm": (
        DiffusionTrainer,
        DiffusionSettings(width=8, depth=1, distillation=None, image_embedder=EMBEDDER, training=FEW),
    ),
    "cinn": (FlowTrainer, CinnSettings(blocks=1, width=8, image_embedder=EMBEDDER, training=FEW)),
}


@pytest.fixture
def vectors(tiny_store, tmp_path) -> LatentSet:
    """Random vectors for the clips of the store."""
    store, _ = tiny_store
    names = store.clips["clip_id"].tolist()[:12]
    n, rng = len(names), torch.Generator().manual_seed(0)
    mean = torch.randn(n, SPEC.dim, generator=rng)
    no, train = torch.zeros(n, dtype=torch.bool), torch.arange(n) < 8
    label = torch.arange(n) % 2
    save_latents(tmp_path / "z.safetensors", SPEC, names, mean, 0.1 * torch.ones_like(mean), no, no, label, train)
    return LatentSet.load(tmp_path / "z.safetensors")


@pytest.mark.parametrize("name", GENERATORS)
def test_the_embedder_is_trained_first_and_then_frozen(name, vectors, tiny_store, tmp_path, monkeypatch):
    trainer, settings = GENERATORS[name]
    seen = []

    def remembered(self, name, batch, step, rng):
        (part,) = (part for part in self.model.modules() if isinstance(part, AutoencoderEmbedder))
        seen.append({key: value.clone() for key, value in part.state_dict().items()})
        return type(self).__mro__[1].loss(self, name, batch, step, rng)

    watched = type("Watched", (trainer,), {"loss": remembered})
    lines = []
    out = tmp_path / "g.safetensors"
    watched.fit(settings, vectors, tiny_store[0], 0, tmp_path / "s", out, lambda step, values: lines.append(values))
    assert any("embedder/l1" in line for line in lines) and len(seen) == 4
    fresh = AutoencoderEmbedder(tiny_store[0].size, 5)
    for key in fresh.state_dict():
        assert torch.equal(seen[0][key], seen[-1][key]), key
    model = trainer.model_type.load(out)
    saved = next(part for part in model.modules() if isinstance(part, AutoencoderEmbedder)).state_dict()
    assert all(torch.equal(saved[key], seen[-1][key]) for key in saved)
    assert not (tmp_path / "s").exists() or not any((tmp_path / "s").rglob("*.safetensors"))
    x0 = torch.rand(2, 1, tiny_store[0].size, tiny_store[0].size) * 2 - 1
    label, options = torch.zeros(2, dtype=torch.int64), SamplingOptions("ddim", 2)
    z = [model.sample(image, label, torch.Generator().manual_seed(0), options) for image in (x0, -x0)]
    assert z[0].shape == (2, 4) and torch.isfinite(z[0]).all()


@pytest.mark.parametrize(("kind", "settings"), [(LatentDiffusion, DiffusionSettings), (ConditionalFlow, CinnSettings)])
def test_efficientnet_is_not_saved_with_the_weights(kind, settings):
    torch.manual_seed(0)
    embedder = EmbedderSettings(kind="efficientnet")
    small = settings(width=8, image_embedder=embedder, **({"distillation": None} if kind is LatentDiffusion else {}))
    model = kind(small, SPEC, 32, LabelSpec(2)).eval()
    assert not any("embedder" in key for key in model.state_dict())
    condition = model.denoiser.condition if kind is LatentDiffusion else model.condition
    x0, label = torch.rand(2, 1, 32, 32) * 2 - 1, torch.tensor([0, 1])
    _, vector = condition(x0, label)
    _, other = condition(-x0, label)
    assert condition.embedder(x0).shape == (2, 1280) and not torch.allclose(vector, other)
    nothing = torch.zeros(2, dtype=torch.bool)
    dropped = [condition(image, label, image_mask=nothing)[1] for image in (x0, -x0)]
    assert torch.equal(*dropped)


@pytest.mark.parametrize("section", ["diffusion", "cinn"])
def test_an_embedding_cannot_condition_maps(section):
    raw = {section: {"image_embedder": {"kind": "efficientnet"}}}
    with pytest.raises(LddmError, match=f"{section}.image_embedder embeds x0 as one vector"):
        build.load(raw)
    build.load(raw | {"autoencoder": {"decoder": "spade", "latent": "vector"}})
