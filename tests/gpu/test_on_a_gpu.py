"""The same code on a CUDA device; skipped where there is none."""

import pytest
import torch

from lddm.autoencoder.model import Autoencoder
from lddm.generators.diffusion.model import LatentDiffusion
from lddm.generators.sampling import SamplingOptions
from lddm.nn.condition import LabelSpec
from lddm.settings.models import AutoencoderSettings, DiffusionSettings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_a_gpu_draws_the_videos_that_the_cpu_draws():
    torch.manual_seed(0)
    autoencoder = Autoencoder(AutoencoderSettings(width=8, map_size=4), 32, 8).eval()
    generator = LatentDiffusion(DiffusionSettings(width=16, depth=1), autoencoder.spec, 32, LabelSpec(2)).eval()
    x0, label = torch.rand(2, 1, 32, 32) * 2 - 1, torch.tensor([0, 1])
    frames = {}
    for device in ("cpu", "cuda"):
        on = [module.to(device) for module in (autoencoder, generator)]
        rng = torch.Generator().manual_seed(0)
        with torch.no_grad():
            z = on[1].sample(x0.to(device), label.to(device), rng, SamplingOptions(num_inference_steps=4))
            frames[device] = on[0].decode(x0.to(device), z).frames.cpu()
    assert torch.allclose(frames["cpu"], frames["cuda"], atol=1e-2)
