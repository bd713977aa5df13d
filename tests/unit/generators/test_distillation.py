"""The distilled student against its sampler, its limits, and resuming after a kill."""

import pytest
import torch

from lddm.errors import LddmError
from lddm.generators.diffusion.distillation import make_pairs
from lddm.generators.diffusion.model import LatentDiffusion
from lddm.generators.diffusion.train import DiffusionTrainer
from lddm.generators.pixel import PixelDiffusion
from lddm.generators.sampling import SamplingOptions
from lddm.latent.dataset import LatentDataset, LatentSet, save_latents
from lddm.latent.spec import LatentSpec
from lddm.nn.condition import LabelSpec
from lddm.settings.build import load
from lddm.settings.models import DiffusionSettings, DistillationSettings, PixelSettings, Training

VECTOR = LatentSpec("vector", frames=8, dim=5)
MAPS = LatentSpec("low_rank", frames=8, motion_rank=2, gain_rank=1, map_size=4)
ONE_STEP = SamplingOptions("distilled", guidance_scale=2.0)
TEN_STEPS = SamplingOptions("unipc", 10, guidance_scale=2.0)


@pytest.fixture
def latents(tiny_store, tmp_path):
    """Makes latents whose every number is 3 k, k drawn from -1 and 1, plus the label: far from Gaussian."""

    def make(spec: LatentSpec) -> LatentSet:
        clips = tiny_store[0].clips["clip_id"].tolist()
        label = torch.arange(len(clips)) % 2
        sign = torch.randint(2, (len(clips), spec.size), generator=torch.Generator().manual_seed(0)) * 2 - 1
        mean, none = 3.0 * sign + label[:, None], torch.zeros(len(clips), dtype=torch.bool)
        train = torch.arange(len(clips)) < 14
        save_latents(tmp_path / "z", spec, clips, mean, torch.full_like(mean, 0.1), none, none, label, train)
        return LatentSet.load(tmp_path / "z")

    return make


# A denoiser of noise is a bad beginning for what has to leave most of the noise as it is.
@pytest.mark.parametrize(("prediction", "most"), [("v_prediction", 0.1), ("epsilon", 0.4), ("flow_prediction", 0.1)])
def test_one_step_reproduces_ten_steps_on_unseen_noise(latents, tiny_store, tmp_path, prediction, most):
    settings = DiffusionSettings(
        width=16,
        depth=2,
        prediction_type=prediction,
        training=Training(steps=150, batch_size=32, learning_rate=3e-3, ema_decay=0.95, val_every=50),
        distillation=DistillationSettings(num_pairs=512, steps=300),
    )
    found, store = latents(VECTOR), tiny_store[0]
    DiffusionTrainer.fit(settings, found, store, 0, tmp_path / "s", tmp_path / "m", lambda *_: None)
    model = LatentDiffusion.load(tmp_path / "m")
    x0 = LatentDataset(found, store, False, torch.device("cpu")).x0[torch.arange(200) % 2]
    label = torch.arange(200) % 2

    def white(options):
        return model.transform(model.sample(x0, label, torch.Generator().manual_seed(9), options))

    one, ten, noise = white(ONE_STEP), white(TEN_STEPS), torch.randn(200, 5, generator=torch.Generator().manual_seed(9))
    left = (one - ten).square().mean()
    assert left < most * (noise - ten).square().mean() and left < most * ten.var()
    weak = white(SamplingOptions("distilled", guidance_scale=1.0))
    assert (weak - white(SamplingOptions("unipc", 10))).square().mean() < (
        one - white(SamplingOptions("unipc", 10))
    ).square().mean()


def test_a_killed_distillation_resumes_to_the_same_weights(latents, tiny_store, tmp_path):
    settings = DiffusionSettings(
        width=16,
        depth=1,
        training=Training(steps=4, batch_size=4, log_every=2, val_every=2, checkpoint_every=2, warmup_steps=1),
        distillation=DistillationSettings(num_pairs=8, num_inference_steps=2, steps=6),
    )
    found, lines = latents(MAPS), []

    def run(name, on_log):
        DiffusionTrainer.fit(
            settings, found, tiny_store[0], 0, tmp_path / name, tmp_path / f"{name}.safetensors", on_log
        )

    run("whole", lambda step, values: lines.append((step, values)))
    assert [step for step, _ in lines] == [2, 4, 6, 8, 10]
    assert {"distillation/mse", "distillation/val/mse"} <= set(lines[-1][1])

    def killed(step, _):
        if step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("broken", killed)
    assert not (tmp_path / "broken.safetensors").exists() and (tmp_path / "broken/student").is_dir()
    resumed = []
    run("broken", lambda step, _: resumed.append(step))
    assert resumed == [4, 8, 10]  # the denoiser from its last state, the student from its own
    assert (tmp_path / "whole.safetensors").read_bytes() == (tmp_path / "broken.safetensors").read_bytes()


def test_pairs_cover_all_labels_and_the_guidance_range(latents, tiny_store):
    settings = DiffusionSettings(
        width=16,
        depth=1,
        distillation=DistillationSettings(num_pairs=400, num_inference_steps=2, max_guidance_scale=3.0),
    )
    reader = LatentDataset(latents(VECTOR), tiny_store[0], True, torch.device("cpu"))
    pairs = make_pairs(LatentDiffusion(settings, VECTOR, 32, LabelSpec(2)).eval(), reader, 400, seed=0)
    shares = [(pairs.label == value).float().mean().item() for value in (-1, 0, 1)]
    assert shares == pytest.approx([0.1, 0.45, 0.45], abs=0.08)
    assert 1 <= pairs.guidance_scale.min() < 1.1 and 2.9 < pairs.guidance_scale.max() <= 3
    assert set(pairs.index.tolist()) == set(range(len(reader)))


def test_untrained_sampling_options_are_rejected():
    still, rng = (torch.zeros(1, 1, 32, 32), torch.tensor([0])), torch.Generator()
    model = LatentDiffusion(DiffusionSettings(width=16, depth=1), VECTOR, 32, LabelSpec(2))
    for options in (
        SamplingOptions("distilled", guidance_scale=5.0),
        SamplingOptions("distilled", guidance_scale=0.5),
        SamplingOptions("distilled", guidance_scale=2.0, guidance_target="image+label"),
    ):
        with pytest.raises(LddmError, match="distilled for 1 to 4 by label") as error:
            model.sample(*still, rng, options)
        assert "sampler unipc" in error.value.hint
    plain = LatentDiffusion(DiffusionSettings(width=16, depth=1, distillation=None), VECTOR, 32, LabelSpec(2))
    with pytest.raises(LddmError, match="not distilled"):
        plain.sample(*still, rng, ONE_STEP)
    assert plain.sample(*still, rng, TEN_STEPS).shape == (1, 5)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"diffusion": {"distillation": None}}, "needs diffusion.distillation"),
        ({"synthesis": {"guidance_scale": 5.0}}, "guidance scale 5 on label"),
        ({"synthesis": {"guidance_target": "image+label"}}, r"on image\+label"),
    ],
)
def test_inconsistent_settings_are_rejected(raw, said):
    with pytest.raises(LddmError, match=said):
        load(raw)
    load(raw | {"synthesis": raw.get("synthesis", {}) | {"sampler": "unipc"}})


def test_pixel_diffusion_falls_back_from_distilled_to_unipc():
    torch.manual_seed(0)
    model = PixelDiffusion(PixelSettings(width=8), 16, 4, LabelSpec(2)).eval()
    x0, label = torch.rand(1, 1, 16, 16), torch.tensor([1])
    made = [
        model.video(x0, label, torch.Generator().manual_seed(0), SamplingOptions(sampler, 2), lambda *_: None)
        for sampler in ("distilled", "unipc", "ddim")
    ]
    assert torch.equal(made[0], made[1]) and not torch.equal(made[1], made[2])
