"""Geometry under bfloat16 autocast equals float32 geometry."""

import pytest
import torch

from lddm.autoencoder.decoder import WarpDecoder, out_of_view
from lddm.autoencoder.model import Autoencoder
from lddm.latent.spec import LatentSpec, unit_rows
from lddm.latent.strain_limit import limit_strain
from lddm.latent.transform import LatentTransform
from lddm.motion.warp import compose_motion, warp_sequence
from lddm.settings.models import AutoencoderSettings

SIZE = 128
SPEC = LatentSpec("low_rank", frames=4, motion_rank=2, gain_rank=1, map_size=8)


def code():
    """z (3, D): a push of 4 pixels plus local strain, large enough to fold in the last."""
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 5, 8, 8, generator=rng) * torch.tensor([0.3, 0.3, 40.0])[:, None, None, None]
    maps[:, 0] += 4.0
    rows = torch.randn(3, 3, 4, generator=rng)
    return SPEC.join(maps, unit_rows(rows))


def moved(z):
    maps, rows = SPEC.split(z)
    motion = compose_motion(maps[:, :4].unflatten(1, (2, 2)), rows[:, :2], SIZE)
    x0 = torch.rand(len(z), 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    return motion, warp_sequence(x0, motion), out_of_view(x0 > 0.2, motion), limit_strain(z, SPEC, SIZE)


def test_motion_masks_and_strain():
    exact = moved(code())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = moved(code())
    for a, b in zip(exact, low, strict=True):
        assert b.dtype == torch.float32 and torch.equal(a, b)


def test_coordinates_of_half_precision_arguments():
    image, motion = torch.rand(1, 1, SIZE, SIZE).bfloat16(), torch.full((1, 1, 2, SIZE, SIZE), 1.0).bfloat16()
    warped = warp_sequence(image, motion)[0, 0, 0]
    assert torch.allclose(warped[:-4, :-4], image[0, 0, 1:-3, 1:-3].float(), atol=1e-3)  # 128 + 1 is no bfloat16 + 0.5


def test_standardisation():
    z = code()
    transform = LatentTransform.fit(SPEC, torch.cat([z, -z]), torch.full((6, SPEC.size), 0.01))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.allclose(transform.invert(transform(z)), z, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("latent", ["vector", "grid"])
def test_motion_that_is_decoded_from_other_latents(latent):
    """The displacements are not rounded to bfloat16, which has three digits."""
    settings = AutoencoderSettings(width=4, latent=latent, vector_dim=6, grid_channels=2, grid_frames=4)
    model = Autoencoder(settings, 64, 4).eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        maps, rows = model.decoder.factors(torch.randn(1, model.spec.size), torch.randn(1, 16, 8, 8))
        decoded = model.decode(torch.rand(1, 1, 64, 64), torch.randn(1, model.spec.size))
    assert all(part.dtype == torch.float32 and not torch.equal(part, part.bfloat16().float()) for part in (maps, rows))
    assert decoded.motion.dtype == torch.float32


def test_frames_are_composed_in_float32_under_autocast():
    torch.manual_seed(0)
    decoder = WarpDecoder(SPEC, 32, 8, (2, 1), 8).eval()
    for parameter in decoder.conv_out.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x0, z = torch.rand(1, 1, 32, 32) * 2 - 1, 0.1 * torch.randn(1, SPEC.size)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        layers = decoder.layers(x0, z)
        frames = decoder.compose(x0, layers).frames
        assert torch.equal(frames, decoder.compose(x0, layers.in_full()).frames) and frames.dtype == torch.float32
    assert len(frames.unique()) > 0.9 * frames.numel()  # bfloat16 has a few hundred values in this range
